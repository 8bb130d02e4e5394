"""What goes out to a client, over real connections; clients that do not read it."""

import asyncio
import itertools
import json
import re
import socket

import pytest
from aiohttp import ClientSession, WSMsgType, web
from support.fake_clock import FakeClock
from support.hang import HANG_SECONDS
from support.scripted_upstream import Scripted, answer, completed, done_item, message, opening
from support.slow_reader import CLOSE, PING, TEXT, SlowReader

from ws_bridge.clock import Clock
from ws_bridge.errors import CONNECTION_LIMIT
from ws_bridge.protocol.events import Draft, Event
from ws_bridge.server.websocket import outbox as module
from ws_bridge.server.websocket.outbox import BUFFER_BYTES, Outbox, chunked, frame

SIZES = (0, 1, 125, 126, 127, 2**16 - 1, 2**16, 2**16 + 1, 2**20)
MOST = 2 * BUFFER_BYTES + 4096  # what a transport may hold, and one piece
UNREAD = 30.0
TERMINAL = "response.completed"


def long(count=2000, size=1000):
    """A response of about so many bytes, in events of about this size."""
    start, end = message("x")[:2], message("x")[3:]
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    deltas = (
        Draft("response.output_text.delta", {**at, "delta": f"{number:04}" + "x" * size})
        for number in range(count)
    )
    return [*opening(), *start, *deltas, *end, completed(done_item("x"))]


def held(bridge):
    """The bytes that wait in the transports of all sockets."""
    sockets = bridge.bridge._sockets._open
    return [socket._outbox._transport.get_write_buffer_size() for socket in sockets]


async def until(condition):
    """Let the others work until it is true; the limit is for a test that fails."""
    async with asyncio.timeout(HANG_SECONDS):
        while not condition():  # noqa: ASYNC110 - nobody here could set an event
            await asyncio.sleep(0.001)


async def is_stuck(bridge, count=1):
    """Return when so many sockets wait for their clients to read, and the watch is on."""
    sockets = bridge.bridge._sockets._open
    await until(lambda: sum(bool(one._outbox._slow_consumer) for one in sockets) == count)


def events(frames):
    return [json.loads(payload) for opcode, payload in frames if opcode == TEXT]


# Frames


@pytest.mark.parametrize("most", [1, 2, 3, 10])
@pytest.mark.parametrize("sizes", [(), (1,), (BUFFER_BYTES,), (30_000,) * 7, (9, 90_000, 9, 9)])
def test_pieces_are_the_whole_and_none_is_larger_than_it_must_be(sizes, most):
    parts = [bytes([65 + at % 26]) * size for at, size in enumerate(sizes * most)]
    pieces = list(chunked(parts))
    assert b"".join(pieces) == b"".join(parts)
    assert all(len(piece) <= max((BUFFER_BYTES, *sizes)) for piece in pieces)
    for one, other in itertools.pairwise(pieces):
        assert len(one) + len(other) > BUFFER_BYTES


@pytest.fixture
async def way():
    """A function that opens a socket and has its outbox, for as long as the test lasts."""
    outs = asyncio.Queue()

    async def serve(request):
        ws = web.WebSocketResponse(compress=False)
        await ws.prepare(request)
        out = Outbox(request, ws, Clock(), UNREAD)
        outs.put_nowait((out, ws))
        async for _ in ws:
            pass
        await out.release()
        return ws

    app = web.Application()
    app.router.add_get("/v1/responses", serve)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    await web.SockSite(runner, listening).start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}", outs
    await runner.cleanup()


async def test_messages_of_every_size_arrive_whole_and_in_order(way):
    url, outs = way
    texts = [(b"%d:" % size) + b"x" * size for size in SIZES]
    async with (
        ClientSession() as session,
        session.ws_connect(url + "/v1/responses", max_msg_size=0) as client,
    ):
        out, ws = await outs.get()
        sending = asyncio.create_task(_all_ways(out, ws, texts))
        for text in (*texts, *texts, *(text for text in texts for _ in range(3))):
            assert (await client.receive(20)).data == text.decode()
        await sending


