"""What comes in on a real socket: each breach ends its own connection, and no other.

Times are short by configuration; no test says how soon something happens, only that it does, and
that what behaves lives through it.
"""

import asyncio
import contextlib
import gc
import json
import logging
import socket
import struct

import pytest
from support.hang import HANG_SECONDS
from support.raw_client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    HANDSHAKE,
    PING,
    PONG,
    TEXT,
    UPGRADE,
    RawClient,
    frame,
    head,
    request,
)
from support.scripted_upstream import Scripted, answer
from support.slow_reader import SlowReader

from ws_bridge.server.transport.transport import ClientTransport
from ws_bridge.server.transport.watches import LingeringClose

MIB = 2**20
SOON = 0.3  # seconds
SEND_BUFFER = (socket.SOL_SOCKET, socket.SO_SNDBUF)


@contextlib.asynccontextmanager
async def beside(bridge):
    """A client that takes turns all the while, before and after what happens here."""
    client = await bridge.connect()
    events = [await client.turn(input="hi")]
    yield
    events.append(await client.turn(input="again"))
    assert [turn[-1]["type"] for turn in events] == ["response.completed"] * 2
    await client.ws.close()


async def until(condition):
    """Let the server work until it is true; the limit is for a test that fails."""
    async with asyncio.timeout(HANG_SECONDS):
        while not condition():  # noqa: ASYNC110 - nobody here could set an event
            await asyncio.sleep(0)


async def start(serve, **limits):
    return await serve(Scripted(answer("a", "b")), {"limits": limits})


def upload(length, **headers):
    return request(
        "POST", "/v1/responses", {"Host": "localhost", "Content-Length": str(length), **headers}
    )


def status(answered):
    return int(answered.split(b" ", 2)[1])


# Heads and bodies


@pytest.mark.catalogue("B15")
async def test_a_head_that_does_not_come_ends_the_connection(serve):
    bridge = await start(serve, head_seconds=1)

    async def slow(pace):
        line = await RawClient.open(bridge.url)
        with contextlib.suppress(ConnectionError):  # it may be over amid a byte
            if pace is not None:
                await line.drip(UPGRADE[:-2], pace)
            assert await line.rest() == b""

    async with beside(bridge):
        await asyncio.gather(*(slow(pace) for pace in (0, 0.05, None) for _ in range(40)))


async def test_a_second_head_has_its_time_too_but_idleness_between_requests_is_no_breach(serve):
    bridge = await start(serve, head_seconds=SOON)
    kept, slow = await RawClient.open(bridge.url), await RawClient.open(bridge.url)
    healthz = request("GET", "/healthz", {"Host": "localhost"})
    for line in (kept, slow):
        await line.send(healthz)
        assert status(await line.answer()) == 200
    await slow.send(healthz[:10])
    assert await slow.rest() == b'{"status":"ok"}'
    other = await RawClient.open(bridge.url)
    assert await other.rest() == b""  # the time is over for a client that sent nothing
    await kept.send(healthz)
    assert b" 200 " in await kept.answer()


@pytest.mark.catalogue("B16")
async def test_a_slow_body_is_answered_with_408_in_the_contracts_shape(serve, caplog):
    bridge = await start(serve, message_seconds=SOON)
    async with beside(bridge):
        lines = [await RawClient.open(bridge.url) for _ in range(20)]
        for line in lines:
            await line.send(upload(1000) + b'{"model"')
        await asyncio.gather(*(line.drip(b" " * 100, pace=0.05) for line in lines[:10]))
        for line in lines:
            answered = await line.answer()
            assert status(answered) == 408
            assert b"connection: close" in answered.lower()
            error = json.loads(await line.rest())["error"]
            assert (error["type"], error["code"]) == ("invalid_request_error", "request_timeout")
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_body_that_is_not_read_is_not_waited_for_longer(serve):
    bridge = await start(serve, message_seconds=SOON)
    line = await RawClient.open(bridge.url)
    await line.send(request("POST", "/nowhere", {"Host": "localhost", "Content-Length": "1000"}))
    assert status(await line.answer()) == 404
    assert b"error" in await line.rest()


