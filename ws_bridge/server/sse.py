"""Server-sent events: a response's batches as `text/event-stream` (wire contract 6.4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from aiohttp import hdrs, web

from ws_bridge.clock import Clock
from ws_bridge.errors import BridgeError
from ws_bridge.protocol.events import SSE_DONE, SSE_KEEPALIVE, Event

KEEPALIVE_SECONDS = 15.0
HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}


async def send_events(
    request: web.Request, batches: AsyncIterator[Sequence[Event]], clock: Clock
) -> web.StreamResponse:
    """Send every batch in one write, comments while nothing comes, `[DONE]` at the end.

    For a create, an error before the first batch is raised with no byte written, so that it can
    still be a plain HTTP answer; who follows what exists gets the head at once.
    """
    first = await anext(batches, None) if request.method == hdrs.METH_POST else None
    response = web.StreamResponse(headers=HEADERS)
    await response.prepare(request)
    comments = asyncio.create_task(_comment(response, clock))
    try:
        if first is not None:
            await response.write(_text(first))
        async for batch in batches:
            await response.write(_text(batch))
        await response.write(SSE_DONE)
    except BridgeError:  # too late for another answer: a cut stream is one to be resumed
        raise ConnectionResetError from None
    finally:
        comments.cancel()
        await asyncio.gather(comments, return_exceptions=True)
    await response.write_eof()
    return response


def _text(batch: Sequence[Event]) -> bytes:
    return b"".join([event.sse() for event in batch])


async def _comment(response: web.StreamResponse, clock: Clock) -> None:
    while True:
        await clock.sleep(KEEPALIVE_SECONDS)
        await response.write(SSE_KEEPALIVE)
