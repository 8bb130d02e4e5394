"""How much one key may take: first the counts alone, then breaches over real connections."""

import asyncio
import contextlib
import socket
import struct

import pytest
from support.hang import HANG_SECONDS
from support.scripted_upstream import Scripted, answer, completed, done_item, message, opening

from ws_bridge.clock import Clock
from ws_bridge.config import Limits
from ws_bridge.errors import RateLimited, UpstreamError
from ws_bridge.server.auth import LOCAL_OWNER, names_of
from ws_bridge.server.client_rules import ClientRules
from ws_bridge.server.quotas import Quotas, address_of


class Time:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Counted:
    """Budgets with a time, a set of responses that run, and a list of breaches."""

    def __init__(self, rules=None, **limits):
        self.now, self.alive, self.breaches = Time(), set(), []
        self.of = Quotas(
            Limits(**limits),
            rules=ClientRules(rules or {}),
            runs=lambda response_id, owner: (response_id, owner) in self.alive,
            limit_reached=self.breaches.append,
            now=self.now,
        )

    def begin(self, owner, response_id):
        with self.of.response(owner) as begun:
            self.alive.add((response_id, owner))
            begun.pass_to(response_id)


# The counts alone


@pytest.mark.parametrize("how", [None, ConnectionError, asyncio.CancelledError])
def test_a_connection_comes_back_however_its_block_ends(how):
    counted = Counted(connections_per_key=1)
    with contextlib.suppress(ConnectionError, asyncio.CancelledError), counted.of.connection("a"):
        assert counted.of.connections("a") == 1
        with pytest.raises(RateLimited), counted.of.connection("a"):
            pass
        with counted.of.connection("b"):
            assert counted.of.connections("b") == 1
        if how:
            raise how
    assert (counted.of.connections("a"), counted.of.names()) == (0, 0)
    assert counted.breaches == ["connections_per_key"]


def test_a_response_holds_its_place_until_it_has_ended():
    counted = Counted(running_per_key=2)
    counted.begin("a", "1")
    counted.begin("a", "2")
    with pytest.raises(RateLimited):
        counted.begin("a", "3")
    counted.begin("b", "1")
    counted.alive.discard(("1", "a"))
    counted.begin("a", "3")
    with pytest.raises(RateLimited):
        counted.begin("a", "4")
    assert (counted.of.running("a"), counted.of.running("b")) == (2, 1)
    counted.alive.clear()
    assert (counted.of.running("a"), counted.of.running("b")) == (0, 0)


@pytest.mark.parametrize("how", [RateLimited, asyncio.CancelledError])
def test_a_response_counts_while_it_begins_and_not_if_it_never_does(how):
    counted = Counted(running_per_key=1)
    with contextlib.suppress(RateLimited, asyncio.CancelledError), counted.of.response("a"):
        assert counted.of.running("a") == 1
        with pytest.raises(RateLimited):
            counted.begin("a", "2")
        raise how
    assert counted.of.running("a") == 0


def test_what_is_refused_for_want_of_a_place_is_not_counted_as_a_create():
    counted = Counted(running_per_key=1, creates_per_minute=2)
    counted.begin("a", "1")
    for _ in range(5):
        with pytest.raises(RateLimited):
            counted.begin("a", "2")
    counted.alive.clear()
    counted.begin("a", "2")
    assert counted.breaches == ["running_per_key"] * 5


@pytest.mark.parametrize(("passed", "seconds"), [(0, 60), (0.2, 60), (59.9, 1), (19.7, 41)])
def test_retry_after_is_whole_and_true(passed, seconds):
    """A create that comes so many seconds later is not refused; one second earlier it may be."""
    counted = Counted(creates_per_minute=1, running_per_key=0)
    counted.begin("a", "1")
    counted.now.now += passed
    with pytest.raises(RateLimited) as refused:
        counted.begin("a", "2")
    assert refused.value.headers() == {"retry-after": str(seconds)}
    assert refused.value.message.endswith(f"(1 per minute). Try again in {seconds}s.")
    counted.now.now += seconds
    counted.begin("a", "2")