async def test_a_connection_goes_on_after_bodies_that_came_in_time(serve):
    bridge = await start(serve)
    line = await RawClient.open(bridge.url)
    body = json.dumps({"model": "m", "input": "x" * 300_000}).encode()
    for _ in range(3):
        await line.send(upload(len(body)) + body[:1000])
        await line.send(body[1000:])
        answered = await line.answer()
        assert status(answered) == 200
        length = int(answered.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        assert json.loads(await line._reader.readexactly(length))["status"] == "completed"


BROKEN = {
    "version": request("GET", "/v1/responses", HANDSHAKE | {"Sec-WebSocket-Version": "99"}),
    "key": request("GET", "/v1/responses", HANDSHAKE | {"Sec-WebSocket-Key": "short"}),
    "upgrade": request("GET", "/v1/responses", HANDSHAKE | {"Upgrade": "carrier-pigeon"}),
    "HTTP/1.0": UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "HTTP/9.9": UPGRADE.replace(b"HTTP/1.1", b"HTTP/9.9"),
    "length and chunks": request(
        "POST", "/v1/responses", {"Content-Length": "5", "Transfer-Encoding": "chunked"}
    ),
    "folded": request("GET", "/v1/responses", HANDSHAKE | {"X": "a\r\n b"}),
    "NUL": request("GET", "/v1/responses", HANDSHAKE | {"X": "a\0b"}),
    "bare CR": request("GET", "/v1/responses", HANDSHAKE | {"X": "a\rb"}),
    "64 KiB": request("GET", "/v1/responses", HANDSHAKE | {"X": "x" * 65536}),
    "2,000 headers": request(
        "GET", "/v1/responses", HANDSHAKE | {f"X-{number}": "x" for number in range(2000)}
    ),
    "two hosts": UPGRADE.replace(b"Host: localhost", b"Host: localhost\r\nHost: other"),
    "a long path": request("GET", "/v1/" + "x" * 65536, HANDSHAKE),
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "frames at once": UPGRADE + frame(TEXT, b"{}"),
    "half a frame at once": UPGRADE + frame(TEXT, b"\r\n\r\n" * 9)[:-20],
    "a second request at once": UPGRADE + UPGRADE,
}


@pytest.mark.catalogue("B14")
@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_handshake_is_refused_and_never_an_upgrade(serve, name):
    bridge = await start(serve)
    async with beside(bridge):
        line = await RawClient.open(bridge.url)
        await line.send(BROKEN[name])
        assert status(await line.answer()) in (400, 405, 426, 431)
        line.close()


async def test_a_head_in_pieces_or_after_others_or_after_empty_lines_is_a_handshake(serve):
    bridge = await start(serve)
    for prefix in (b"", b"\r\n\r\n"):
        line = await RawClient.open(bridge.url)
        await line.drip(prefix + UPGRADE, pace=0)
        assert status(await line.answer()) == 101
    line = await RawClient.open(bridge.url)
    await line.send(request("GET", "/healthz", {"Host": "localhost"}))
    await line.answer()
    await line._reader.readexactly(len(b'{"status":"ok"}'))
    await line.send(UPGRADE)
    assert status(await line.answer()) == 101
    await line.send(frame(CLOSE))
    await line.close_frame()


async def test_a_handshake_that_comes_before_the_end_of_an_answer_follows_it(serve):
    gate = asyncio.Event()
    script = answer("a")
    bridge = await serve(Scripted([*script[:2], gate, *script[2:]]))
    line = await RawClient.open(bridge.url)
    body = b'{"model": "m", "input": "hi", "stream": true}'
    await line.send(upload(len(body)) + body)
    assert status(await line.answer()) == 200
    await line.send(UPGRADE)
    gate.set()
    await line._reader.readuntil(b"[DONE]")
    await line._reader.readuntil(b"0\r\n\r\n")
    assert status(await line.answer()) == 101


# Frames


async def closed_with(bridge, *data):
    """What a WebSocket is closed with that sends this."""
    line = await RawClient.upgraded(bridge.url)
    for piece in data:
        await line.send(piece)
    reply = await line.close_frame()
    if data[-1][0] & 15 != CLOSE:
        await line.send(close(reply[0]))
    assert await line.rest() == b""  # an orderly end, not a reset
    return reply


def close(code, reason=b""):
    return frame(CLOSE, struct.pack("!H", code) + reason)


START = frame(TEXT, b"a", final=False)
WRONG = {
    "unmasked": (b"\x81\x02{}", 1002),
    "unmasked amid a message": (START + b"\x80\x01b", 1002),
    "reserved bit": (b"\xc1" + frame(TEXT, b"{}")[1:], 1002),
    "reserved opcode": (frame(3, b"x"), 1002),
    "reserved control": (frame(11, b"x"), 1002),
    "long ping": (frame(PING, b"x" * 126), 1002),
    "ping in fragments": (frame(PING, b"x", final=False), 1002),
    "stray continuation": (frame(CONTINUATION, b"x"), 1002),
    "message amid a message": (START + frame(TEXT, b"x"), 1002),
}
NOT_UTF8 = {
    "a lone byte": b"\xff",
    "overlong": b"\xc0\xaf",
    "a surrogate": b"\xed\xa0\x80",
    "cut short": b"\xe2\x82",
    "beyond": b"\xf4\x90\x80\x80",
}
BAD_CLOSES = {
    "one byte": (frame(CLOSE, b"\x03"), 1002),
    **{f"{code}": (close(code), 1002) for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000)},
    "bad UTF-8": (close(1000, b"\xff"), 1007),
}


