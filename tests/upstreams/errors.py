"""What every fake provider shares: the errors a model name asks for, and text in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiohttp import web

Json = dict[str, Any]

CREATED_AT = 1741476542


def _openai_error(message: str, kind: str, code: str | None, param: str | None = None) -> Json:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


_INVALID = "invalid_request_error"
_NO_QUOTA = "insufficient_quota"
_TOO_LONG = "context_length_exceeded"
_NO_PREVIOUS = "Previous response with id 'resp_x' not found."
ERRORS: dict[str, tuple[int, Json | str]] = {
    "err401": (
        401,
        _openai_error("Incorrect API key provided: sk-xx", _INVALID, "invalid_api_key"),
    ),
    "err403": (403, _openai_error("forbidden", _INVALID, "forbidden")),
    "err404": (404, _openai_error("The model `x` does not exist", _INVALID, "model_not_found")),
    "err400ctx": (
        400,
        _openai_error(
            f"This model's maximum context length is 10 tokens. {_TOO_LONG}",
            _INVALID,
            _TOO_LONG,
            "input",
        ),
    ),
    "err400prev": (
        400,
        _openai_error(
            _NO_PREVIOUS, _INVALID, "previous_response_not_found", "previous_response_id"
        ),
    ),
    "err400": (
        400,
        _openai_error("Unsupported parameter: 'zzz'", _INVALID, "unsupported_parameter", "zzz"),
    ),
    "err408": (408, _openai_error("too slow", "timeout", None)),
    "err409": (409, _openai_error("busy with another", "conflict", None)),
    "err422": (422, _openai_error("unprocessable", _INVALID, None)),
    "err429quota": (
        429,
        _openai_error("You exceeded your current quota", _NO_QUOTA, _NO_QUOTA),
    ),
    "err429long": (
        429,
        _openai_error("Come back in a minute", "requests", "rate_limit_exceeded"),
    ),
    "err429": (
        429,
        _openai_error("Rate limit reached for gpt-x", "requests", "rate_limit_exceeded"),
    ),
    "err500html": (500, "<html><body>Internal Server Error</body></html>"),
    "err500": (500, _openai_error("The server had an error", "server_error", None)),
    "err503": (503, _openai_error("overloaded", "server_error", None)),
    "err529": (
        529,
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
    ),
}


def error_response(model: str) -> web.Response | None:
    """Return the error that the model name asks for, if any (longest keyword first)."""
    for keyword in sorted(ERRORS, key=len, reverse=True):
        if keyword in model:
            return error_of(*ERRORS[keyword], wait=60 if keyword == "err429long" else 7)
    return None


def error_of(status: int, body: Json | str, wait: int = 7) -> web.Response:
    headers = {"x-request-id": "req_fake_err"}
    if status == 429:
        headers["retry-after"] = str(wait)
        headers["retry-after-ms"] = f"{wait}000"
        headers["x-ratelimit-remaining-requests"] = "0"
    if isinstance(body, str):
        return web.Response(status=status, text=body, content_type="text/html", headers=headers)
    return web.json_response(body, status=status, headers=headers)


def pieces(text: str, size: int) -> Iterator[str]:
    for start in range(0, len(text), size):
        yield text[start : start + size]


def number_after(keyword: str, model: str) -> int:
    return int(model.split(keyword)[1])
