"""What goes wrong on a provider's WebSocket, as the errors of the seam.

Rule 1: an error that says ``never_began`` came before anything of the answer was seen: the same
request may be made in another way.
Rule 2: words for clients are chosen and redacted in ``failures``.
"""

from __future__ import annotations

from typing import Any, ClassVar

import orjson

from ws_bridge.errors import UpstreamError
from ws_bridge.types import Json
from ws_bridge.upstream.errors import TIMED_OUT, UNREACHABLE, classify, is_retryable

NO_SOCKET = "The model provider does not offer its WebSocket mode here."
# A handshake's refusals that would be one of any other request too; all others are about the mode.
REQUEST_STATUSES = frozenset({401, 403, 408, 429, *range(500, 600)})
# The status of an error that came without one.
STATUSES = {"invalid_request_error": 400, "rate_limit_error": 429, "server_error": 500}


class NeverBegan(UpstreamError):
    """There was no connection, or it was lost before the first event."""

    never_began: ClassVar[bool] = True


class ProviderRefused(NeverBegan):
    """The handshake was refused; ``handshake_status`` is its HTTP status."""

    def __init__(self, error: UpstreamError, handshake_status: int) -> None:
        is_about_request = handshake_status in REQUEST_STATUSES
        super().__init__(
            error.message if is_about_request else NO_SOCKET,
            status=error.status if is_about_request else 502,
            code=error.code if is_about_request else None,
            retry_after=error.retry_after,
        )
        self.handshake_status = handshake_status


class ErrorFrame(Exception):
    """A provider's error in the shape that ``failures`` reads; it has no text of its own."""

    def __init__(self, body: Json, status: Any, headers: Any) -> None:
        super().__init__()
        self.body = body
        self.status_code = status
        self.litellm_response_headers = headers if isinstance(headers, dict) else {}


def connect_error(failure: Exception | None) -> NeverBegan:
    """Why there is no connection."""
    response = getattr(failure, "response", None)
    if type(failure).__name__ == "InvalidStatus" and response is not None:
        headers = dict(response.headers.raw_items())
        frame = ErrorFrame(_object(response.body), response.status_code, headers)
        return ProviderRefused(classify(frame), response.status_code)
    if isinstance(failure, TimeoutError):
        return NeverBegan(TIMED_OUT, status=504, code="upstream_timeout")
    return NeverBegan(UNREACHABLE)


def is_worth_repeating(error: UpstreamError) -> bool:
    """Whether the same request may do better on the same kind of connection in a moment."""
    if isinstance(error, ProviderRefused) and error.handshake_status not in REQUEST_STATUSES:
        return False
    return is_retryable(error)


def parse_error(fields: Json) -> UpstreamError:
    """What an `error` event says: nested as documented, or flat as some servers send it."""
    nested = fields.get("error")
    error = nested if isinstance(nested, dict) else fields
    status = fields.get("status", fields.get("status_code"))
    if not isinstance(status, int):
        status = STATUSES.get(str(error.get("type")))
    return classify(
        ErrorFrame({"error": error}, status, fields.get("headers") or error.get("headers"))
    )


def _object(body: bytes | None) -> Json:
    try:
        value = orjson.loads(body or b"")
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
