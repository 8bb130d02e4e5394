"""What clients do that they should not, or hardly ever do: over real sockets, by a real server."""

import asyncio
import contextlib
import json
import socket
import struct

import pytest
from aiohttp import WSMsgType
from support.fake_clock import FakeClock
from support.hang import HANG_SECONDS
from support.redis_servers import Node, valkey_binary
from support.scripted_upstream import Scripted, answer, completed, done_item, message, opening

from ws_bridge.errors import UpstreamError
from ws_bridge.jobs import lineage
from ws_bridge.store.redis.keys import keys_of

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
TERMINALS = ("response.completed", "response.failed", "response.incomplete", "error")


def gated(gate, *deltas):
    """An answer that waits for the gate after its first deltas."""
    deltas = deltas or ("a", "b")
    steps = message(*deltas)
    return [*opening(), *steps[:3], gate, *steps[3:], completed(done_item("".join(deltas)))]


@contextlib.asynccontextmanager
async def open_events(bridge, response_id, query=""):
    """The events of a follower, which follows when this is entered."""
    url = f"{bridge.url}/v1/responses/{response_id}?stream=true{query}"
    async with bridge.session.get(url) as got:
        assert got.status == 200
        yield (json.loads(line[6:]) async for line in got.content if line.startswith(b"data: {"))


async def replay(bridge, response_id, query=""):
    """All events of a follower."""
    async with open_events(bridge, response_id, query) as events:
        return [event async for event in events]


async def until(condition):
    """Let the server work until it is true; the limit is for a test that fails."""
    async with asyncio.timeout(HANG_SECONDS):
        while not condition():  # noqa: ASYNC110 - nobody here could set an event
            await asyncio.sleep(0.001)


# Leaving


async def reset(client):
    line = client.ws.get_extra_info("socket")
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    client.ws._response.connection.transport.abort()


async def half_close(client):
    client.ws.get_extra_info("socket").shutdown(socket.SHUT_WR)


def close_with(code):
    async def close(client):
        await client.ws.close(code=code)
        assert client.ws.close_code in (code, 1000)  # a close frame came back

    close.__name__ = f"close_{code}"
    return close


WAYS = [
    pytest.param(reset, marks=pytest.mark.catalogue("C1", "C2")),
    pytest.param(half_close, marks=pytest.mark.catalogue("C3")),
    *(
        pytest.param(close_with(code), marks=pytest.mark.catalogue("C8"))
        for code in (1000, 1001, 4000)
    ),
]


@pytest.mark.parametrize("leave", WAYS)
async def test_who_leaves_finds_what_is_stored_and_ends_what_is_not(serve, leave):
    gate = asyncio.Event()
    upstream = Scripted(gated(gate))
    bridge = await serve(upstream)
    received = {}
    for store in (True, False):
        client = await bridge.connect()
        await client.create(input="hi", store=store)
        received[store] = await client.until("response.output_text.delta")
        await leave(client)
        await until(lambda: bridge_connections(bridge) == 0)
    await until(lambda: upstream.open_now == 1)
    assert upstream.closed == 1
    gate.set()
    kept, gone = (received[store][0]["response"]["id"] for store in (True, False))
    whole = await replay(bridge, kept)
    assert whole[: len(received[True])] == received[True]
    after = received[True][-1]["sequence_number"]
    assert await replay(bridge, kept, f"&starting_after={after}") == whole[after + 1 :]
    assert whole[-1]["type"] == "response.completed"
    assert await bridge.get(f"/v1/responses/{kept}") == (200, whole[-1]["response"])
    assert (await bridge.get(f"/v1/responses/{gone}"))[0] == 404


def bridge_connections(running):
    return running.bridge._sockets.connections()


# Time


async def pass_minutes(hands, minutes):
    """Second by second, and the server does in each what it wants to."""
    for _ in range(int(minutes * 60)):
        hands.advance(1)
        for _ in range(5):
            await asyncio.sleep(0)


async def answer_pings(ws, seen):
    """Pong, and nothing else, to the end; what came."""
    async for frame in ws:
        seen.append(frame)
        if frame.type is WSMsgType.PING:
            await ws.pong(frame.data)


