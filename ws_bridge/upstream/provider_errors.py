"""A provider's own error, in any shape of JSON → the `UpstreamError` that clients get (pure).

Rule 1: the message and the code are the provider's, redacted (``errors``); a documentation address
in a message stays, hosts of the operator do not.
Rule 2: what has no status of its own gets one by its code or type, else 502.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.errors import CODES, MESSAGES, OWN_MESSAGE, redacted, retry_after

# Words of codes, types and statuses that providers use in streams, and the status they mean.
STATUSES = {
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "resource_exhausted": 429,
    "throttlingexception": 429,
    "overloaded_error": 529,
    "invalid_request_error": 400,
    "invalid_argument": 400,
    "validationexception": 400,
    "timeout_error": 504,
    "deadline_exceeded": 504,
    "unavailable": 503,
    "api_error": 500,
    "server_error": 500,
    "internal": 500,
}
NESTED = ("error", "errors", "detail", "response")
TEXTS = ("message", "detail", "msg", "error_description", "reason", "error", "title")


def error_of(
    status: int | None, body: Any, headers: Mapping[str, Any] | None = None
) -> UpstreamError:
    """The error in a body or an event. ``status``: HTTP's, or None in a stream that began well."""
    inner = _innermost(body)
    code, kind = _word(inner.get("code")), _word(inner.get("type"))
    found = status if status is not None and status >= 400 else _status(inner, code, kind)
    said = next((text for name in TEXTS if isinstance(text := inner.get(name), str) and text), "")
    message = MESSAGES.get(found, "") if found in OWN_MESSAGE else redacted(said)
    return UpstreamError(
        message or MESSAGES.get(found, ""),
        status=found,
        code=(code if not code.isdigit() else "") or CODES.get(found) or kind or None,
        param=_word(inner.get("param")) or None,
        retry_after=retry_after(headers or {}),
    )


def has_error(body: Any) -> bool:
    """Whether an object that should be a piece of an answer is an error."""
    return isinstance(body, dict) and any(body.get(name) for name in ("error", "errors"))


def _innermost(body: Any) -> Mapping[str, Any]:
    """The object that has the words, through every wrapping that providers use."""
    for _ in range(len(NESTED)):
        if isinstance(body, list):
            body = body[0] if body else {}
        if isinstance(body, str):
            return {"message": body}
        if not isinstance(body, dict):
            return {}
        inner = next(
            (body[name] for name in NESTED if isinstance(body.get(name), dict | list)), None
        )
        if inner is None:
            return body
        body = inner
    return body if isinstance(body, dict) else {}


def _status(inner: Mapping[str, Any], code: str, kind: str) -> int:
    for word in (code, kind, _word(inner.get("status"))):
        if word.isdigit() and 400 <= int(word) < 600:
            return int(word)
        if word.lower() in STATUSES:
            return STATUSES[word.lower()]
    return 502


def _word(value: Any) -> str:
    """A code, type or parameter as text; "" for all that is none."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    text = str(value) if is_number or isinstance(value, str) else ""
    return text if len(text) <= 100 and text.isascii() and text.isprintable() else ""