def cases(table, mark):
    return [pytest.param(*given, id=name, marks=mark) for name, given in table.items()]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        *cases(WRONG, pytest.mark.catalogue("B7")),
        *cases(
            {name: (frame(TEXT, text), 1007) for name, text in NOT_UTF8.items()},
            pytest.mark.catalogue("B8"),
        ),
        *cases(
            {
                f"{name}, split": (
                    frame(TEXT, text[:1], final=False) + frame(CONTINUATION, text[1:]),
                    1007,
                )
                for name, text in NOT_UTF8.items()
            },
            pytest.mark.catalogue("B8"),
        ),
        *cases(BAD_CLOSES, pytest.mark.catalogue("B9")),
    ],
)
async def test_a_breach_of_the_protocol_is_closed_with_its_reason(serve, data, code):
    bridge = await start(serve)
    async with beside(bridge):
        assert (await closed_with(bridge, data))[0] == code
        line = await RawClient.upgraded(bridge.url)
        await line.drip(data, pace=0)
        assert (await line.close_frame())[0] == code
        line.close()


@pytest.mark.catalogue("B6")
async def test_compression_is_not_negotiated_and_a_compressed_frame_is_refused(serve):
    bridge = await start(serve)
    line = await RawClient.open(bridge.url)
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
    await line.send(request("GET", "/v1/responses", HANDSHAKE | offer))
    assert b"deflate" not in await line.answer()
    await line.send(b"\xc1" + frame(TEXT, b"\0" * 1000)[1:])
    assert (await line.close_frame())[0] == 1002


async def served(serve, **limits):
    """A bridge that takes messages up to 1 MiB."""
    return await serve(Scripted(answer("a")), {"server": {"max_message_mib": 1}, "limits": limits})


@pytest.mark.catalogue("B2")
@pytest.mark.parametrize("length", [MIB + 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1])
@pytest.mark.parametrize("before", [b"", START])
async def test_a_frame_that_announces_too_much_is_refused_before_its_payload(serve, length, before):
    bridge = await served(serve)
    async with beside(bridge):
        opcode = CONTINUATION if before else TEXT
        assert (await closed_with(bridge, before + head(opcode, length)))[0] == 1009