async def _all_ways(out, ws, texts):
    """At once, one by one, and between pings of aiohttp's own."""
    await out.send(texts)
    for text in texts:
        await out.send([text])
    for text in texts:
        await ws.ping(b"?")
        await out.send([text, text])
        await ws.ping()
        await out.send([text])


async def test_what_is_ready_is_one_write(way):
    url, outs = way
    client = await SlowReader.upgraded(url, buffer=2**18)
    out, _ = await outs.get()
    texts = [b"x" * 100, b"y" * 200, b"z"]
    await out.send(texts)
    await client.read()
    assert bytes(client.got) == b"".join(map(frame, texts))
    client.close()


def batch(*texts):
    return [Event("response.output_text.delta", number, text) for number, text in enumerate(texts)]


async def test_what_need_not_wait_is_sent_now_and_all_else_not_at_all(way):
    url, outs = way
    client = await SlowReader.upgraded(url)
    out, _ = await outs.get()
    many = [b"m" * 30_000] * 3
    assert out.take(batch(b"one"))
    assert out.take(batch(b"two", b"three"))
    assert not out.take([Event("response.completed", 0, b"end")]), "an end is not a batch"
    assert not out.take(batch(*many)), "more than one write holds"
    assert out.take(batch(b"l" * 2**20)), "one message is one piece"
    assert not out.take(batch(b"x")), "the client has enough to read"
    waiting = asyncio.create_task(out.send(many))
    await until(lambda: out._lock is not None and out._lock.locked())
    while not waiting.done():
        assert out._protocol.writing_paused or not out.take(batch(b"x")), "others wait"
        await client.read()
    await out.close(CONNECTION_LIMIT)
    got = [payload for opcode, payload in await client.rest() if opcode == TEXT]
    assert got == [b"one", b"two", b"three", b"l" * 2**20, *many]


async def test_nothing_follows_a_close_frame(way):
    """No message and no ping, from any sender."""
    url, outs = way
    client = await SlowReader.upgraded(url)
    out, _ = await outs.get()
    closing = asyncio.create_task(out.close(CONNECTION_LIMIT))
    await asyncio.sleep(0)
    await out.send([b"late"])
    await out.send([b"later", b"still later"])
    await out.ping()
    await client.send_frame("", CLOSE)
    await closing
    assert await client.rest() == [(CLOSE, b"\x03\xe9connection limit reached")]


async def test_to_a_client_that_is_gone_it_is_nothing(way):
    url, outs = way
    client = await SlowReader.upgraded(url)
    out, ws = await outs.get()
    client.close()
    await until(out._transport.is_closing)
    await out.send([b"x"])
    await out.send([b"x", b"y"])
    await out.ping()
    await out.close(CONNECTION_LIMIT)
    await out.release()
    assert ws.closed


async def test_several_that_wait_take_turns_and_hold_no_more_than_one(way):
    """Lanes of a slow client: the longest waiting one writes next, and the others wait again."""
    url, outs = way
    client = await SlowReader.upgraded(url)
    out, _ = await outs.get()
    lanes = [
        asyncio.create_task(out.send([b"%d" % lane + b"x" * 30_000] * 20)) for lane in range(8)
    ]
    async with asyncio.timeout(HANG_SECONDS):
        while not all(lane.done() for lane in lanes):
            assert out._transport.get_write_buffer_size() <= MOST
            await client.read()
    await asyncio.gather(*lanes)
    await out.close(CONNECTION_LIMIT)
    got = [payload[:1] for opcode, payload in await client.rest() if opcode == TEXT]
    assert len(got) == 160
    firsts = [got.index(b"%d" % lane) for lane in range(8)]
    lasts = [159 - got[::-1].index(b"%d" % lane) for lane in range(8)]
    assert max(firsts) < min(lasts)  # no lane had to wait for another's end


# Clients that do not read