@pytest.mark.catalogue("C19", "C27")
async def test_a_client_that_only_answers_pings_stays_for_an_hour_and_gets_the_limits_error(serve):
    """And the output of its turn can be read, though the client never asked for it."""
    hands, seen = FakeClock(), []
    limits = {"limits": {"control_frames": 1000}}  # an hour's pongs come within a second here
    bridge = await serve(Scripted(answer("x")), limits, clock=hands.clock())
    client = await bridge.connect(autoping=False)
    [*_, end] = await client.turn(input="hi")
    ponging = asyncio.create_task(answer_pings(client.ws, seen))
    await pass_minutes(hands, 59)
    assert not ponging.done()
    pings = [frame.type for frame in seen]
    assert set(pings) == {WSMsgType.PING}
    assert len(pings) >= 59 * 60 // 25
    await pass_minutes(hands, 1)
    await asyncio.wait_for(ponging, HANG_SECONDS)
    [limit] = [json.loads(frame.data) for frame in seen if frame.type is WSMsgType.TEXT]
    assert limit["error"]["code"] == "websocket_connection_limit_reached"
    assert client.ws.close_code == 1001
    assert await bridge.get(f"/v1/responses/{end['response']['id']}") == (200, end["response"])


# Many at once


def frame(**fields):
    """A client's text frame as bytes, masked with zeros."""
    text = json.dumps({"type": "response.create", "model": "m", **fields}).encode()
    assert 126 <= len(text) < 65536 or len(text) < 126
    length = (
        bytes([0x80 | len(text)]) if len(text) < 126 else b"\xfe" + len(text).to_bytes(2, "big")
    )
    return b"\x81" + length + bytes(4) + text


@pytest.mark.catalogue("C10")
async def test_of_a_hundred_creates_in_one_write_one_runs_and_sixty_four_wait(serve):
    gate = asyncio.Event()
    upstream = Scripted(gated(gate))
    client = await (await serve(upstream)).connect()
    segment = b"".join(frame(input=str(number)) for number in range(100))
    client.ws._response.connection.transport.write(segment)
    events = [
        await client.event() for _ in range(35 + 5)
    ]  # the first one sends five before its gate
    refused = [event["error"]["code"] for event in events if event["type"] == "error"]
    assert refused == ["rate_limit_exceeded"] * 35
    assert {event["status"] for event in events if event["type"] == "error"} == {429}
    assert (upstream.open_now, len(upstream.requests)) == (1, 1)
    gate.set()
    for _ in range(65):
        assert (await client.until(*TERMINALS))[-1]["type"] == "response.completed"
    asked = [request.input()[0]["content"] for request in upstream.requests]
    assert asked == [str(number) for number in range(65)]


@pytest.mark.catalogue("C9")
@pytest.mark.parametrize("lane", [{}, {"stream_id": "main"}])
async def test_a_second_create_waits_and_the_first_notices_nothing(serve, lane):
    gate = asyncio.Event()
    upstream = Scripted(gated(gate, "first"), answer("second"))
    client = await (await serve(upstream)).connect()
    await client.create(input="1", **lane)
    first = await client.until("response.output_text.delta")
    await client.create(input="2", **lane)
    await client.ws.send_str("{")  # its answer comes at once: the second one has been read
    assert (await client.event())["type"] == "error"
    assert len(upstream.requests) == 1
    gate.set()
    first += await client.until(*TERMINALS)
    second = await client.until(*TERMINALS)
    for events in (first, second):
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert events[-1]["type"] == "response.completed"


@pytest.mark.catalogue("C29")
async def test_of_twenty_lanes_sixteen_run_and_a_thirty_third_is_refused(serve):
    gate = asyncio.Event()
    upstream = Scripted(gated(gate))
    client = await (await serve(upstream)).connect()
    for number in range(20):
        await client.create(input=str(number), stream_id=f"lane{number}")
    await until(lambda: len(upstream.requests) == 16)
    began = [await client.event() for _ in range(16 * 5)]
    assert {event["stream_id"] for event in began} == {f"lane{number}" for number in range(16)}
    assert upstream.open_now == 16
    gate.set()
    ends = [(await client.until("response.completed"))[-1] for _ in range(20)]
    assert sorted(end["stream_id"] for end in ends) == sorted(f"lane{n}" for n in range(20))
    asked = [request.input()[0]["content"] for request in upstream.requests]
    assert asked == [str(number) for number in range(20)]
    for number in range(20, 32):
        events = await client.turn(input="hi", stream_id=f"lane{number}")
        assert events[-1]["type"] == "response.completed"
    [error] = await client.turn(input="hi", stream_id="lane32")
    assert (error["status"], error["error"]["code"]) == (400, "websocket_stream_limit_reached")
    events = await client.turn(input="hi", stream_id="lane7")
    assert events[-1]["type"] == "response.completed"


