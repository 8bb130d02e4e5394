"""The log: its form, and what never stands in it: keys, tokens, queries of addresses, contents.

Rule 1: a record is cleaned where it is made, so that no handler of any library writes a secret. Of
an exception it has place and class, and the message only where that holds no content.
Rule 2: a record is one line, whatever a client calls its model; only a traceback has more. The text
after a `=` is one value: where it could be read as several, it is quoted as JSON.
Rule 3: the level is the bridge's own. Other libraries log from WARNING on: below that they log
contents.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from typing import Any

from ws_bridge.config import Settings

OURS = "ws_bridge"
FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
REDACTED = "[redacted]"
CHAIN = 8  # exceptions of one traceback, at most
SECRET_LENGTH = 6  # characters; a shorter text is a word, and no secret

# aiohttp logs a bad request with its header values. Errors of our own handlers are logged by us.
SILENT = ("aiohttp.server", "aiohttp.websocket", "aiohttp.web", "aiohttp.access")

NAMES = r"api[-_]?key|x-goog-api-key|authorization|password|secret"
# Providers' keys, and ours, begin so; others have a shape of their own.
KEY_PREFIXES = "sk|pk|rk|gsk|xai"
GOOGLE_KEY = r"\bAIza[\w-]{8,}"
# The shapes of secrets, and the parts of them that stay. One pass: each record is read once.
SHAPES = (
    rf"\b(?:{KEY_PREFIXES})[-_][\w.*=+-]{{4,}}",
    GOOGLE_KEY,
    r"(?<=openai-insecure-api-key\.)[^\s,;'\"]+",
    r"\b(?P<scheme>(?i:bearer|basic))[ ]+[\w.~+/=:-]+",
    r"(?<=[\w/])(?P<query>\?)[^\s'\"<>?][^\s'\"<>]*",  # of an address
    r"(?<=://)[^\s/@'\"]+(?P<host>@)",  # its user and password
    rf"(?P<field>\b(?i:{NAMES})\b['\"]?\s*[:=]\s*['\"]?)(?!\[redacted\]|(?i:bearer|basic))[^\s'\",;]+",
)
KEPT = ("scheme", "query", "field")  # they stand before the secret, and stay
CONTROLS = {number: f"\\x{number:02x}" for number in (*range(32), 127, *range(128, 160))}
CONTROLS |= {0x2028: "\\u2028", 0x2029: "\\u2029"}  # ends of lines to some viewers

# A placeholder in our own records, and whether it is the value of a field.
PLACE = re.compile(r"(?P<field>=)?%(?:%|(?P<how>[-#0 +]*[0-9.]*[a-z]))")
BARE = re.compile(r"[^\s\"'\\]+")

# Their messages are about code, files and addresses. Others quote the text that they fail on.
HARMLESS = (AttributeError, ImportError, NameError, OSError, RuntimeError, TypeError)


class Cleaner:
    """Removes secrets from text: those of a known shape, and known ones of any shape."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted({one for one in secrets if len(one) >= SECRET_LENGTH}, key=len, reverse=True)
        self._secret = re.compile("|".join((*map(re.escape, known), *SHAPES)))

    def clean(self, text: str) -> str:
        """The text without secrets."""
        return self._secret.sub(_replacement, text)


def _replacement(found: re.Match[str]) -> str:
    groups = found.groupdict()
    if groups["host"]:
        return REDACTED + "@"
    kept = next((groups[name] for name in KEPT if groups[name]), "")
    return f"{kept} {REDACTED}" if groups["scheme"] else kept + REDACTED


class CleanRecord(logging.LogRecord):
    """A log record without secrets, in its message and in its traceback."""

    secrets: frozenset[str] = frozenset()  # all that were ever known: something may still have one
    cleaner = Cleaner()

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        if self.exc_info and self.exc_info[1]:
            self.exc_text = self.cleaner.clean("\n".join(_traceback_lines(self.exc_info[1])))
        if self.stack_info:
            self.stack_info = self.cleaner.clean(self.stack_info)

    def getMessage(self) -> str:  # noqa: N802 - the name is logging's
        """The message, on one line."""
        given = self.args
        if given and isinstance(given, tuple) and self.name.split(".", 1)[0] == OURS:
            message = str(self.msg) % self._values(given)
        else:
            message = super().getMessage()
        return self.cleaner.clean(message).translate(CONTROLS)

    def _values(self, given: tuple[Any, ...]) -> tuple[Any, ...]:
        """The value of each placeholder; the text of a field is one value."""
        places = [place for place in PLACE.finditer(str(self.msg)) if place["how"]]
        are_fields = [place["how"] == "s" and place["field"] is not None for place in places]
        if len(places) != len(given):
            return given
        return tuple(
            quoted(self.cleaner.clean(str(one))) if is_field else one
            for is_field, one in zip(are_fields, given, strict=True)
        )


def quoted(value: str) -> str:
    """The value of a field, in quotes if it could be read as several, or as none."""
    return value if BARE.fullmatch(value) and value.isprintable() else json.dumps(value)


def _traceback_lines(failure: BaseException) -> Iterator[str]:
    """The places of an exception and of its causes, the first cause first."""
    chain: list[BaseException] = []
    last: BaseException | None = failure
    while last is not None and len(chain) < CHAIN:
        chain.append(last)
        last = last.__cause__ or (None if last.__suppress_context__ else last.__context__)
    for one in reversed(chain):
        yield "Traceback (most recent call last):"
        yield "".join(traceback.format_tb(one.__traceback__)).rstrip("\n")
        yield f"{type(one).__module__}.{type(one).__qualname__}{_message_of(one)}"
        if isinstance(one, BaseExceptionGroup):
            for inner in one.exceptions[:CHAIN]:
                yield from _traceback_lines(inner)


def _message_of(failure: BaseException) -> str:
    is_harmless = isinstance(failure, HARMLESS) and not isinstance(failure, BaseExceptionGroup)
    return f": {failure}".translate(CONTROLS) if is_harmless else ""


def set_up(level: str, secrets: Iterable[str] = ()) -> None:
    """Log to stderr from now on. ``secrets`` appear in no record, whatever their shape."""
    CleanRecord.secrets = frozenset()
    change(level, secrets)
    logging.setLogRecordFactory(CleanRecord)
    logging.basicConfig(level=logging.WARNING, format=FORMAT, stream=sys.stderr)
    for name in SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def change(level: str, secrets: Iterable[str]) -> None:
    """Have another level and more secrets. Those known before still appear in no record."""
    CleanRecord.secrets |= frozenset(secrets)
    CleanRecord.cleaner = Cleaner(CleanRecord.secrets)
    logging.getLogger(OURS).setLevel(level.upper())


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """The values of all secrets of the settings, each alone and where several stand together."""
    texts = settings.secrets.values()
    return tuple(part.strip() for text in texts for part in (text, *re.split(r"[,\n]", text)))