@pytest.mark.catalogue("C5")
async def test_a_client_that_reads_nothing_is_cut_off_and_its_response_completes(serve):
    """And no other client notices: one beside it has its turn meanwhile, in full."""
    hands, gate = FakeClock(), asyncio.Event()
    config = {"limits": {"unread_seconds": UNREAD}, "server": {"on_disconnect": "cancel"}}
    *most, last = long()
    upstream = Scripted([*most, gate, last], answer("fine"))
    bridge = await serve(upstream, config, clock=hands.clock())
    client = await SlowReader.upgraded(bridge.url)
    await client.create(input="long")
    await is_stuck(bridge)
    assert max(held(bridge)) <= MOST
    other = await bridge.connect()
    assert (await other.turn(input="hi"))[-1]["type"] == TERMINAL
    [slow] = [one for one in bridge.bridge._sockets._open if one._outbox._slow_consumer]
    await until(lambda: _turned(hands, slow._outbox.is_slow))
    *received, (opcode, closing) = await client.rest()
    assert (opcode, closing) == (CLOSE, (1013).to_bytes(2, "big") + b"slow consumer")
    assert [event["sequence_number"] for event in events(received)] == list(range(len(received)))
    assert len(received) < 2000
    gate.set()
    path = f"/v1/responses/{events(received)[0]['response']['id']}"
    async with bridge.session.get(f"{bridge.url}{path}?stream=true&starting_after=5") as rest:
        assert (await rest.text()).endswith("data: [DONE]\n\n")
    assert (await bridge.get(path))[1]["status"] == "completed"
    assert (await other.turn(input="still"))[-1]["type"] == TERMINAL


def _turned(hands, done):
    """Turn the clock a little further, unless it is done."""
    if not done:
        hands.advance(1)
    return done


@pytest.mark.catalogue("C5")
async def test_what_is_not_stored_ends_with_the_client_that_reads_nothing(serve):
    hands = FakeClock()
    upstream = Scripted([*long()[:-1], asyncio.Event()])
    bridge = await serve(upstream, {"limits": {"unread_seconds": 1}}, clock=hands.clock())
    client = await SlowReader.upgraded(bridge.url)
    await client.create(input="long", store=False)
    await is_stuck(bridge)
    assert upstream.open_now == 1
    await until(lambda: _turned(hands, upstream.closed))
    assert upstream.open_now == 0
    client.close()


@pytest.mark.catalogue("C5")
@pytest.mark.parametrize("bad", ["", "{" * 50])
async def test_a_client_that_never_reads_again_keeps_no_connection(serve, monkeypatch, bad):
    """Not even one whose own frames wait for their answers to be read."""
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.05)
    config = {"limits": {"unread_seconds": 0.1, "bad_frames": 10**6}}
    bridge = await serve(Scripted(long()), config)
    client = await SlowReader.upgraded(bridge.url)
    await client.create(input="long")
    await is_stuck(bridge)
    for _ in range(20 if bad else 0):
        await client.send_frame(bad)
    await until(lambda: bridge.bridge._sockets.connections() == 0)
    assert await _is_cut(client, b"slow consumer")
    client.close()


@pytest.mark.catalogue("C4")
async def test_a_client_that_reads_little_by_little_is_never_cut_off(serve):
    """It takes many times as long as a client may take that reads nothing."""
    hands = FakeClock()
    config = {"limits": {"unread_seconds": UNREAD}}
    bridge = await serve(Scripted(long()), config, clock=hands.clock())
    client = await SlowReader.upgraded(bridge.url)
    await client.create(input="long")
    await is_stuck(bridge)
    [one] = bridge.bridge._sockets._open
    for _ in range(20):
        before = sum(held(bridge))
        while sum(held(bridge)) == before:
            await client.read(4096)
            await asyncio.sleep(0)
        assert sum(held(bridge)) <= MOST
        for _ in range(5):  # steps of a look each: half a client's time, in all ten times of it
            hands.advance(UNREAD / 10)
            await asyncio.sleep(0.001)
    assert not one._outbox.is_slow
    while TERMINAL.encode() not in client.got[-4096:]:
        await client.read()
    await client.send_frame("", CLOSE)
    received = events(await client.rest())
    assert [event["sequence_number"] for event in received] == list(range(len(received)))
    assert received[-1]["type"] == TERMINAL


