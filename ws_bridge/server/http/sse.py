"""Server-sent events: a response's batches as `text/event-stream` (docs/protocol.md §7.3)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial

from aiohttp import web

from ws_bridge.clock import Clock
from ws_bridge.errors import BridgeError
from ws_bridge.protocol.events import SSE_DONE, SSE_KEEPALIVE, Event
from ws_bridge.server.http.json import limits_of
from ws_bridge.server.json_responses import PIECE
from ws_bridge.server.slow_consumer import SlowConsumer
from ws_bridge.server.websocket.outbox import BUFFER_BYTES, chunked

log = logging.getLogger(__name__)

KEEPALIVE_SECONDS = 15.0
HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-store",
    "X-Accel-Buffering": "no",
}


async def send_events(
    request: web.Request,
    batches: AsyncIterator[Sequence[Event]],
    clock: Clock,
    *,
    is_first_awaited: bool,
) -> web.StreamResponse:
    """Send every batch in one write, comments while nothing comes, `[DONE]` at the end.

    With ``is_first_awaited`` an error before the first batch is raised with no byte written; it can
    still be a plain HTTP answer; without, the client gets the head at once. A client that takes
    nothing is cut off: it can come back and resume where it was.
    """
    first = await anext(batches, None) if is_first_awaited else None
    response = web.StreamResponse(headers=HEADERS)
    await response.prepare(request)
    writer = _SseWriter(request, response, clock)
    keepalives = asyncio.create_task(writer.send_keepalives())
    try:
        if first is not None:
            await writer.send(first)
        async for batch in batches:
            await writer.send(batch)
        await writer.finish()
    except BridgeError as error:
        writer.abort(error)
    except ConnectionError:
        log.debug("client_left")
    finally:
        keepalives.cancel()
        await asyncio.gather(keepalives, return_exceptions=True)
        await writer.slow_consumer.cancel()
    return response


class _SseWriter:
    """Writes to one reader."""

    def __init__(self, request: web.Request, response: web.StreamResponse, clock: Clock) -> None:
        if request.transport is None:
            raise ConnectionResetError
        self._transport = request.transport
        self._transport.set_write_buffer_limits(BUFFER_BYTES)
        self._protocol = request.protocol
        self._response = response
        self._clock = clock
        self._written = 0  # bytes in this turn of the loop, at most
        unread = limits_of(request).unread_seconds
        self.slow_consumer = SlowConsumer(
            self._transport, clock, unread, partial(_abort_slow, self._transport)
        )

    async def send(self, batch: Sequence[Event]) -> None:
        for piece in chunked(event.sse() for event in batch):
            for part in in_parts(piece):
                with self.slow_consumer:
                    await self._response.write(part)
                self._written += len(part)
                if self._written >= PIECE:  # a client that reads fast makes no pause
                    self._written = 0
                    await asyncio.sleep(0)

    async def finish(self) -> None:
        with self.slow_consumer:
            await self._response.write(SSE_DONE)
            await self._response.write_eof()

    async def send_keepalives(self) -> None:
        """Send a comment now and then; none to a client that has enough to read."""
        while True:
            await self._clock.sleep(KEEPALIVE_SECONDS)
            if not self._protocol.writing_paused:
                await self._response.write(SSE_KEEPALIVE)

    def abort(self, error: BridgeError) -> None:
        """Close without the last event: it is too late for another answer, and clients resume."""
        log.info("stream_cut reason=%s", type(error).__name__)
        self._transport.close()


def in_parts(piece: bytes) -> Iterator[bytes | memoryview]:
    """The piece, one that is far too large for a write in several."""
    if len(piece) <= PIECE:
        yield piece
    else:
        whole = memoryview(piece)
        yield from (whole[start : start + PIECE] for start in range(0, len(whole), PIECE))


async def _abort_slow(transport: asyncio.Transport) -> None:
    log.info("slow_reader")
    transport.abort()