# Races with the end


@pytest.mark.catalogue("C12")
async def test_five_hundred_cancels_that_race_the_end_each_leave_one_end(serve):
    """The same for the socket, a follower and a poller."""
    gates = [asyncio.Event() for _ in range(500)]
    scripts = [[*answer("x")[:-1], gate, answer("x")[-1]] for gate in gates]
    bridge = await serve(Scripted(*scripts))
    client = await bridge.connect()
    ends = []
    for number, gate in enumerate(gates):
        await client.create(input="hi")
        received = await client.until("response.output_item.done")
        response_id = received[0]["response"]["id"]
        follower = asyncio.create_task(replay(bridge, response_id))
        await client.ws.send_json({"type": "response.cancel", "response_id": response_id})
        for _ in range(number % 20):
            await asyncio.sleep(0)
        gate.set()
        received += await client.until(*TERMINALS)
        assert await follower == received
        assert await bridge.get(f"/v1/responses/{response_id}") == (200, received[-1]["response"])
        ends.append((received[-1]["type"], received[-1]["response"]["status"]))
    assert set(ends) == {("response.failed", "cancelled"), ("response.completed", "completed")}


@pytest.mark.catalogue("C18")
async def test_a_thousand_followers_from_the_moment_of_the_end_get_it(serve):
    steps = answer("x")
    gates = [asyncio.Event() for _ in range(50)]
    bridge = await serve(Scripted(*([*steps[:-1], gate, steps[-1]] for gate in gates)))
    client = await bridge.connect()
    for gate in gates:
        await client.create(input="hi")
        received = await client.until("response.output_item.done")
        followers = [
            asyncio.create_task(replay(bridge, received[0]["response"]["id"])) for _ in range(20)
        ]
        for _ in range(gates.index(gate)):
            await asyncio.sleep(0)
        gate.set()
        received += await client.until(*TERMINALS)
        assert await asyncio.gather(*followers) == [received] * 20


@pytest.mark.catalogue("U11")
async def test_fifty_thousand_events_at_once_come_whole_and_in_order(serve):
    """To a reader that keeps up, to one that looks away, and to one that comes afterwards."""
    deltas = [f"{number} " for number in range(50_000)]
    bridge = await serve(Scripted(answer(*deltas)))
    client = await bridge.connect()
    await client.create(input="hi")
    response_id = (await client.event())["response"]["id"]
    async with open_events(bridge, response_id) as late:
        await until(lambda: not bridge.bridge._jobs.running())
        received = [event async for event in late]
    assert [event["sequence_number"] for event in received] == list(range(len(received)))
    assert [event["delta"] for event in received if "delta" in event] == deltas
    assert await client.until("response.completed") == received[1:]


@pytest.mark.catalogue("C14")
async def test_a_cancel_counts_once_and_only_from_its_owner(serve):
    """Again: the same answer. After another end: refused. From a stranger: what never was."""
    keys = {"auth": {"keys_env": ["KEYS"]}}
    upstream = Scripted(answer("x"), gated(asyncio.Event()))
    bridge = await serve(upstream, keys, {"KEYS": "key-a,key-b"})
    owner, other = ({"Authorization": f"Bearer {key}"} for key in ("key-a", "key-b"))

    async def post(path, headers, **body):
        url = bridge.url + "/v1/responses" + path
        async with bridge.session.post(url, json=body or None, headers=headers) as got:
            return got.status, await got.json()

    _, done = await post("", owner, model="m", input="hi")
    assert (await post(f"/{done['id']}/cancel", owner))[0] == 400
    _, running = await post("", owner, model="m", input="hi", background=True)
    foreign = await post(f"/{running['id']}/cancel", other)
    unknown = await post("/resp_" + "0" * 48 + "/cancel", other)
    assert foreign[0] == unknown[0] == 404
    assert str(foreign).replace(running["id"], "") == str(unknown).replace("resp_" + "0" * 48, "")
    await until(lambda: upstream.open_now)  # the stranger has changed nothing
    first = await post(f"/{running['id']}/cancel", owner)
    assert (first[0], first[1]["status"]) == (200, "cancelled")
    assert await post(f"/{running['id']}/cancel", owner) == first
    assert (upstream.open_now, upstream.closed) == (0, 1)


# Many servers on one store


@pytest.fixture
def node():
    with Node(valkey_binary(), aof=True) as node:
        yield node


