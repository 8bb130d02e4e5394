"""Answers as JSON, and errors in their HTTP form."""

from __future__ import annotations

import asyncio
import secrets
from functools import partial
from http import HTTPStatus
from typing import Any

import aiohttp
import orjson
from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter

from ws_bridge.errors import BridgeError, InvalidRequest
from ws_bridge.pacing import HEAVY_BYTES, aside
from ws_bridge.protocol.json_limits import weigh

JSON = "application/json"
PIECE = 256 * 1024  # bytes that are written at once

NO_STORE = "no-store"  # an answer for one key belongs in no cache
REQUEST_ID = "x-request-id"


class PiecedBody(aiohttp.BytesPayload):
    """A large body, written piece by piece: other clients are served between two of them."""

    async def write(self, writer: AbstractStreamWriter) -> None:
        """What aiohttp calls."""
        whole = memoryview(self._value)
        for start in range(0, len(whole), PIECE):
            await writer.write(whole[start : start + PIECE])
            await asyncio.sleep(0)  # a client that reads fast makes no pause


def json_response(body: Any) -> web.Response:
    """An answer as JSON."""
    text = orjson.dumps(body)
    if len(text) <= PIECE:
        return web.Response(body=text, content_type=JSON)
    # Of a payload aiohttp would not tell the length.
    length = {hdrs.CONTENT_LENGTH: str(len(text))}
    return web.Response(body=PiecedBody(text), content_type=JSON, headers=length)


async def large_response(body: Any) -> web.Response:
    """The same of a body that may be large: its text is made beside the event loop then."""
    return await aside(partial(json_response, body), size=weigh((body,), HEAVY_BYTES))


def error_response(error: BridgeError) -> web.Response:
    """An error in its HTTP form (docs/protocol.md §4.1)."""
    answer = json_response(error.body())
    answer.set_status(error.status)
    answer.headers.update(error.headers())
    answer.headers[hdrs.CACHE_CONTROL] = NO_STORE
    return answer


def from_http_exception(refusal: web.HTTPException) -> BridgeError:
    """An error of aiohttp's: its status, and no text that a client sent."""
    return InvalidRequest(HTTPStatus(refusal.status).phrase, status=refusal.status)


def new_request_id() -> str:
    """An id that stands in the answer and in the log of a request."""
    return "req_" + secrets.token_hex(12)