@pytest.mark.catalogue("B3")
@pytest.mark.parametrize("pieces", [1, 16])
async def test_a_client_that_sends_too_much_in_full_still_reads_why(serve, pieces):
    bridge = await served(serve)
    size = 2 * MIB // pieces
    data = head(TEXT, size, final=pieces == 1) + bytes(size)
    data += b"".join(head(CONTINUATION, size, final=False) + bytes(size) for _ in range(pieces - 1))
    async with beside(bridge):
        assert (await closed_with(bridge, data))[0] == 1009


@pytest.mark.catalogue("B4")
@pytest.mark.parametrize("fragments", [1, 2])
@pytest.mark.parametrize(("size", "is_taken"), [(MIB - 1, True), (MIB, True), (MIB + 1, False)])
async def test_the_limit_of_a_message_is_exact(serve, size, is_taken, fragments):
    bridge = await served(serve)
    line = await RawClient.upgraded(bridge.url)
    start = json.dumps({"type": "response.create", "model": "m", "input": ""}).encode()[:-2]
    text = start + b"x" * (size - len(start) - 2) + b'"}'
    if fragments == 1:
        await line.send(frame(TEXT, text))
    else:
        await line.send(frame(TEXT, text[:1000], final=False) + frame(CONTINUATION, text[1000:]))
    if is_taken:
        (_, first), *_ = await line.frames(1)
        assert json.loads(first)["type"] == "response.created"
    else:
        assert (await line.close_frame())[0] == 1009


# Slowness, silence, floods


@pytest.mark.catalogue("B5")
@pytest.mark.parametrize(
    "data",
    [START, head(TEXT, 1000), head(TEXT, 1000) + b"x", frame(TEXT, b"{}") + b"\x81"],
    ids=["a fragment", "a frame's head", "half a frame", "half a head"],
)
async def test_a_message_that_does_not_come_to_its_end_is_a_breach(serve, data):
    bridge = await start(serve, message_seconds=SOON)
    async with beside(bridge):
        assert await closed_with(bridge, data) == (1008, "message took too long")


@pytest.mark.catalogue("B5")
async def test_single_bytes_and_slow_fragments_gain_no_time(serve):
    bridge = await start(serve, message_seconds=SOON)
    async with beside(bridge):
        dripping, slow = [await RawClient.upgraded(bridge.url) for _ in range(2)]
        more = frame(CONTINUATION, b"x", final=False)
        await dripping.send(head(TEXT, 100_000))
        await slow.send(START)
        await asyncio.gather(
            dripping.drip(bytes(200), pace=0.02),
            *(slow.drip(more, pace=0.02) for _ in range(1)),
        )
        for line in (dripping, slow):
            assert await line.close_frame() == (1008, "message took too long")


@pytest.mark.catalogue("B5")
async def test_fragments_without_end_are_a_breach(serve):
    bridge = await start(serve, message_fragments=16)
    more = frame(CONTINUATION, b"x", final=False)
    async with beside(bridge):
        reply = await closed_with(bridge, START + more * 100)
        assert reply == (1008, "message in too many fragments")


async def test_a_large_message_in_tiny_pieces_arrives_whole(serve):
    bridge = await start(serve)
    line = await RawClient.upgraded(bridge.url)
    text = json.dumps({"type": "response.create", "model": "m", "input": "é" * 3000}).encode()
    data = frame(TEXT, text[:4000], final=False) + frame(PING, b"hi")
    data += frame(CONTINUATION, text[4000:]) + frame(PING, b"end")
    for at in range(0, len(data), 7):
        await line.send(data[at : at + 7])
        await asyncio.sleep(0)
    got = await line.frames(6)
    assert (PONG, b"hi") in got
    kinds = [json.loads(payload)["type"] for opcode, payload in got if opcode == TEXT]
    assert kinds[:2] == ["response.created", "response.in_progress"]


