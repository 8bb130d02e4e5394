"""Answers as JSON, and errors in their HTTP form."""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import hdrs, web

from ws_bridge.errors import BridgeError, InvalidRequest

NO_STORE = "no-store"  # an answer for one key belongs in no cache


def json_response(body: Any) -> web.Response:
    """An answer as JSON."""
    return web.Response(body=orjson.dumps(body), content_type="application/json")


def error_response(error: BridgeError, request_id: str = "") -> web.Response:
    """An error in its HTTP form (docs/protocol.md §4.1)."""
    answer = json_response(error.body())
    answer.set_status(error.status)
    answer.headers.update(error.headers())
    answer.headers["x-request-id"] = request_id or new_request_id()
    answer.headers[hdrs.CACHE_CONTROL] = NO_STORE
    return answer


def from_http_exception(refusal: web.HTTPException) -> BridgeError:
    """An error of aiohttp's: its status, and no text that a client sent."""
    return InvalidRequest(HTTPStatus(refusal.status).phrase, status=refusal.status)


def new_request_id() -> str:
    """An id that stands in the answer and in the log of a request."""
    return "req_" + secrets.token_hex(12)