def test_zero_is_no_limit_and_costs_no_memory():
    counted = Counted(
        connections_per_key=0, running_per_key=0, creates_per_minute=0, refused_per_minute=0
    )
    with contextlib.ExitStack() as open_:
        for number in range(1000):
            open_.enter_context(counted.of.connection("a"))
            counted.begin("a", str(number))
            counted.of.refused("10.0.0.1")
    assert (counted.of.names(), counted.breaches) == (0, [])


def test_without_keys_everybody_is_one_owner_without_a_limit():
    counted = Counted(connections_per_key=1, running_per_key=1, creates_per_minute=1)
    with counted.of.connection(LOCAL_OWNER), counted.of.connection(LOCAL_OWNER):
        for number in range(5):
            counted.begin(LOCAL_OWNER, str(number))
    assert counted.of.names() == 0


def test_an_address_is_refused_so_often_and_no_other_with_it():
    counted = Counted(refused_per_minute=2)
    counted.of.refused("10.0.0.1")
    counted.now.now += 15
    counted.of.refused("10.0.0.1")
    for _ in range(10):  # these do not make it longer
        with pytest.raises(RateLimited) as refused:
            counted.of.refused("10.0.0.1")
    assert refused.value.headers() == {"retry-after": "45"}
    counted.of.refused("10.0.0.2")
    counted.now.now += 45
    counted.of.refused("10.0.0.1")
    assert counted.breaches == ["refused_per_minute"] * 10


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:0db8:0001:0002::/64"),
        ("2001:db8:1:2::", "2001:0db8:0001:0002::/64"),
        ("fe80::1%eth0", "fe80:0000:0000:0000::/64"),
        ("", ""),
        (None, ""),
        ("/run/a.sock", "/run/a.sock"),
    ],
)
def test_an_ipv6_address_counts_by_its_64(remote, address):
    assert address_of(remote) == address


# Over real connections

ENVIRON = {"KEYS": "key-a,key-b"}
A, B = ({"Authorization": f"Bearer key-{name}"} for name in "ab")
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
OPEN = "Too many connections are open with this key ({}). Try again in 1s."
RUNNING = "Too many responses are running with this key ({}). Try again in 1s."
CREATED = "Too many responses were created with this key ({} per minute). Try again in {}s."


@pytest.fixture
def serve_keyed(serve):
    """A bridge with two keys and these limits."""

    async def start(upstream, *, now=None, **limits):
        config = {"auth": {"keys_env": ["KEYS"]}, "limits": limits}
        parts = {"clock": Clock(monotonic=now)} if now else {}
        return await serve(upstream, config, ENVIRON, **parts)

    return start


def held():
    """A script that waits in its middle, and what it waits for."""
    gate = asyncio.Event()
    return [*opening(), *message("x")[:3], gate, *message("x")[3:], completed(done_item("x"))], gate


def error_of(message):
    error = {"message": message, "type": "rate_limit_error", "code": "rate_limit_exceeded"}
    return {**error, "param": None}


def frame_of(message, seconds, **lane):
    error = {"message": message, "type": "rate_limit_error", "code": "rate_limit_exceeded"}
    headers = {"retry-after": str(seconds)}
    return {
        "type": "error",
        "status": 429,
        "error": {**error, "headers": headers},
        "headers": headers,
        **lane,
    }


async def upgrade(bridge, headers):
    """Status, Retry-After and error of an upgrade that is refused, as plain HTTP tells it."""
    url = bridge.url + "/v1/responses"
    async with bridge.session.get(url, headers={**headers, **UPGRADE}) as got:
        return got.status, got.headers.get("Retry-After"), (await got.json())["error"]


async def post(bridge, headers, path="/v1/responses", **body):
    given = {"model": "m", "input": "x", **body}
    async with bridge.session.post(bridge.url + path, json=given, headers=headers) as got:
        body = await got.json()
        return got.status, got.headers.get("Retry-After"), body.get("error") or body