@pytest.mark.catalogue("B10")
@pytest.mark.parametrize(
    "one",
    [frame(PING, b"x" * 20), frame(PONG), frame(TEXT), frame(CONTINUATION, final=False)],
    ids=["pings", "pongs", "empty texts", "empty fragments"],
)
async def test_a_flood_of_frames_that_carry_nothing_is_a_breach(serve, one):
    bridge = await start(serve, message_fragments=10**6)
    first = START if one[0] & 15 == CONTINUATION else b""
    async with beside(bridge):
        reply = await closed_with(bridge, first + one * 20_000)
        assert reply == (1008, "too many control or empty frames")


async def test_ordinary_pings_are_answered(serve):
    bridge = await start(serve, control_frames=20)
    line = await RawClient.upgraded(bridge.url)
    for number in range(20):
        await line.send(frame(PING, b"%d" % number))
        assert await line.frames(1) == [(PONG, b"%d" % number)]


@pytest.mark.catalogue("C7")
async def test_a_silent_client_is_closed_and_any_byte_is_a_sign_of_life(serve):
    bridge = await start(serve, silent_seconds=2 * SOON, control_frames=10**6)
    silent, alive, uploading = [await RawClient.upgraded(bridge.url) for _ in range(3)]
    ended = asyncio.create_task(silent.close_frame())
    await uploading.send(head(TEXT, 10**6))
    while not ended.done():
        await alive.send(frame(PING, b"x"))
        await alive.frames(1)
        await uploading.send(bytes(1))
        await asyncio.sleep(SOON / 10)
    assert await ended == (1011, "no sign of life")
    silent.close()
    await alive.send(frame(PING, b"still here"))
    assert await alive.frames(1) == [(PONG, b"still here")]
    await uploading.send(frame(PING))  # amid the payload: bytes of it
    uploading.close()


async def test_who_neither_reads_nor_writes_is_gone_soon_after(serve):
    bridge = await start(serve, silent_seconds=SOON)
    dead = await RawClient.upgraded(bridge.url)
    dead.pause()
    sockets = bridge.bridge._sockets
    await until(lambda: not sockets.connections())


# All together


async def test_more_than_fits_is_received_one_after_the_other(serve):
    bridge = await served(serve, receiving_mib=1)
    lines = [await RawClient.upgraded(bridge.url) for _ in range(12)]
    text = json.dumps({"type": "response.create", "model": "m", "input": "x" * 900_000}).encode()
    data = frame(TEXT, text)
    peak = 0

    async def watch():
        nonlocal peak
        while True:
            peak = max(peak, bridge.listener.state.receiving.total)
            await asyncio.sleep(0)

    async with beside(bridge):
        watching = asyncio.create_task(watch())
        await asyncio.gather(*(line.send(data) for line in lines))
        for line in lines:
            (_, first), *_ = await line.frames(1)
            assert json.loads(first)["type"] == "response.created"
        watching.cancel()
    assert 0 < peak < 12 * len(text) / 2
    assert bridge.listener.state.receiving.total == 0


async def test_who_stalls_holds_up_the_others_no_longer_than_its_own_deadline(serve):
    bridge = await served(serve, receiving_mib=1, message_seconds=SOON)
    stalled = [await RawClient.upgraded(bridge.url) for _ in range(2)]
    for line in stalled:
        await line.send(head(TEXT, 10**6) + bytes(600_000))
    text = json.dumps({"type": "response.create", "model": "m", "input": "x" * 400_000}).encode()
    other = await RawClient.upgraded(bridge.url)
    await other.send(frame(TEXT, text))
    (_, first), *_ = await other.frames(1)
    assert json.loads(first)["type"] == "response.created"
    for line in stalled:
        assert (await line.close_frame())[0] == 1008


async def test_a_hidden_buffer_of_the_kernel_is_small(serve):
    bridge = await start(serve)
    line = await RawClient.upgraded(bridge.url)
    line.pause()
    (connection,) = bridge.listener.state._open
    sent = connection.get_extra_info("socket").getsockopt(*SEND_BUFFER)
    assert sent == 2 * 64 * 1024  # Linux reports twice what was asked


