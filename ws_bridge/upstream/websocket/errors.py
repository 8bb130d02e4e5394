"""What goes wrong on a provider's WebSocket → the errors of the seam.

Rule: messages for clients are chosen and redacted by `upstream.errors`.
"""

from __future__ import annotations

from typing import Any

import orjson

from ws_bridge.errors import UpstreamError
from ws_bridge.types import Json
from ws_bridge.upstream.errors import (
    TIMED_OUT,
    UNREACHABLE,
    NeverBegan,
    ProviderRefused,
    classify,
)

# The status of an error frame that has none, by the error's type.
STATUSES = {"invalid_request_error": 400, "rate_limit_error": 429, "server_error": 500}


class ErrorFrame(Exception):
    """A provider's error in the form that ``classify`` reads; it has no text of its own."""

    def __init__(self, body: Json, status: Any, headers: Any) -> None:
        super().__init__()
        self.body = body
        self.status_code = status
        self.litellm_response_headers = headers if isinstance(headers, dict) else {}


def connect_error(failure: Exception | None) -> NeverBegan:
    """The error of a connection that could not be opened."""
    response = getattr(failure, "response", None)
    if type(failure).__name__ == "InvalidStatus" and response is not None:
        headers = dict(response.headers.raw_items())
        error = classify(ErrorFrame(_object(response.body), response.status_code, headers))
        return ProviderRefused(error, response.status_code)
    if isinstance(failure, TimeoutError):
        return NeverBegan(TIMED_OUT, status=504, code="upstream_timeout")
    return NeverBegan(UNREACHABLE)


def parse_error(fields: Json) -> UpstreamError:
    """The error of an `error` event: nested as documented, or flat as some servers send it."""
    nested = fields.get("error")
    error = nested if isinstance(nested, dict) else fields
    status = fields.get("status", fields.get("status_code"))
    if not isinstance(status, int):
        status = STATUSES.get(str(error.get("type")))
    headers = fields.get("headers") or error.get("headers")
    return classify(ErrorFrame({"error": error}, status, headers))


def _object(body: bytes | None) -> Json:
    try:
        value = orjson.loads(body or b"")
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
