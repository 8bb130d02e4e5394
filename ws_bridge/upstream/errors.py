"""Whatever a provider call raised → the one `UpstreamError` that clients are told.

Rule 1: the words are the provider's own, found in its JSON, or written here; never ``str(error)``.
Rule 2: keys, addresses, paths and tracebacks get no further than this file.
Rule 3: a credential the provider refuses is the operator's, not the client's, and is said so.
Rule 4: however long an error is, only its first part is looked at, and no part of it twice.
"""

from __future__ import annotations

import ast
import email.utils
import json
import math
import re
import time
import warnings
from collections.abc import Mapping
from typing import Any

from ws_bridge.errors import UpstreamError
from ws_bridge.types import Json
from ws_bridge.upstream.litellm.size_limits import CUT_OFF, TooLarge, raised_here

MESSAGE_LIMIT = 500
LOOKED_AT = 2 * MESSAGE_LIMIT  # of a message, for secrets
LONGEST_WAIT = 86_400.0  # seconds that a provider may ask for
TEXT_LIMIT = 10_000  # of an error's text, to look for JSON in
JSON_LIMIT = 64 * 1024  # of JSON in an error's text; what is longer is no error's
END_LIMIT = 1000  # of a text whose last words are looked at
UNREACHABLE = "The model provider could not be reached."
LOST = "The connection to the model provider was lost."
TIMED_OUT = "The model provider did not answer in time."
TRUNCATED = "The provider ended the stream before the response was finished."
CREDENTIALS = "The model provider refused the bridge's credentials."
FAILED = "The model provider failed."

# What is said where the provider said nothing that may be repeated.
MESSAGES = {
    400: "The model provider rejected the request.",
    401: CREDENTIALS,
    403: CREDENTIALS,
    404: "The model provider does not know the model.",
    408: TIMED_OUT,
    413: "The request is too large for the model provider.",
    422: "The model provider rejected the request.",
    429: "The model provider's rate limit was reached.",
    503: "The model provider is overloaded.",
    504: TIMED_OUT,
}
# Where the provider's words would be about the operator's account, or are litellm's.
OWN_WORDS = frozenset({401, 403, 504})
CODES = {
    400: "invalid_request_error",
    401: "invalid_api_key",
    403: "permission_denied",
    404: "model_not_found",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_exceeded",
    408: "upstream_timeout",
    504: "upstream_timeout",
}
# By the name of a class in the error's ancestry, so that none of them is imported: status, and code
# where the provider's own is missing.
CLASSES: dict[str, tuple[int | None, str | None]] = {
    "ContextWindowExceededError": (None, "context_length_exceeded"),
    "ContentPolicyViolationError": (None, "content_policy_violation"),
    "Timeout": (504, None),
    "TimeoutException": (504, None),
    "APITimeoutError": (504, None),
    "TimeoutError": (504, None),
}
# How connections fail, by words in the text or classes in the ancestry; the first that fits.
CONNECTIONS: tuple[tuple[str, tuple[str, ...], frozenset[str]], ...] = (
    (
        UNREACHABLE,
        (
            "Cannot connect to host",
            "Connection error.",
            "Connection refused",
            "Connect call failed",
        ),
        frozenset({"ConnectError", "ConnectTimeout", "ClientConnectorError"}),
    ),
    (
        LOST,
        ("payload is not completed", "Server disconnected", "peer closed", "reset by peer"),
        frozenset({"NetworkError", "ProtocolError", "ClientConnectionError"}),
    ),
)
# litellm's words for a stream that ended without its end.
ENDED_EARLY = ("before any terminal event", "before a finish_reason was received")
SECRETS = (
    re.compile(r"\b(?:sk|pk|rk|gsk|xai|key)[-_][\w\-.*=+]{2,}", re.IGNORECASE),
    re.compile(r"\b(?:Bearer|Basic)\s+\S+"),
    re.compile(r"\bAIza[\w\-]{8,}"),
    re.compile(r"\b\w+://\S+"),
    re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b"),
    # A name of several parts; each begins to be looked at once, at its first character.
    re.compile(r"(?<![\w.\-])(?=[\w.\-]*\w\.\w)[\w.\-]++(?::\d{2,5}|/\S*)"),
    re.compile(r"\blocalhost(?::\d+)?\b"),
    re.compile(r"(?<![\w/])(?:~|\.{0,2})/[\w.\-]+(?:/[\w.\-]*)+"),
)
NAME = re.compile(r"[\w.:/\[\]$ -]{1,100}", re.ASCII)  # of an error's code or parameter
NOT_FOR_CLIENTS = re.compile(r"litellm|traceback|\.py\b|in-stream error", re.IGNORECASE)
# Some providers' words come without their JSON, behind the name of an exception.
BARE_WORDS = re.compile(r"(?:Exception|Error) - ([^<>{}\n]{1,300}?)(?: Handle with `[^`]+`\.?)?$")
UNSUPPORTED = re.compile(r"(?:parameters|params): \[?([\w', ]+)\]?")
REASONING_EFFORT = "doesn't support `reasoning.effort`"