# The end


async def test_frames_of_clients_are_read_to_the_end_of_a_drain(serve):
    gate, script = asyncio.Event(), answer("a", "b")
    bridge = await serve(Scripted([*script[:5], gate, *script[5:]]))
    bridge.bridge.force.clear()
    line, idle = [await RawClient.upgraded(bridge.url) for _ in range(2)]
    await line.send(frame(TEXT, b'{"type": "response.create", "model": "m", "input": "hi"}'))
    await line.frames(5)
    ending = asyncio.create_task(bridge.stop())
    assert (await idle.close_frame())[0] == 1012  # it has begun
    await line.send(frame(PING, b"still there?"))
    while (PONG, b"still there?") not in await line.frames(1):
        pass
    gate.set()
    assert (await line.close_frame())[0] == 1012
    await line.send(close(1012))
    idle.close()
    await ending


async def test_an_end_waits_for_a_lingering_client_but_not_for_ever(serve):
    bridge = await served(serve)
    line = await RawClient.upgraded(bridge.url)
    await line.send(head(TEXT, 2**40))
    assert (await line.close_frame())[0] == 1009
    (connection,) = bridge.listener.state._open
    await until(lambda: isinstance(connection._watch, LingeringClose))
    assert connection.is_closing()  # so that nothing is written after the close frame
    # The client does not answer the close, nor leave: the server ends nevertheless.
    await asyncio.wait_for(bridge.listener.close(), HANG_SECONDS)
    assert not bridge.listener.state._open


async def test_a_connection_that_is_over_leaves_nothing_to_the_collector(serve):
    bridge = await start(serve)
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            line = await RawClient.upgraded(bridge.url)
            await line.send(close(1000))
            await line.close_frame()
            line.close()
        await until(lambda: not any(type(one) is ClientTransport for one in gc.get_objects()))
    finally:
        gc.enable()


@pytest.mark.parametrize("data", [frame(BINARY, b"x"), frame(TEXT, b"no JSON")])
async def test_what_is_no_breach_ends_nothing(serve, data):
    bridge = await start(serve)
    line = await RawClient.upgraded(bridge.url)
    await line.send(data)
    (_, reply), *_ = await line.frames(1)
    assert json.loads(reply)["type"] == "error"
    await line.send(close(1000))
    assert await line.close_frame() == (1000, "")
    assert await line.rest() == b""


# Answers that are not read


@pytest.mark.catalogue("A9")
@pytest.mark.parametrize("asks", ["static", "response", "events", "items", "errors"])
async def test_a_client_that_reads_no_answer_is_cut_off(serve, asks):
    """Without a key, and whatever it asked for: one request after the other, and never a read."""
    bridge = await serve(
        Scripted(answer("x" * 400_000)), {"limits": {"unread_seconds": SOON, "head_seconds": 600}}
    )
    _, response = await bridge.post("/v1/responses", model="m", input="hi")
    _, conversation = await bridge.post(
        "/v1/conversations", items=[{"role": "user", "content": "x" * 400_000}]
    )
    path = {
        "static": "/static/chat.js",
        "response": f"/v1/responses/{response['id']}",
        "events": f"/v1/responses/{response['id']}?stream=true",
        "items": f"/v1/conversations/{conversation['id']}/items",
        "errors": f"/v1/responses/resp_{'x' * 100}",
    }[asks]
    known = set(bridge.listener.state._open)
    line = await SlowReader.open(bridge.url, path)
    connections = bridge.listener.state._open - known  # none, if it is cut off already
    asking = asyncio.create_task(ask_on(line, path))
    async with beside(bridge):
        await until(lambda: not connections & bridge.listener.state._open)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    line.close()


async def ask_on(line, path):
    """As long as the server takes anything."""
    with contextlib.suppress(ConnectionError):
        while True:
            await line.send(request("GET", path, {"Host": "localhost"}))