@pytest.mark.catalogue("C17")
async def test_five_hundred_followers_on_three_servers_read_the_same(serve, node):
    gates = [asyncio.Event() for _ in range(5)]
    steps = message(*"abcdefghij")
    script = [*opening(), *steps[:3]]
    for gate, number in zip(gates, range(3, 13, 2), strict=True):
        script += [gate, *steps[number : number + 2]]
    script += [*steps[13:], completed(done_item("abcdefghij"))]
    config = {"store": {"url": node.url}}
    bridges = [await serve(Scripted(script), config) for _ in range(3)]
    client = await bridges[0].connect()
    await client.create(input="hi")
    received = await client.until("response.output_text.delta")
    response_id = received[0]["response"]["id"]
    async with asyncio.TaskGroup() as group:
        followers = []
        for gate in gates:
            for number in range(100):
                joined = replay(bridges[number % 3], response_id)
                followers.append(group.create_task(joined))
                if number % 10 == 0:
                    await asyncio.sleep(0)
            gate.set()
        received += await client.until(*TERMINALS)
    assert received[-1]["type"] == "response.completed"
    assert [follower.result() for follower in followers] == [received] * 500


@pytest.mark.catalogue("C15")
async def test_what_is_deleted_amid_its_stream_leaves_nothing_in_the_store(serve, node):
    upstream = Scripted(gated(asyncio.Event(), "secret"))
    here, there = [await serve(upstream, {"store": {"url": node.url}}) for _ in range(2)]
    for bridge in (here, there):  # where it runs, and elsewhere
        client = await here.connect()
        await client.create(input="secret")
        received = await client.until("response.output_text.delta")
        path = f"/v1/responses/{received[0]['response']['id']}"
        assert (await bridge.delete(path))[0] == 200
        assert (await client.until(*TERMINALS))[-1]["response"]["status"] == "cancelled"
        await until(lambda: upstream.open_now == 0)
        for one in (here, there):
            assert [(await one.get(path))[0], (await one.get(path + "/input_items"))[0]] == [
                404
            ] * 2
        left = node.cli("KEYS", f"*{received[0]['response']['id']}*")
        assert left == [keys_of(received[0]["response"]["id"]).meta]  # that it was deleted
        tombstone = node.cli("HGETALL", left[0])
        assert (tombstone.pop("st"), tombstone.pop("ow")) == ("deleted", "")
        assert all(value.lstrip("-").isdigit() for value in tombstone.values())
        assert 0 < node.cli("PTTL", left[0]) <= 3_600_000
    status, queued = await here.post("/v1/responses", model="m", input="hi", background=True)
    assert status == 200
    assert (await here.delete(f"/v1/responses/{queued['id']}"))[0] == 400


@pytest.mark.catalogue("C20")
async def test_a_chain_goes_on_after_a_restart_of_everything(serve, node):
    """On another connection, over HTTP, on another server, and after the store was ended too."""
    config = {"store": {"url": node.url}}
    upstream = Scripted(answer("one"), answer("two"), answer("three"))
    here = await serve(upstream, config)
    there = await serve(upstream, config)
    first = (await (await here.connect()).turn(input="1"))[-1]["response"]["id"]
    client = await there.connect()
    second = (await client.turn(input="2", previous_response_id=first))[-1]["response"]["id"]
    await here.stop()
    await there.stop()
    node.restart()
    restarted = await serve(upstream, config)
    body = {"model": "m", "input": "3", "previous_response_id": second}
    assert (await restarted.post("/v1/responses", **body))[1]["status"] == "completed"
    received = upstream.requests[-1].input()
    assert [item["role"] for item in received] == ["user", "assistant"] * 2 + ["user"]
    texts = [item["content"] for item in received]
    errors = [text if isinstance(text, str) else text[0]["text"] for text in texts]
    assert errors == ["1", "one", "2", "two", "3"]


# Chains


@pytest.mark.catalogue("C22")
async def test_two_that_go_on_from_one_know_nothing_of_each_other(serve, node):
    gate = asyncio.Event()
    script = [*opening(), gate, *message("x"), completed(done_item("x"))]
    upstream = Scripted(answer("root"), script, script, answer("y"))
    here, there = [await serve(upstream, {"store": {"url": node.url}}) for _ in range(2)]
    clients = [await here.connect(), await there.connect()]
    root = (await clients[0].turn(input="root?"))[-1]["response"]["id"]
    for number, client in enumerate(clients):
        await client.create(input=f"child {number}", previous_response_id=root)
    await until(lambda: upstream.open_now == 2)
    gate.set()
    children = [(await client.until(*TERMINALS))[-1]["response"] for client in clients]
    assert [child["previous_response_id"] for child in children] == [root] * 2
    assert children[0]["id"] != children[1]["id"]
    for number, client in enumerate(clients[::-1]):  # each goes on where the other one ran
        await client.turn(input="more", previous_response_id=children[number]["id"])
        received = json.dumps(upstream.requests[-1].input())
        assert f"child {number}" in received
        assert f"child {1 - number}" not in received