async def until(is_true):
    async with asyncio.timeout(HANG_SECONDS):
        while not is_true():  # noqa: ASYNC110 - a count has nothing that could be waited for
            await asyncio.sleep(0.001)


def taken(bridge, name="a"):
    """Sockets and responses that the bridge counts for the key."""
    quotas, owner = bridge.bridge._quotas, names_of(f"key-{name}", ())[0]
    return quotas.connections(owner), quotas.running(owner)


@pytest.mark.catalogue("S12")
async def test_the_101st_connection_is_429_until_one_of_the_key_has_ended(serve_keyed):
    bridge = await serve_keyed(Scripted(answer("x")), connections_per_key=100)
    bridge.session.connector._limit = 0  # of the client's own
    clients = [await bridge.connect(headers=A) for _ in range(100)]
    assert await upgrade(bridge, A) == (429, "1", error_of(OPEN.format(100)))
    other = await bridge.connect(headers=B)
    assert (await other.turn(input="x"))[-1]["type"] == "response.completed"
    assert (await clients[7].turn(input="x"))[-1]["type"] == "response.completed"
    await clients[7].ws.close()
    await until(lambda: taken(bridge)[0] == 99)
    again = await bridge.connect(headers=A)
    assert (await again.turn(input="x"))[-1]["type"] == "response.completed"
    assert (await upgrade(bridge, A))[0] == 429


@pytest.mark.catalogue("S12")
async def test_the_51st_running_response_is_429_on_every_transport(serve_keyed):
    """Background ones count as long as they run, not as long as their request."""
    script, gate = held()
    bridge = await serve_keyed(Scripted(script), running_per_key=50)
    posts = (post(bridge, A, background=True) for _ in range(49))
    ids = [body["id"] for _, _, body in await asyncio.gather(*posts)]
    client = await bridge.connect(headers=A)
    await client.create(input="x", stream_id="one")
    await client.until("response.output_text.delta")
    for kind in ({}, {"stream": True}, {"background": True}, {"store": False}):
        assert await post(bridge, A, **kind) == (429, "1", error_of(RUNNING.format(50)))
    await client.create(input="x", stream_id="two")
    assert await client.event() == frame_of(RUNNING.format(50), 1, stream_id="two")
    assert (await post(bridge, B, background=True))[0] == 200

    url = f"{bridge.url}/v1/responses/{ids[0]}/cancel"
    async with bridge.session.post(url, headers=A) as cancelled:
        assert cancelled.status == 200
    await client.create(input="x", stream_id="two")
    gate.set()
    ended = [await client.until("response.completed") for _ in range(2)]
    assert {events[-1]["stream_id"] for events in ended} == {"one", "two"}
    await until(lambda: taken(bridge) == (1, 0))


@pytest.mark.catalogue("S12")
async def test_the_121st_create_of_a_minute_is_429_and_retry_after_is_true(serve_keyed):
    now = Time()
    bridge = await serve_keyed(Scripted(answer("x")), now=now, creates_per_minute=120)
    client = await bridge.connect(headers=A)
    for _ in range(60):
        assert (await client.turn(input="x", store=False))[-1]["type"] == "response.completed"
    now.now += 10.5
    for _ in range(60):
        assert (await post(bridge, A, store=False))[0] == 200
    assert await post(bridge, A) == (429, "50", error_of(CREATED.format(120, 50)))
    assert await client.turn(input="x") == [frame_of(CREATED.format(120, 50), 50)]
    assert (await post(bridge, B))[0] == 200
    now.now += 50
    assert (await post(bridge, A))[0] == 200
    assert (await client.turn(input="x"))[-1]["type"] == "response.completed"


