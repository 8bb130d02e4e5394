"""A connection to a provider's WebSocket and its lanes, on real sockets."""

import asyncio
import json
import time

import pytest
from support.hang import HANG_SECONDS
from upstreams.asking import KEY, ask, request
from upstreams.native import error_frame, target
from upstreams.sockets import Accident, FakeSockets, self_signed
from websockets.asyncio.server import serve

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import COMPLETED, CREATED, IN_PROGRESS, TERMINAL
from ws_bridge.upstream.base import Target
from ws_bridge.upstream.dialects.event_reader import UNREADABLE
from ws_bridge.upstream.dialects.responses.normaliser import Normaliser
from ws_bridge.upstream.errors import UNTYPED_EVENT, NeverBegan
from ws_bridge.upstream.websocket import connection
from ws_bridge.upstream.websocket.connection import (
    FRAGMENT,
    LARGE_FRAME,
    ProviderAddress,
    ProviderConnection,
    ProviderFrame,
    ProviderLane,
)
from ws_bridge.upstream.websocket.upstream import WebSocketUpstream

DELTA = "response.output_text.delta"
LOST = "The connection to the model provider was lost."


@pytest.mark.parametrize(
    ("base", "lanes", "url", "expected"),
    [
        ("", 0, "wss://api.openai.com/v1/responses", 16),
        ("https://api.openai.com/v1/", 3, "wss://api.openai.com/v1/responses", 3),
        ("http://127.0.0.1:1/v1", 0, "ws://127.0.0.1:1/v1/responses", 1),
        ("https://h.example/v1?api-version=2", 0, "wss://h.example/v1/responses?api-version=2", 1),
    ],
)
def test_an_address_is_the_socket_beside_the_http_one(base, lanes, url, expected):
    address = ProviderAddress.of(Target("m", "openai/gpt", base, KEY, ws_lanes=lanes))
    assert (address.url, address.lanes) == (url, expected)
    assert KEY not in repr(address)


def test_other_providers_have_addresses_of_their_own():
    azure = Target("m", "azure/gpt", "https://mine.example")
    assert ProviderAddress.of(azure).url == "wss://mine.example/openai/v1/responses"
    assert ProviderAddress.of(Target("m", "xai/grok")).url == "wss://api.x.ai/v1/responses"
    with pytest.raises(NeverBegan):
        ProviderAddress.of(Target("m", "azure/gpt"))


# Lanes


def frame(kind, response_id=None):
    fields = {"response": {"id": response_id}} if response_id else {}
    return ProviderFrame(kind, None, fields, b"x")


@pytest.fixture
def lane():
    """A lane that a turn has leased, with a response that runs."""
    lane = ProviderLane(None)
    lane.is_leased = True
    lane.start()
    return lane


async def test_a_lane_delivers_the_frames_of_its_own_response_only(lane):
    frames = [frame(CREATED, "resp_1"), frame(DELTA), frame(COMPLETED, "resp_1")]
    lane.deliver(frames[0])
    lane.deliver(frame(IN_PROGRESS, "resp_2"))
    lane.deliver(frames[1])
    lane.deliver(frames[2])
    lane.deliver(frame(DELTA))
    assert await lane.receive() == frames


async def test_a_late_frame_of_an_ended_response_is_not_the_next_ones(lane):
    lane.deliver(frame(COMPLETED, "resp_1"))
    lane.start()
    lane.deliver(frame(COMPLETED, "resp_1"))
    assert lane.is_running
    lane.deliver(frame(CREATED, "resp_2"))
    assert await lane.receive() == [frame(CREATED, "resp_2")]


async def test_a_lane_is_free_when_it_is_released_and_its_response_has_ended(lane):
    assert not lane.is_free
    lane.release()
    assert not lane.is_free
    lane.deliver(frame(COMPLETED, "resp_1"))
    assert lane.is_free
    lane.connection_lost()
    assert await lane.receive() == [None]  # and nothing before it


async def test_a_reader_that_is_too_slow_gets_the_end_alone(lane, monkeypatch):
    monkeypatch.setattr(connection, "MAX_UNREAD", 3)
    for _ in range(3):
        lane.deliver(frame(DELTA))
    assert await lane.receive() == [frame(DELTA)] * 3
    for _ in range(4):
        lane.deliver(frame(DELTA))
    assert await lane.receive() == [None]
    assert lane.is_running


