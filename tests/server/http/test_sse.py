"""Server-sent events: comments in silence, one write a batch, [DONE] at the end."""

import asyncio

from aiohttp import ClientSession, web

from ws_bridge.clock import Clock
from ws_bridge.protocol.events import Draft, Event
from ws_bridge.server.http.sse import in_parts, send_events
from ws_bridge.server.json_responses import PIECE


async def test_a_silent_stream_is_kept_alive_by_comments():
    silent, first_sent = asyncio.Event(), asyncio.Event()

    async def sleep(_seconds):
        if first_sent.is_set():
            await asyncio.Event().wait()
        await silent.wait()
        first_sent.set()

    async def batches():
        yield [Event.of(Draft("response.created", {}), 0, None)]
        silent.set()
        await first_sent.wait()
        await asyncio.sleep(0)
        yield [Event.of(Draft("response.completed", {}), 1, None)]

    async def show(request):
        clock = Clock(sleep=sleep)
        return await send_events(request, aiter(batches()), clock, is_first_awaited=False)

    app = web.Application()
    app.router.add_get("/", show)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    async with ClientSession() as session, session.get(url) as got:
        text = await got.text()
    await runner.cleanup()
    assert text == (
        "event: response.created\n"
        'data: {"type":"response.created","sequence_number":0}\n\n'
        ": keep-alive\n\n"
        "event: response.completed\n"
        'data: {"type":"response.completed","sequence_number":1}\n\n'
        "data: [DONE]\n\n"
    )


def test_a_large_event_is_written_in_pieces():
    text = bytes(range(256)) * 3000
    parts = list(in_parts(text))
    assert b"".join(parts) == text
    assert {len(part) for part in parts[:-1]} == {PIECE}
    assert list(in_parts(text[:PIECE])) == [text[:PIECE]]
