"""A provider that takes requests of any size, and answers with as much text as it is told to.

A model whose name ends with "-large" answers with ``LARGE`` bytes, all others with one word.
"""

from __future__ import annotations

import asyncio
from functools import partial

import orjson
from aiohttp import WSMsgType, web

from tests.bench.processes import serve
from tests.bench.turns import DIALECTS, Turn
from tests.bench.upstream import Frames

LARGE = 20 * 2**20
PIECE = 64 * 1024
WORDS = ("All work and no play makes Jack a dull boy. " * (PIECE // 44 + 1))[:PIECE]
MODEL = b'"model":"'
SEEN = 256  # bytes at either end in which the model's name stands


class GeminiTurn:
    """A stream of `streamGenerateContent`."""

    def opening(self) -> bytes:
        return b""

    def delta(self, number: int, text: str) -> bytes:  # noqa: ARG002  # a chunk has no number
        return _chunk({"content": {"role": "model", "parts": [{"text": text}]}, "index": 0})

    def closing(self, text: str, deltas: int) -> bytes:  # noqa: ARG002  # it repeats no text
        content = {"role": "model", "parts": [{"text": ""}]}
        return _chunk({"content": content, "finishReason": "STOP", "index": 0})


def _chunk(candidate: dict[str, object]) -> bytes:
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 1, "totalTokenCount": 10}
    body = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "bench"}
    return b"data: %b\r\n\r\n" % orjson.dumps(body)


def _is_large(name: bytes) -> bool:
    return b"-large" in name


async def _say(out: web.StreamResponse | Frames, turn: Turn, *, is_large: bool) -> None:
    pieces = LARGE // PIECE if is_large else 1
    await out.write(turn.opening())
    for number in range(pieces):
        await out.write(turn.delta(number, WORDS if is_large else "yes"))
        await asyncio.sleep(0)
    await out.write(turn.closing(WORDS * pieces if is_large else "yes", pieces))


async def respond(make: type[Turn], request: web.Request) -> web.StreamResponse:
    body = bytearray()
    while piece := await request.content.readany():
        body += piece
    named = request.path.encode() + body[:SEEN] + body[-SEEN:]
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    await _say(response, make(), is_large=_is_large(named))
    await response.write_eof()
    return response


async def serve_socket(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(max_msg_size=0, compress=False)
    await socket.prepare(request)
    make = DIALECTS["native"][1]
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            named = (message.data[:SEEN] + message.data[-SEEN:]).encode()
            await _say(Frames(socket), make(), is_large=_is_large(named))
    return socket


async def app() -> web.Application:
    made = web.Application()
    for path, turn in DIALECTS.values():
        made.router.add_post(path, partial(respond, turn))
    made.router.add_post("/{prefix:.*}models/{model}", partial(respond, GeminiTurn))
    made.router.add_get("/v1/responses", serve_socket)
    return made


if __name__ == "__main__":
    serve(app())