async def test_a_client_that_has_the_end_may_begin_the_next_at_once(serve_keyed):
    """The provider's stream is read to its end a little longer; that is no running response."""
    after_the_end = asyncio.Event()
    bridge = await serve_keyed(Scripted([*answer("x"), after_the_end]), running_per_key=1)
    client = await bridge.connect(headers=A)
    for _ in range(3):
        assert (await client.turn(input="x"))[-1]["type"] == "response.completed"
    assert taken(bridge) == (1, 0)
    after_the_end.set()


async def test_a_create_without_room_is_refused_in_its_turn_and_the_socket_lives_on(serve_keyed):
    script, gate = held()
    now = Time()
    bridge = await serve_keyed(Scripted(script, answer("y")), now=now, creates_per_minute=1)
    client = await bridge.connect(headers=A)
    await client.create(input="1", stream_id="a")
    await client.until("response.output_text.delta")
    await client.create(input="2", stream_id="a")
    await client.create(input="3", stream_id="b")
    assert await client.event() == frame_of(CREATED.format(1, 60), 60, stream_id="b")
    gate.set()
    assert (await client.until("response.completed"))[-1]["stream_id"] == "a"
    assert await client.event() == frame_of(CREATED.format(1, 60), 60, stream_id="a")
    now.now += 60
    last = (await client.turn(input="4", stream_id="a"))[-1]
    assert last["response"]["output"][0]["content"][0]["text"] == "y"


async def test_a_continuation_without_room_can_come_again(serve_keyed):
    """A failed continuation takes an unstored parent with it; this one was never tried."""
    now = Time()
    upstream = Scripted(answer("one"), answer("two"))
    client = await (await serve_keyed(upstream, now=now, creates_per_minute=1)).connect(headers=A)
    first = (await client.turn(input="1", store=False))[-1]["response"]
    more = {"input": "2", "store": False, "previous_response_id": first["id"]}
    [error] = await client.turn(**more)
    assert error["status"] == 429
    now.now += 60
    assert (await client.turn(**more))[-1]["type"] == "response.completed"
    assert len(upstream.requests[1].input()) == 3


async def test_a_warm_up_and_a_compaction_count_as_creates(serve_keyed):
    now = Time()
    bridge = await serve_keyed(Scripted(answer("x")), now=now, creates_per_minute=1)
    client = await bridge.connect(headers=A)
    warm = await client.turn(input="x", generate=False)
    assert warm[-1]["type"] == "response.completed"
    assert await client.turn(input="x") == [frame_of(CREATED.format(1, 60), 60)]
    compact = "/v1/responses/compact"
    assert await post(bridge, A, compact) == (429, "60", error_of(CREATED.format(1, 60)))
    now.now += 60
    assert (await post(bridge, A, compact))[0] == 200
    assert (await post(bridge, A))[0] == 429
    assert taken(bridge) == (1, 0)


async def test_a_successor_counts_and_without_room_its_steers_come_back(serve_keyed):
    script, gate = held()
    upstream = Scripted(script, answer("never"))
    client = await (await serve_keyed(upstream, creates_per_minute=1)).connect(headers=A)
    await client.create(input="1")
    target = (await client.until("response.output_text.delta"))[0]["response"]["id"]
    given = {"type": "response.steer", "previous_response_id": target, "input": "Shorter."}
    await client.ws.send_json(given)
    assert (await client.event())["type"] == "response.steer.accepted"
    gate.set()
    failed = (await client.until("response.steer.failed"))[-1]
    assert failed["error"]["code"] == "successor_creation_failed"
    assert len(upstream.requests) == 1


async def test_without_keys_there_is_no_limit(serve):
    limits = {"connections_per_key": 1, "running_per_key": 1, "creates_per_minute": 1}
    script, gate = held()
    bridge = await serve(Scripted(script), {"limits": limits})
    clients = [await bridge.connect() for _ in range(5)]
    for client in clients:
        await client.create(input="x")
    for client in clients:
        await client.until("response.output_text.delta")
    gate.set()
    for client in clients:
        await client.until("response.completed")


