"""What a provider call raised → the one `UpstreamError` that clients get, and its message.

Rule 1: the message is the provider's own, found in its JSON, or a constant of this file; it is
never ``str(error)``.
Rule 2: keys, addresses, paths and tracebacks get no further than this file.
Rule 3: a credential that the provider refuses is the operator's, and the message says so.
Rule 4: only the first part of a long error is read, and no part of it twice.
"""

from __future__ import annotations

import ast
import email.utils
import json
import logging
import math
import re
import time
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

from ws_bridge.errors import TRUNCATED, BridgeError, UpstreamError
from ws_bridge.logs import GOOGLE_KEY, KEY_PREFIXES
from ws_bridge.types import Json
from ws_bridge.upstream.error_shortening import CUT_OFF

log = logging.getLogger(__name__)

# Characters.
MESSAGE_LIMIT = 500
SEARCHED = 2 * MESSAGE_LIMIT  # of a message: for secrets
TEXT_LIMIT = 10_000  # of an error's text: for JSON
JSON_LIMIT = 64 * 1024  # of JSON in an error's text; longer JSON is no error
END_LIMIT = 1000  # of an error's text: for a message at its end
LONGEST_WAIT = 86_400.0  # seconds that a provider may ask for
WRAPPERS = 10  # errors of litellm around the provider's
CAUSES = 20  # exceptions around one of ours

# What clients get about providers, beside the providers' own messages. All of it stands here.
UNREACHABLE = "The model provider could not be reached."
LOST = "The connection to the model provider was lost."
NO_SOCKET = "The model provider does not offer its WebSocket mode here."
TIMED_OUT = "The model provider did not answer in time."
SILENT = "The model provider stopped sending data."
CANCELLED = "The model provider cancelled the response."
CREDENTIALS = "The model provider refused the bridge's credentials."
TOO_LARGE = "The model provider's answer is larger than this server takes."
COMPRESSED = "The model provider sent a compressed answer, which it was asked not to."
REDIRECTED = "The model provider answered with a redirect, which is not followed."
NOT_SENT = "The request to the model provider could not be made."
ENDLESS_EVENT = "The model provider sent an event without an end."
UNTYPED_EVENT = "The model provider sent an event without a type."
NO_SUMMARY = "The model wrote no summary."
SUMMARY_FAILED = "The model could not write a summary."
NO_REASONING = "The model does not support 'reasoning'."
NO_PARAMETER = "The model does not support a parameter of the request."