@pytest.mark.catalogue("C6")
async def test_many_that_never_read_hold_little_each_and_the_service_goes_on(serve):
    """40 clients, 80 MB between them: what is held for them is less than a tenth of it."""
    hands, count = FakeClock(), 40
    stored = Scripted(lambda _request: long())
    bridge = await serve(stored, {"limits": {"unread_seconds": UNREAD}}, clock=hands.clock())
    clients = [await SlowReader.upgraded(bridge.url) for _ in range(count)]
    for client in clients:
        await client.create(input="long", store=False)
    await is_stuck(bridge, count)
    assert max(held(bridge)) <= MOST
    other = await bridge.connect()
    stored.scripts[:] = [answer("fine")]
    assert (await other.turn(input="hi"))[-1]["type"] == TERMINAL
    for client in clients:
        client.close()
    await until(lambda: bridge.bridge._sockets.connections() == 1)
    assert (await other.turn(input="hi"))[-1]["type"] == TERMINAL


@pytest.mark.catalogue("C5")
async def test_a_follower_that_reads_nothing_is_cut_off_and_another_sees_all(serve):
    hands = FakeClock()
    config = {"limits": {"unread_seconds": UNREAD}}
    bridge = await serve(Scripted(long()), config, clock=hands.clock())
    response_id = (await (await bridge.connect()).turn(input="long"))[-1]["response"]["id"]
    path = f"/v1/responses/{response_id}?stream=true"
    silent = await SlowReader.open(bridge.url, path)
    async with bridge.session.get(bridge.url + path) as got:
        text = await got.text()
    numbers = [int(found) for found in re.findall(r'"sequence_number":(\d+)', text)]
    assert numbers == list(range(len(numbers)))
    assert text.endswith("data: [DONE]\n\n")
    sleeping = hands.sleepers
    for _ in range(20):
        hands.advance(UNREAD / 6)
        await asyncio.sleep(0.001)
    await until(lambda: hands.sleepers < sleeping)
    assert await _is_cut(silent, b"[DONE]")
    silent.close()


async def _is_cut(line, end):
    """Whether what was sent ends without its end."""
    try:
        while await line.read():
            pass
    except ConnectionResetError:
        pass
    return end not in line.got[-200:]


# Signs of life


@pytest.mark.catalogue("C27")
async def test_every_socket_is_pinged_again_and_again(serve):
    """After 59 minutes and more of nothing else it is still connected."""
    hands = FakeClock()
    config = {"limits": {"control_frames": 1000}}  # pongs; the hour is over in no time
    bridge = await serve(Scripted(answer("ok")), config, clock=hands.clock())
    clients = [await bridge.connect(autoping=False) for _ in range(3)]
    for _ in range(143):
        for _ in range(25):
            hands.advance(1)
            for _ in range(5):
                await asyncio.sleep(0)
        for client in clients:
            assert (await client.ws.receive(20)).type is WSMsgType.PING
            await client.ws.pong()
    assert (await clients[0].turn(input="hi"))[-1]["type"] == TERMINAL


async def test_a_client_with_enough_to_read_gets_no_ping_on_top(serve):
    hands = FakeClock()
    bridge = await serve(Scripted(long()), clock=hands.clock())
    client = await SlowReader.upgraded(bridge.url)
    await client.create(input="long")
    await is_stuck(bridge)
    before = held(bridge)
    [one] = bridge.bridge._sockets._open
    await one.ping()
    assert held(bridge) == before
    while TERMINAL.encode() not in client.got[-4096:]:
        await client.read()
    await one.ping()
    await client.send_frame("", CLOSE)
    assert (PING, b"") in await client.rest()


def test_of_large_texts_one_is_made_a_frame_at_a_time():
    made = []
    large = bytes(2 * BUFFER_BYTES)

    def parts():
        for number in range(3):
            made.append(number)
            yield large

    pieces = chunked(parts())
    for number in range(3):
        assert len(next(pieces)) == len(large)
        assert made == list(range(number + 1))
