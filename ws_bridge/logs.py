"""The log: its form, and what never stands in it: keys, tokens, queries of addresses, contents.

Rule 1: a record is cleaned where it is made, so that no handler of any library writes a secret. Of
an exception it has place and class, and the message only where that holds no content.
Rule 2: a record is one line, whatever a client calls its model; only a traceback has more. The text
after a `=` is one value: where it could be read as several, it is quoted as JSON.
Rule 3: the level is the bridge's own. Other libraries log from WARNING on: below that they log
contents.
Rule 4: a line that is logged while a request is served says whose it is: its id, the name of its
key, its address.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal

from ws_bridge.config import Settings

OURS = "ws_bridge"
FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
REDACTED = "[redacted]"
UNKNOWN = "-"  # stands in a field that has no value
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
FIELD = re.compile(r"\s*\b(?P<name>\w+)=(?P<how>%[-#0 +]*[0-9.]*[a-z])")
WORD = re.compile(r"[a-z]+(?:_[a-z]+)*(?= |$)")  # what a record of ours begins with

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


class Caller:
    """Who asked: what a request's log lines say of it. ``key`` is a name, never the key."""

    __slots__ = ("_text", "key", "peer", "request_id")

    def __init__(self, request_id: str, peer: str, key: str = UNKNOWN) -> None:
        self.request_id = request_id
        self.peer = peer
        self.key = key
        self._text = ""

    def known_as(self, key: str) -> None:
        """The request has this key."""
        self.key, self._text = key, ""

    def fields(self) -> dict[str, str]:
        """The fields of a log line, without secrets."""
        given = {"request_id": self.request_id, "key": self.key, "peer": self.peer}
        clean = CleanRecord.cleaner.clean
        return {name: clean(value) for name, value in given.items() if value != UNKNOWN}

    def text(self) -> str:
        """The same as the end of a line; kept, because a response has several lines."""
        if not self._text:
            self._text = "".join(f" {name}={quoted(one)}" for name, one in self.fields().items())
        return self._text


# Set for as long as a request is served; tasks that it starts inherit it.
CALLER: ContextVar[Caller | None] = ContextVar("caller", default=None)


def key_name() -> str:
    """The name of the key that this task works for."""
    caller = CALLER.get()
    return UNKNOWN if caller is None else caller.key


class CleanRecord(logging.LogRecord):
    """A log record without secrets, in its message and in its traceback."""

    secrets: frozenset[str] = frozenset()  # all that were ever known: something may still have one
    cleaner = Cleaner()

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.caller = CALLER.get() if self.is_ours else None
        if self.exc_info and self.exc_info[1]:
            self.exc_text = self.cleaner.clean("\n".join(_traceback_lines(self.exc_info[1])))
        if self.stack_info:
            self.stack_info = self.cleaner.clean(self.stack_info)

    @property
    def is_ours(self) -> bool:
        """Whether the bridge logs it, and not a library."""
        return self.name.split(".", 1)[0] == OURS

    def fields(self) -> dict[str, Any]:
        """The fields of one of our messages with their values; numbers stay numbers."""
        given = self.args
        found: dict[str, Any] = {}
        places = [place for place in PLACE.finditer(str(self.msg)) if place["how"]]
        if not isinstance(given, tuple) or len(places) != len(given):
            return {}
        values = dict(zip((place.end() for place in places), given, strict=True))
        for field in FIELD.finditer(str(self.msg)):
            how, value = field["how"], values[field.end()]
            if how[-1] in "dfg":
                number = float(how % value)
                found[field["name"]] = int(number) if how[-1] == "d" else number
            elif (text := self.cleaner.clean(str(value))) != UNKNOWN:
                found[field["name"]] = text
        return found

    def getMessage(self) -> str:  # noqa: N802 - the name is logging's
        """The message, on one line."""
        given = self.args
        if given and isinstance(given, tuple) and self.is_ours:
            message = str(self.msg) % self._values(given)
        else:
            message = super().getMessage()
        return self.cleaner.clean(message).translate(CONTROLS)

    def _values(self, given: tuple[Any, ...]) -> tuple[Any, ...]:
        """The value of each placeholder; the text of a field is one value."""
        are_fields = _text_fields(str(self.msg))
        if len(are_fields) != len(given):
            return given
        return tuple(
            self._field(str(one)) if is_field else one
            for is_field, one in zip(are_fields, given, strict=True)
        )

    def _field(self, value: str) -> str:
        # Quoted, a secret looks different; where it does not, it is found in the whole message.
        return value if is_bare(value) else quoted(self.cleaner.clean(value))


@lru_cache(maxsize=1024)
def _text_fields(form: str) -> tuple[bool, ...]:
    """Of each placeholder, whether it is the text of a field. Forms are few: the code has them."""
    places = [place for place in PLACE.finditer(form) if place["how"]]
    return tuple(place["how"] == "s" and place["field"] is not None for place in places)


def quoted(value: str) -> str:
    """The value of a field, in quotes if it could be read as several, or as none."""
    return value if is_bare(value) else json.dumps(value)


def is_bare(value: str) -> bool:
    """Whether the value of a field needs no quotes."""
    return BARE.fullmatch(value) is not None and value.isprintable()


class TextFormatter(logging.Formatter):
    """A record as a line for people."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's
        """The line, with its caller at its end."""
        caller = getattr(record, "caller", None)
        return super().formatMessage(record) + (caller.text() if caller else "")


class JsonFormatter(logging.Formatter):
    """A record as one JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Time (UTC), level and logger; a record of ours has its word and fields, others a text."""
        written: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        word = WORD.match(str(record.msg))
        if isinstance(record, CleanRecord) and record.is_ours and word:
            written["word"] = word[0]
            caller = record.caller.fields() if record.caller else {}
            written["fields"] = record.fields() | caller
            if FIELD.sub("", str(record.msg)[word.end() :]).strip():  # it explains itself
                written["text"] = record.getMessage()
        else:
            written["text"] = record.getMessage()
        if record.exc_text or record.stack_info:
            written["traceback"] = "\n".join(filter(None, (record.exc_text, record.stack_info)))
        return json.dumps(written)


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


def set_up(level: str, secrets: Iterable[str] = (), form: Literal["text", "json"] = "text") -> None:
    """Log to stderr from now on. ``secrets`` appear in no record, whatever their shape."""
    CleanRecord.secrets = frozenset()
    change(level, secrets)
    logging.setLogRecordFactory(CleanRecord)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter(FORMAT))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
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