async def test_sockets_that_die_in_the_handshake_give_their_place_back(serve_keyed):
    """Sixty that are reset right after their request, then as many as the key may have."""
    bridge = await serve_keyed(Scripted(answer("x")), connections_per_key=3)
    host, port = bridge.url.removeprefix("http://").split(":")
    lines = [f"{name}: {value}" for name, value in {"Host": host, **A, **UPGRADE}.items()]
    request = "\r\n".join(["GET /v1/responses HTTP/1.1", *lines, "", ""]).encode()
    for _ in range(60):
        with socket.create_connection((host, int(port))) as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raw.sendall(request)
        await asyncio.sleep(0)
    await until(lambda: taken(bridge)[0] == 0)
    clients = [await bridge.connect(headers=A) for _ in range(3)]
    for client in clients:
        assert (await client.turn(input="x"))[-1]["type"] == "response.completed"
    assert (await upgrade(bridge, A))[0] == 429


async def leaves_in_the_middle(bridge, headers):
    client = await bridge.connect(headers=headers)
    await client.create(input="x", store=False)
    await client.event()
    client.ws._response.close()  # no close frame: the connection is gone


async def leaves_amid_a_stream(bridge, headers):
    body = {"model": "m", "input": "x", "stream": True, "store": False}
    url = bridge.url + "/v1/responses"
    async with bridge.session.post(url, json=body, headers=headers) as got:
        await got.content.readline()


async def asks_for_nonsense(bridge, headers):
    assert (await post(bridge, headers, previous_response_id="resp_nowhere"))[0] == 400
    assert (await post(bridge, headers, model="nobody"))[0] == 404


async def runs_a_turn(bridge, headers):
    client = await bridge.connect(headers=headers)
    await client.turn(input="x")
    await client.ws.close()


async def fails(bridge, headers):
    assert (await post(bridge, headers, model="claude-x"))[0] == 401


@pytest.mark.catalogue("S12")
async def test_after_load_of_every_kind_all_places_are_free_again(serve_keyed):
    """A server that was killed takes its counts with it; one that lives gets back to zero."""

    def script(request):
        if request.target.name == "claude-x":
            return [UpstreamError(status=401)]
        return answer("x") if request.store else held()[0]

    limits = {"creates_per_minute": 0, "connections_per_key": 1000, "running_per_key": 1000}
    bridge = await serve_keyed(Scripted(script), **limits)
    kinds = (
        leaves_in_the_middle,
        leaves_amid_a_stream,
        asks_for_nonsense,
        runs_a_turn,
        fails,
    )
    await asyncio.gather(*(kind(bridge, key) for kind in kinds for key in (A, B) * 8))
    await until(lambda: (taken(bridge, "a"), taken(bridge, "b")) == ((0, 0), (0, 0)))
    assert bridge.bridge._quotas.names() == 0


async def test_every_breach_is_counted_by_its_limit(serve_keyed):
    bridge = await serve_keyed(
        Scripted(held()[0]),
        connections_per_key=1,
        running_per_key=1,
        creates_per_minute=1,
        refused_per_minute=1,
    )
    client = await bridge.connect(headers=A)
    await client.create(input="x")
    await client.until("response.output_text.delta")
    for _ in range(2):
        await upgrade(bridge, A)
        await upgrade(bridge, {})
    for _ in range(3):
        await post(bridge, A)
    await client.ws.send_json({"type": "response.cancel"})
    await client.until("response.failed", "response.incomplete", "response.completed")
    await post(bridge, A)
    async with bridge.session.get(bridge.url + "/metrics", headers=A) as got:
        lines = (await got.text()).splitlines()
    counted = {line for line in lines if line.startswith("ws_bridge_limited_total")}
    numbers = {
        "connections_per_key": 2,
        "running_per_key": 3,
        "creates_per_minute": 1,
        "refused_per_minute": 1,
    }
    assert counted == {
        f'ws_bridge_limited_total{{limit="{name}"}} {count}.0' for name, count in numbers.items()
    }
