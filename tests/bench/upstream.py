"""The bench's provider: Responses and chat completions streams, paced or as fast as it can.

Paced streams have a phase of their own each, drawn at random: streams that start together would
otherwise send together, which no real provider's do. Behind its schedule it catches up, unpaced.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import itertools
import random
import time
from functools import partial

from aiohttp import web

from tests.bench.alarm import Alarm
from tests.bench.processes import serve
from tests.bench.turns import DIALECTS, NativeTurn, Turn
from tests.bench.wire import ordered

SLACK_NS = 250_000  # who is due so soon is woken too: the machine's wake-ups belong to the subjects
TOGETHER = 64  # deltas in one write when unpaced: about 15 KB, as from a provider that is ahead


class Pacer:
    """Wakes its sleepers at their nanosecond, in order."""

    def __init__(self) -> None:
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._turn = itertools.count()
        self._alarm = Alarm()
        asyncio.get_running_loop().add_reader(self._alarm.fileno(), self._wake)

    async def until(self, due: int) -> None:
        """Return at ``due`` on the monotonic clock; let others run if that is past."""
        if due <= time.monotonic_ns():
            await asyncio.sleep(0)
            return
        sleeper = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (due, next(self._turn), sleeper))
        if self._sleepers[0][2] is sleeper:
            self._alarm.set(due)
        await sleeper

    def _wake(self) -> None:
        soon = time.monotonic_ns() + SLACK_NS
        while self._sleepers and self._sleepers[0][0] <= soon:
            sleeper = heapq.heappop(self._sleepers)[2]
            if not sleeper.done():
                sleeper.set_result(None)
        if self._sleepers:
            self._alarm.set(self._sleepers[0][0])
        else:
            self._alarm.clear()


PACER = web.AppKey("pacer", Pacer)


def stamped(number: int) -> str:
    """The text of a delta that is written now."""
    return f"{number}@{time.monotonic_ns():016d} "


async def say_paced(
    pacer: Pacer, response: web.StreamResponse | Frames, turn: Turn, deltas: int, rate: int
) -> str:
    """Write the deltas at their times; return their text."""
    apart = 1_000_000_000 // rate
    first = time.monotonic_ns() + random.randrange(apart)  # noqa: S311  # a phase, not a secret
    said = []
    for number in range(deltas):
        await pacer.until(first + number * apart)
        said.append(stamped(number))
        await response.write(turn.delta(number, said[-1]))
    return "".join(said)


async def say_at_once(response: web.StreamResponse | Frames, turn: Turn, deltas: int) -> str:
    """Write the deltas as fast as they are taken, several in each write; return their text."""
    said = [""] * deltas
    for begin in range(0, deltas, TOGETHER):
        numbers = range(begin, min(begin + TOGETHER, deltas))
        for number in numbers:
            said[number] = stamped(number)
        await response.write(b"".join(turn.delta(number, said[number]) for number in numbers))
    return "".join(said)


async def respond(make: type[Turn], request: web.Request) -> web.StreamResponse:
    body = await request.read()
    if b'"stream":true' not in body.replace(b" ", b""):
        raise web.HTTPBadRequest(text='{"error":{"message":"the bench only streams"}}')
    deltas, rate = ordered(body)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    turn = make()
    await response.write(turn.opening())
    if rate:
        text = await say_paced(request.app[PACER], response, turn, deltas, rate)
    else:
        text = await say_at_once(response, turn, deltas)
    await response.write(turn.closing(text, deltas))
    return response


class Frames:
    """Writes events as text frames instead of server-sent events."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def write(self, events: bytes) -> None:
        for event in events.split(b"\n\n"):
            if event:
                await self._socket.send_str(event.partition(b"data: ")[2].decode())


async def serve_socket(request: web.Request) -> web.WebSocketResponse:
    """The Responses WebSocket: one answer for each create, one after the other."""
    socket = web.WebSocketResponse(max_msg_size=0, compress=False)
    await socket.prepare(request)
    async for message in socket:
        deltas, rate = ordered(message.data.encode())
        turn, frames = NativeTurn(), Frames(socket)
        await frames.write(turn.opening())
        if rate:
            text = await say_paced(request.app[PACER], frames, turn, deltas, rate)
        else:
            text = await say_at_once(frames, turn, deltas)
        await frames.write(turn.closing(text, deltas))
    return socket


async def app() -> web.Application:
    made = web.Application()
    made[PACER] = Pacer()
    for path, turn in DIALECTS.values():
        made.router.add_post(path, partial(respond, turn))
    made.router.add_get("/v1/responses", serve_socket)
    return made


if __name__ == "__main__":
    gc.disable()  # its pauses would read as the subject's latency, and it lives for minutes only
    serve(app())