# By status, where the provider's own message is missing or not for clients.
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
# Where the provider's message is about the operator's account, or litellm wrote it.
OWN_MESSAGE = frozenset({401, 403, 504})
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
# By the name of a class in the error's ancestry, so that none is imported: the status, and the code
# if the provider gives none.
CLASSES: dict[str, tuple[int | None, str | None]] = {
    "ContextWindowExceededError": (None, "context_length_exceeded"),
    "ContentPolicyViolationError": (None, "content_policy_violation"),
    "Timeout": (504, None),
    "TimeoutException": (504, None),
    "APITimeoutError": (504, None),
    "TimeoutError": (504, None),
}
# How connections fail: the message, by phrases of the text or classes of the ancestry; first match.
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
# litellm's phrases for a stream without a terminal event.
ENDED_EARLY = ("before any terminal event", "before a finish_reason was received")
# Statuses of a refused handshake that any other request could get too. All others are about the
# WebSocket mode.
REQUEST_STATUSES = frozenset({401, 403, 408, 429, *range(500, 600)})
KEYS = (
    # Shorter ones than in the log too: a provider cuts the key that it names.
    re.compile(rf"\b(?:{KEY_PREFIXES}|key)[-_][\w\-.*=+]{{2,}}", re.IGNORECASE),
    re.compile(r"\b(?:Bearer|Basic)\s+\S+"),
    re.compile(GOOGLE_KEY),
)
SECRETS = (
    *KEYS,
    re.compile(r"\b\w+://\S+"),
    re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b"),
    # A name of several parts; the search starts once for each, at its first character.
    re.compile(r"(?<![\w.\-])(?=[\w.\-]*\w\.\w)[\w.\-]++(?::\d{2,5}|/\S*)"),
    re.compile(r"\blocalhost(?::\d+)?\b"),
    re.compile(r"(?<![\w/])(?:~|\.{0,2})/[\w.\-]+(?:/[\w.\-]*)+"),
)
# Hosts of providers that no operator of a bridge runs. What they serve beside documentation (an
# account's own resources) has other hosts.
PUBLIC_HOSTS = """
    ai.google.dev aka.ms alibabacloud.com aliyun.com anthropic.com bigmodel.cn cerebras.ai
    claude.com cloud.google.com cohere.com console.cloud.google.com deepinfra.com deepseek.com
    developers.google.com docs.aws.amazon.com docs.snowflake.com fireworks.ai groq.com
    huggingface.co learn.microsoft.com mistral.ai moonshot.ai moonshot.cn nebius.com nvidia.com
    openai.com openrouter.ai perplexity.ai sambanova.ai together.ai vllm.ai x.ai z.ai
""".split()
_HOST = "|".join(map(re.escape, PUBLIC_HOSTS))
# Without an account, a port or a query.
DOCUMENTATION = re.compile(
    rf"https://(?:[a-z0-9\-]+\.){{0,3}}(?:{_HOST})(?:[/#][\w.\-]*)*", re.ASCII
)
LINK = re.compile(r"(\bhttps://\S+)")
AROUND = ".,;:!?*)]}'\"`>"  # what ends a sentence that an address ends
NAME = re.compile(r"[\w.:/\[\]$ -]{1,100}", re.ASCII)  # of an error's code or parameter
NOT_FOR_CLIENTS = re.compile(r"litellm|traceback|\.py\b|in-stream error", re.IGNORECASE)
# Some providers' messages come without their JSON, behind the name of an exception.
BARE_MESSAGE = re.compile(r"(?:Exception|Error) - ([^<>{}\n]{1,300}?)(?: Handle with `[^`]+`\.?)?$")
UNSUPPORTED = re.compile(r"(?:parameters|params): \[?([\w', ]+)\]?")
REASONING_EFFORT = "doesn't support `reasoning.effort`"


class DeadlineExceeded(UpstreamError):
    """One of our time limits was reached; another try would take as long."""

    def __init__(self, message: str) -> None:
        super().__init__(message, status=504, code="upstream_timeout")


class TooLarge(UpstreamError):
    """An answer is larger than its bound; another one would be as well."""


class NotSent(UpstreamError):
    """No byte of the request went out: the fault is ours, and no other provider is asked."""

    def __init__(self, message: str = NOT_SENT) -> None:
        super().__init__(message, status=500)


class RequestRefused(UpstreamError):
    """The request has what this provider cannot be told: no byte went out, and no provider failed.

    ``refusal`` is the dialect's error.
    """

    def __init__(self, refusal: BridgeError) -> None:
        super().__init__(
            refusal.message, status=refusal.status, code=refusal.code, param=refusal.param
        )


class NeverBegan(UpstreamError):
    """A provider's WebSocket could not be opened, or was lost before the first event.

    The same request may be made in another way.
    """

    never_began: ClassVar[bool] = True


class ProviderRefused(NeverBegan):
    """The provider refused the WebSocket's handshake, with the HTTP status ``handshake_status``."""

    def __init__(self, error: UpstreamError, handshake_status: int) -> None:
        self.handshake_status = handshake_status
        super().__init__(
            NO_SOCKET if self.is_about_mode else error.message,
            status=502 if self.is_about_mode else error.status,
            code=None if self.is_about_mode else error.code,
            retry_after=error.retry_after,
        )

    @property
    def is_about_mode(self) -> bool:
        """Whether the provider refuses the WebSocket mode, and not this request."""
        return self.handshake_status not in REQUEST_STATUSES


def classify(failure: BaseException) -> UpstreamError:
    """The error for clients, of anything that a provider call raised."""
    if (ours := raised_here(failure)) is not None:
        return ours
    failure = _original(failure)
    error = provider_error(failure)
    status = _status(failure)
    return UpstreamError(
        _message(failure, error, status),
        status=status,
        code=_code(failure, error, status),
        param=_named(error.get("param")) or None,
        retry_after=retry_after(getattr(failure, "litellm_response_headers", None) or {}),
    )