class DeadlineExceeded(UpstreamError):
    """A limit that is watched here was reached; another try would take as long."""

    def __init__(self, message: str) -> None:
        super().__init__(message, status=504, code="upstream_timeout")


def classify(failure: BaseException) -> UpstreamError:
    """The error to tell of anything that a provider call raised."""
    if (ours := raised_here(failure)) is not None:
        return ours
    failure = _original(failure)
    said = provider_error(failure)
    status = _status(failure)
    return UpstreamError(
        _message(failure, said, status),
        status=status,
        code=_code(failure, said, status),
        param=_named(said.get("param")) or None,
        retry_after=retry_after(getattr(failure, "litellm_response_headers", None) or {}),
    )


def truncated() -> UpstreamError:
    """The error of a stream that ended too early."""
    return UpstreamError(TRUNCATED, code="server_error")


def is_retryable(error: UpstreamError) -> bool:
    """Whether the same request may do better in a moment."""
    if isinstance(error, DeadlineExceeded | TooLarge) or error.code == "insufficient_quota":
        return False
    return error.status in (408, 409, 429) or error.status >= 500


def retry_after(headers: Mapping[str, Any], now: float | None = None) -> float | None:
    """The seconds a provider asks to wait: `retry-after-ms`, or `retry-after` of either form."""
    lowered = {str(name).lower(): str(value) for name, value in headers.items()}
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            return _seconds(float(lowered[name]) / unit)
        except (KeyError, ValueError):
            continue
    try:
        date = email.utils.parsedate_to_datetime(lowered["retry-after"]).timestamp()
    except (KeyError, ValueError, OverflowError):
        return None
    return _seconds(date - (time.time() if now is None else now))


def _seconds(asked: float) -> float | None:
    """None for what is no time to wait: "nan" and "inf" are numbers too."""
    return min(max(0.0, asked), LONGEST_WAIT) if math.isfinite(asked) else None


def provider_error(failure: BaseException) -> Json:
    """The provider's own error object: the error's body, or the JSON inside its text; or {}."""
    body = getattr(failure, "body", None)
    if isinstance(body, dict) and body:
        return _inner(body)
    text = str(getattr(failure, "message", None) or failure)
    end = text.rfind("}") + 1
    starts = [match.start() for match in re.finditer(r"\{", text[:TEXT_LIMIT])][:3]
    objects = (_parsed(text[start:end]) for start in starts if end - start <= JSON_LIMIT)
    return next((_inner(found) for found in objects if found), {})