async def test_four_lanes_run_at_once_on_one_connection(fake, native):
    models = [f"gate3-{word}" for word in ("text", "tools", "reasoning", "refusal")]
    asked = [request(target(fake, model, ws_lanes=4)) for model in models]
    answers = [asyncio.ensure_future(ask(each, native)) for each in asked]
    for model in models:
        await fake.reached("gpt-" + model)
    assert fake.live["open"] == 1
    for model in reversed(models):
        fake.release("gpt-" + model)
    for result in await asyncio.gather(*answers):
        assert result.error is None
        ids = {
            draft.fields["response"]["id"] for draft in result.drafts if "response" in draft.fields
        }
        assert len(ids) == 1
        texts = zip(result.drafts, fake.sent[ids.pop()], strict=True)
        assert all(draft.text in (b"", text) for draft, text in texts)
    assert sorted(lane for _, lane in fake.places()) == ["lane-0", "lane-1", "lane-2", "lane-3"]


async def test_a_loss_ends_every_lane(fake, native):
    models = [f"gate{n}" for n in (3, 4, 5)]
    asked = [request(target(fake, model, ws_lanes=4)) for model in models]
    answers = [asyncio.ensure_future(ask(each, native)) for each in asked]
    for model in models:
        await fake.reached("gpt-" + model)
    fake.hang_up()
    result = await asyncio.gather(*answers)
    assert [(len(each.drafts), each.error.message) for each in result] == [
        (2, LOST),
        (3, LOST),
        (4, LOST),
    ]


async def test_an_error_that_names_no_lane_is_for_those_that_have_not_begun(fake, native):
    begun = asyncio.ensure_future(ask(request(target(fake, "gate3", ws_lanes=4)), native))
    await fake.reached("gpt-gate3")
    await fake.until(lambda: len(fake.sent) == 1)
    unnamed = error_frame(400, "invalid_stream_id") | {"stream_id": None}
    fake.accidents["gpt-text"].append(Accident(0, unnamed))
    refused = await ask(request(target(fake, ws_lanes=4)), native)
    assert refused.error.code == "invalid_stream_id"
    fake.release("gpt-gate3")
    assert (await begun).error is None
    await ask(request(target(fake, ws_lanes=4)), native)
    assert [number for number, _ in fake.places()] == [1, 1, 2]


# What a frame is


@pytest.mark.parametrize(
    ("text", "expected", "is_broken"),
    [
        (b'{"type":"response.x","stream_id":"l","a":1}', ("response.x", "l", {"a": 1}), False),
        (b'{"type":"response.x","a":"\\ud83d"}', ("response.x", None, {"a": "\ud83d"}), False),
        (b'{"type":"response.x","stream_id":7}', ("response.x", None, {}), False),
        (b'{"error":{"message":"m"}}', ("error", None, {"error": {"message": "m"}}), False),
        (b'{"stream_id":"l"}', ("error", "l", {"error": {"message": UNTYPED_EVENT}}), True),
        (b'{"stream_id": "l", "de', ("error", "l", {"error": {"message": UNREADABLE}}), True),
        (b"[]", ("error", None, {"error": {"message": UNREADABLE}}), True),
        (b"\xff", ("error", None, {"error": {"message": UNREADABLE}}), True),
    ],
)
def test_every_frame_is_an_event_or_an_error_of_its_lane(text, expected, is_broken):
    parsed = ProviderFrame.parse(text)
    assert (parsed.type, parsed.lane, parsed.fields) == expected
    assert (parsed.text, parsed.is_broken) == (text, is_broken)


def test_a_draft_has_the_providers_bytes_where_they_may_pass():
    text = b'{"type":"response.x","a":1}'
    assert ProviderFrame.parse(text).draft == ("response.x", {"a": 1}, text)
    half = ProviderFrame.parse(b'{"type":"response.x","a":"\\ud83d"}')
    assert half.draft == ("response.x", {"a": "\ud83d"}, b"")


@pytest.mark.parametrize("kind", [COMPLETED, "error", "response.cancelled"])
def test_every_end_of_the_provider_frees_its_lane(lane, kind):
    lane.release()
    lane.deliver(frame(kind))
    assert lane.is_free


def test_a_broken_frame_ends_no_response_of_the_provider(lane):
    lane.release()
    lane.deliver(ProviderFrame.parse(b"{"))
    assert (lane.is_running, lane.is_free) == (True, False)


# Answers, as the normaliser makes them of a lane's frames


@pytest.fixture
async def connection_of(fake):
    """Opens a connection with so many lanes; all are closed at the end."""
    opened = []

    async def open_connection(lanes):
        address = ProviderAddress.of(target(fake, ws_lanes=lanes))
        opened.append(connection.ProviderConnection(address, lambda: 0.0))
        opened[-1].start()
        await opened[-1].wait_until_open()
        return opened[-1]

    yield open_connection
    for one in opened:
        one.close()
        await one.wait_until_closed()


async def begin(on, lane, scenario):
    """Start a response on a lane."""
    lane.is_leased = True
    lane.start()
    create = {"type": "response.create", "model": "gpt-" + scenario, "input": []}
    named = {"stream_id": lane.name} if lane.name else {}
    await on.send(json.dumps(create | named).encode())