def as_upstream_error(failure: Exception, model: str) -> UpstreamError:
    """The error of the seam for what a provider call raised; the log gets its kind, no content.

    A request that was refused here is logged with its response, and not as a provider's failure.
    """
    error = classify(failure)
    if isinstance(error, RequestRefused):
        return error
    log.info(
        "provider_failed model=%s kind=%s status=%d code=%s",
        model,
        type(failure.__cause__ or failure).__name__,
        error.status,
        error.code,
    )
    return error


def raised_here(failure: BaseException) -> UpstreamError | None:
    """Our own error among the failure's causes: litellm wraps what is raised while it reads."""
    cause: BaseException | None = failure
    for _ in range(CAUSES):
        if cause is None or isinstance(cause, UpstreamError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def truncated() -> UpstreamError:
    """The error of a stream that ended too early."""
    return UpstreamError(TRUNCATED, code="server_error")


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
    """The time to wait, bounded; None for "nan" and "inf", which are numbers too."""
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


def redacted(message: str) -> str:
    """The message without keys, addresses and paths; "" if it is not for clients at all."""
    start = message[:TEXT_LIMIT]
    if NOT_FOR_CLIENTS.search(start):
        return ""
    shown = " ".join(start.split())
    if len(message) > TEXT_LIMIT or len(shown) > SEARCHED:
        shown = shown[:SEARCHED].rstrip(CUT_OFF)  # half of a secret may not look like one
    shown = "".join(
        piece if _is_documentation(piece) else _without_secrets(piece)
        for piece in LINK.split(shown)
    )
    shown = shown.encode(errors="replace").decode()  # half a character cannot be sent on
    return shown[:MESSAGE_LIMIT].rstrip()


def _is_documentation(text: str) -> bool:
    """Whether the text is an address of a provider's public pages, and no key is in it."""
    address = text.rstrip(AROUND)
    return DOCUMENTATION.fullmatch(address) is not None and not any(
        key.search(address) for key in KEYS
    )


def _without_secrets(text: str) -> str:
    for secret in SECRETS:
        text = secret.sub("[redacted]", text)
    return text


def _original(failure: BaseException) -> BaseException:
    """The provider's error inside of litellm's mid-stream errors."""
    for _ in range(WRAPPERS):
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
    """How the connection failed, as a message; "" if it did not."""
    text, names = str(failure), set(_ancestry(failure))
    for message, phrases, classes in CONNECTIONS:
        if any(phrase in text for phrase in phrases) or not classes.isdisjoint(names):
            return message
    return ""


def _message(failure: BaseException, error: Json, status: int) -> str:
    """The message for clients; "" for the default of ``UpstreamError``."""
    if status in OWN_MESSAGE:
        return MESSAGES[status]
    if type(failure).__name__ == "UnsupportedParamsError":
        return _unsupported(str(failure))
    if any(phrase in str(failure) for phrase in ENDED_EARLY):
        return TRUNCATED
    message = error.get("message") or _bare_message(failure)
    if isinstance(message, str) and (shown := redacted(message)):
        return shown
    return _connection(failure) or MESSAGES.get(status, "")


def _bare_message(failure: BaseException) -> str:
    if _connection(failure) or "APIConnectionError" in _ancestry(failure):
        return ""  # an exception on this side wrote the text
    found = BARE_MESSAGE.search(str(failure)[-END_LIMIT:])
    return found[1] if found else ""


def _unsupported(text: str) -> str:
    """The message for litellm's own refusal of parameters; it names them."""
    if REASONING_EFFORT in text:
        return NO_REASONING
    if found := UNSUPPORTED.search(text[:SEARCHED]):
        names = ", ".join(f"'{name}'" for name in re.findall(r"\w+", found[1]))
        return f"The model does not support {names}."[:MESSAGE_LIMIT]
    return NO_PARAMETER


def _code(failure: BaseException, error: Json, status: int) -> str:
    code = _named(error.get("code"))
    if code and not code.isdecimal():
        return code
    for name in _ancestry(failure):
        if known := CLASSES.get(name, (None, None))[1]:
            return known
    if type(failure).__name__ == "UnsupportedParamsError":
        return "unsupported_parameter"
    return CODES.get(status, "invalid_request_error" if status < 500 else "server_error")


def _named(value: Any) -> str:
    """A code, or the path of a parameter; "" for any other value."""
    return value if isinstance(value, str) and NAME.fullmatch(value) else ""


def _parsed(text: str) -> Json:
    """An object written as JSON, or as Python prints it; {} for any other text."""
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