def redacted(words: str) -> str:
    """The words without keys, addresses and paths; "" if they are not for clients at all."""
    begun = words[:TEXT_LIMIT]
    if NOT_FOR_CLIENTS.search(begun):
        return ""
    shown = " ".join(begun.split())
    if len(words) > TEXT_LIMIT or len(shown) > LOOKED_AT:
        shown = shown[:LOOKED_AT].rstrip(CUT_OFF)  # half of a secret may not look like one
    for secret in SECRETS:
        shown = secret.sub("[redacted]", shown)
    shown = shown.encode(errors="replace").decode()  # half a character cannot be sent on
    return shown[:MESSAGE_LIMIT].rstrip()


def _original(failure: BaseException) -> BaseException:
    """What a mid-stream error of litellm wraps, however deep."""
    for _ in range(10):
        inner = getattr(failure, "original_exception", None)
        if not isinstance(inner, BaseException):
            break
        failure = inner
    return failure


def _ancestry(failure: BaseException) -> list[str]:
    return [cls.__name__ for cls in type(failure).__mro__]


def _status(failure: BaseException) -> int:
    for name in _ancestry(failure):
        status, _ = CLASSES.get(name, (None, None))
        if status is not None:
            return status
    if _connection(failure) or "APIConnectionError" in _ancestry(failure):
        return 502
    status = getattr(failure, "status_code", None)
    return status if isinstance(status, int) and 400 <= status <= 599 else 502


def _connection(failure: BaseException) -> str:
    """What became of the connection, in words; "" if it did not fail."""
    text, names = str(failure), set(_ancestry(failure))
    for words, marks, classes in CONNECTIONS:
        if any(mark in text for mark in marks) or not classes.isdisjoint(names):
            return words
    return ""


def _message(failure: BaseException, said: Json, status: int) -> str:
    if status in OWN_WORDS:
        return MESSAGES[status]
    if type(failure).__name__ == "UnsupportedParamsError":
        return _unsupported(str(failure))
    if any(words in str(failure) for words in ENDED_EARLY):
        return TRUNCATED
    words = said.get("message") or _bare_words(failure)
    if isinstance(words, str) and (spoken := redacted(words)):
        return spoken
    return _connection(failure) or MESSAGES.get(status, FAILED)


def _bare_words(failure: BaseException) -> str:
    if _connection(failure) or "APIConnectionError" in _ancestry(failure):
        return ""  # those are the words of an exception on this side
    found = BARE_WORDS.search(str(failure)[-END_LIMIT:])
    return found[1] if found else ""


def _unsupported(text: str) -> str:
    """The library's own refusal of a parameter, in words that name it."""
    if REASONING_EFFORT in text:
        return "The model does not support 'reasoning'."
    if found := UNSUPPORTED.search(text[:LOOKED_AT]):
        names = ", ".join(f"'{name}'" for name in re.findall(r"\w+", found[1]))
        return f"The model does not support {names}."[:MESSAGE_LIMIT]
    return "The model does not support a parameter of the request."


def _code(failure: BaseException, said: Json, status: int) -> str:
    code = _named(said.get("code"))
    if code and not code.isdecimal():
        return code
    for name in _ancestry(failure):
        if known := CLASSES.get(name, (None, None))[1]:
            return known
    if type(failure).__name__ == "UnsupportedParamsError":
        return "unsupported_parameter"
    return CODES.get(status, "invalid_request_error" if status < 500 else "server_error")


def _named(value: Any) -> str:
    """A code, or the path of a parameter; "" for what looks like neither."""
    return value if isinstance(value, str) and NAME.fullmatch(value) else ""


def _parsed(text: str) -> Json:
    """An object written as JSON, or as Python would print it; {} if it is neither."""
    for candidate in (text, text.replace("\\'", "'"), text.replace('\\"', '"')):
        try:
            value = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        return value if isinstance(value, dict) else {}
    if len(text) > TEXT_LIMIT:
        return {}
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd numbers, on standard error
            value = ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _inner(body: Json) -> Json:
    error = body.get("error", body)
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else {}