async def is_unknown(bridge, response_id, headers):
    """Return when there is no such response any more."""
    url = f"{bridge.url}/v1/responses/{response_id}"
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            async with bridge.session.get(url, headers=headers) as got:
                if got.status == 404:
                    return
            await asyncio.sleep(0.05)


@pytest.mark.catalogue("C21")
async def test_every_parent_that_cannot_be_continued_has_the_same_error(serve, node, monkeypatch):
    """Unknown, failed, deleted, expired, unstored elsewhere, a stranger's: one answer."""
    monkeypatch.setattr(lineage, "PARENT_SECONDS", 0.05)  # for the end of the one that runs
    config = {
        "auth": {"keys_env": ["KEYS"]},
        "store": {"url": node.url, "ttl_seconds": 1},
    }
    broken = UpstreamError("The connection broke.")
    failing = [*opening(), broken]
    running = gated(asyncio.Event())
    scripts = [answer("old"), answer("a"), failing, answer("b"), answer("c"), running]
    bridge = await serve(Scripted(*scripts), config, {"KEYS": "key-a,key-b"})
    owner, other = ({"Authorization": f"Bearer {key}"} for key in ("key-a", "key-b"))
    ids = {"unknown": "resp_" + "0" * 48}
    for name in ("expired", "deleted", "failed", "foreign", "unstored"):
        client = await bridge.connect(headers=other if name == "foreign" else owner)
        events = await client.turn(input="hi", store=name != "unstored")
        ids[name] = events[-1]["response"]["id"]
        if name == "expired":
            await is_unknown(bridge, ids[name], owner)  # in the store's own time
        if name == "deleted":
            path = f"{bridge.url}/v1/responses/{ids[name]}"
            assert (await bridge.session.delete(path, headers=owner)).status == 200
    client = await bridge.connect(headers=owner)
    errors = {}
    for name, response_id in ids.items():
        [error] = await client.turn(input="hi", previous_response_id=response_id)
        errors[name] = json.dumps(error).replace(response_id, "ID")
    assert json.loads(errors["unknown"])["error"]["code"] == "previous_response_not_found"
    assert set(errors.values()) == {errors["unknown"]}, errors
    runs = await bridge.connect(headers=owner)
    await runs.create(input="hi")
    begun = await runs.until("response.output_text.delta")
    [error] = await client.turn(input="hi", previous_response_id=begun[0]["response"]["id"])
    assert (error["status"], error["error"]["code"]) == (409, "previous_response_in_progress")


CURSORS = {  # the first number sent, or a status
    "": 0,
    "-1": 0,
    "-5": 0,
    "0": 1,
    "3": 4,
    "9": 10,
    "10": 10,
    str(10**17): 10,
    "3&starting_after=7": 4,
}
BAD_CURSORS = (
    *("abc", "1e3", "1.0", "+1", "%20", "0x10", str(2**63), "9" * 5000),
    "%D9%A3",  # a digit, in another script
)


@pytest.mark.catalogue("C16")
@pytest.mark.parametrize("is_shared", [False, True])
async def test_any_cursor_is_answered_with_the_rest_or_one_error(serve, node, is_shared):
    config = {"store": {"url": node.url}} if is_shared else {}
    bridge = await serve(Scripted(answer("Hel", "lo")), config)
    events = await (await bridge.connect()).turn(input="hi")
    path = f"/v1/responses/{events[0]['response']['id']}?stream=true"
    for cursor, first in CURSORS.items():
        async with bridge.session.get(f"{bridge.url}{path}&starting_after={cursor}") as got:
            text = await got.text()
        lines = [line for line in text.split("\n") if line.startswith("data: {")]
        assert [json.loads(line[6:]) for line in lines] == events[first:], cursor
        assert (got.status, text.endswith("data: [DONE]\n\n")) == (200, True)
    for cursor in BAD_CURSORS:
        async with bridge.session.get(f"{bridge.url}{path}&starting_after={cursor}") as got:
            assert (got.status, (await got.json())["error"]["param"]) == (400, "starting_after")