async def read(lane):
    """The drafts of a lane's response, up to its end or its error."""
    normaliser, drafts = Normaliser(), []
    while not drafts or drafts[-1].type not in TERMINAL:
        for received in await lane.receive():
            drafts += normaliser.take(received.draft)
    return drafts


async def test_an_answer_that_is_right_keeps_its_bytes(fake, connection_of):
    on = await connection_of(1)
    [lane] = on.lanes
    await begin(on, lane, "tools")
    drafts = await read(lane)
    assert [draft.text for draft in drafts] == fake.passed_on()


BROKEN = {
    "no JSON": b'{"stream_id": "lane-0", "type": "response.output_',
    "no type": b'{"stream_id": "lane-0"}',
    "no object": b"[]",
}


@pytest.mark.parametrize("what", ["no JSON", "no type"])
async def test_a_broken_frame_ends_one_response_of_a_shared_connection(fake, connection_of, what):
    on = await connection_of(2)
    first, second = on.lanes
    fake.accidents["gpt-text"].append(Accident(3, BROKEN[what]))
    await begin(on, second, "gate4")
    await fake.reached("gpt-gate4")
    await begin(on, first, "text")
    with pytest.raises(UpstreamError) as failed:
        await read(first)
    assert failed.value.message in (UNREADABLE, UNTYPED_EVENT)
    fake.release("gpt-gate4")
    assert (await read(second))[-1].type == COMPLETED
    assert on.is_usable
    assert (first.is_running, second.is_running) == (True, False)


async def test_a_broken_frame_that_names_no_lane_is_the_only_running_ones(fake, connection_of):
    on = await connection_of(2)
    fake.accidents["gpt-text"].append(Accident(3, BROKEN["no object"]))
    await begin(on, on.lanes[0], "text")
    with pytest.raises(UpstreamError) as failed:
        await read(on.lanes[0])
    assert failed.value.message == UNREADABLE
    await begin(on, on.lanes[1], "text")
    assert (await read(on.lanes[1]))[-1].type == COMPLETED


async def test_half_of_a_character_ends_nothing(fake, connection_of):
    on = await connection_of(1)
    [lane] = on.lanes
    fake.spelling = lambda event: json.dumps(event).replace("Hello", "Hello\\ud83d")
    await begin(on, lane, "text")
    drafts = await read(lane)
    [item] = drafts[-1].fields["response"]["output"]
    assert item["content"][0]["text"] == "Hello\ufffd, world! This is a test."


# Ways to the provider


async def test_a_provider_that_is_not_there_is_unreachable(fake, native):
    result = await ask(request(target(fake, api_base="http://127.0.0.1:1/v1")), native)
    assert isinstance(result.error, NeverBegan)
    assert result.error.message == "The model provider could not be reached."


async def test_tls_is_used_and_certificates_are_checked(tmp_path, monkeypatch):
    pair = self_signed(tmp_path)
    native = WebSocketUpstream()
    with FakeSockets(tls=pair) as fake:
        refused = await ask(request(target(fake)), native)
        assert isinstance(refused.error, NeverBegan)
        assert fake.handshakes == []
        monkeypatch.setenv("SSL_CERT_FILE", str(pair[0]))
        result = await ask(request(target(fake)), native)
        assert (result.error, result.text) == (None, "Hello, world! This is a test.")
        await native.stop()


async def test_the_environments_proxy_is_used(fake, native, monkeypatch):
    asked = []

    async def connect(reader, writer):
        line, *_ = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        asked.append(line.decode())
        host, _, port = line.split()[1].decode().rpartition(":")
        there, back = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(pipe(reader, back), pipe(there, writer))

    async def pipe(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async with await asyncio.start_server(connect, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        result = await ask(request(target(fake)), native)
        await native.stop()
    assert result.error is None
    assert asked == [f"CONNECT {fake.base_url.removeprefix('http://')} HTTP/1.1"]


async def test_a_large_frame_is_sent_in_fragments_of_one_message():
    """Each is masked by itself: of 20 MB at once the loop would have nothing else to do."""
    got = asyncio.get_running_loop().create_future()

    async def take(socket):
        got.set_result([part async for part in socket.recv_streaming() if part])
        await socket.wait_closed()

    text = b"x" * (LARGE_FRAME + 5)
    async with serve(take, "127.0.0.1", 0, max_size=None) as server:
        port = server.sockets[0].getsockname()[1]
        given = Target("m", "openai/gpt", f"http://127.0.0.1:{port}/v1", KEY)
        opened = ProviderConnection(ProviderAddress.of(given), time.monotonic)
        task = opened.start()
        await opened.wait_until_open()
        await opened.send(text)
        parts = await asyncio.wait_for(got, HANG_SECONDS)
        opened.close()
        await asyncio.wait((task,))
    assert "".join(parts) == text.decode()
    assert {len(part) for part in parts[:-1]} == {FRAGMENT}
