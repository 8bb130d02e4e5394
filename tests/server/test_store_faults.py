"""Faults of the store amid turns: real bridges, a real store, a real network between them.

Each fault comes while responses run and lasts while they say more and others are begun. What the
sockets saw is whole and in time; what the store has afterwards is the same, byte for byte.
"""

import asyncio
import contextlib
import json
import logging
import shutil
import socket
import time
from dataclasses import dataclass

import aiohttp
import pytest
import redis
from store.opened import Later, until
from support.redis_servers import Node, Sentinel, valkey_binary
from support.scripted_upstream import Scripted, answer, completed, done_item, message, opening
from support.tcp_proxy import Proxy

from ws_bridge.clock import Clock
from ws_bridge.jobs import takeover
from ws_bridge.store.redis import connect
from ws_bridge.store.redis import subscriptions as module
from ws_bridge.store.redis.keys import keys_of

DELTAS = [f"w{number} " for number in range(12)]
PASSWORD, OTHER_PASSWORD = "first-secret-word", "second-secret-word"
AT_ONCE = 4


@dataclass
class Place:
    """What a fault can get hold of."""

    node: Node
    proxy: Proxy
    ids: list[str]


@pytest.fixture
async def place(monkeypatch):
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.2)
    with Node(valkey_binary(), password=PASSWORD, aof=True) as node:
        async with Proxy(node.port) as proxy:
            yield Place(node, proxy, [])


def config_of(port, **store):
    return {"store": {"url": f"redis://:{PASSWORD}@127.0.0.1:{port}", **store}}


# The faults: each lasts for as long as it is entered


@contextlib.asynccontextmanager
async def no_record(place):
    for response_id in place.ids:
        place.node.cli("DEL", keys_of(response_id).meta)
    yield


@contextlib.asynccontextmanager
async def no_log(place):
    for response_id in place.ids:
        place.node.cli("DEL", keys_of(response_id).events)
    yield


@contextlib.asynccontextmanager
async def wiped(place):
    place.node.wipe()
    yield


@contextlib.asynccontextmanager
async def back_empty(place):
    place.node.kill()
    shutil.rmtree(place.node.folder / "appendonlydir")
    await asyncio.to_thread(place.node.start)
    yield


@contextlib.asynccontextmanager
async def restarted(place):
    place.node.shutdown()
    yield
    await asyncio.to_thread(place.node.start)


@contextlib.asynccontextmanager
async def resets(place):
    place.proxy.cut_every = 5
    yield
    place.proxy.cut_every = 0
    assert place.proxy.cuts


@contextlib.asynccontextmanager
async def mute(place):
    place.proxy.swallow_answers(8, of=b"EVALSHA")
    yield
    assert place.proxy.swallowed
    place.proxy.swallow_answers(0)


@contextlib.asynccontextmanager
async def far_away(place):
    place.proxy.delay = 0.1
    yield
    place.proxy.delay = 0.0


@contextlib.asynccontextmanager
async def read_only(place):
    with socket.create_server(("127.0.0.1", 0)) as unused_port:
        place.node.cli("REPLICAOF", "127.0.0.1", unused_port.getsockname()[1])
        yield
        place.node.cli("REPLICAOF", "NO", "ONE")


@contextlib.asynccontextmanager
async def no_room(place):
    place.node.cli("CONFIG", "SET", "maxmemory", "1mb")
    yield
    place.node.cli("CONFIG", "SET", "maxmemory", "0")


@contextlib.asynccontextmanager
async def another_password(place):
    with redis.Redis(port=place.node.port, password=PASSWORD) as known:
        known.config_set("requirepass", OTHER_PASSWORD)
        known.client_kill_filter(_type="normal", skipme=True)
        known.client_kill_filter(_type="pubsub")
        yield
        known.config_set("requirepass", PASSWORD)


@contextlib.asynccontextmanager
async def busy(place):
    place.node.cli("CONFIG", "SET", "busy-reply-threshold", "50")

    def occupy():
        with (
            contextlib.suppress(redis.RedisError),
            redis.Redis(port=place.node.port, password=PASSWORD) as one,
        ):
            one.eval("while true do end", 0)

    occupied = asyncio.create_task(asyncio.to_thread(occupy))
    await until(lambda: is_busy(place.node), "it is busy")
    yield
    await asyncio.to_thread(place.node.cli, "SCRIPT", "KILL")
    await occupied


async def is_busy(node):
    try:
        await asyncio.to_thread(node.cli, "GET", "x")
    except redis.RedisError:
        return True
    return False


@contextlib.asynccontextmanager
async def rewriting(place):
    place.node.cli("CONFIG", "SET", "appendonly", "yes")
    place.node.cli("BGSAVE", "SCHEDULE")
    yield
    for command in ("BGREWRITEAOF", "BGSAVE"):
        await until(lambda: has_settled(place.node), "its files are written")
        place.node.cli(command)
    await until(lambda: has_settled(place.node), "its files are written")


async def has_settled(node):
    info = await asyncio.to_thread(node.cli, "INFO", "persistence")
    return not (info["aof_rewrite_in_progress"] or info["rdb_bgsave_in_progress"])


@dataclass(frozen=True)
class Seen:
    """What is seen during a fault: statuses of a background create, of a GET, of ``/readyz``."""

    create: frozenset[int]
    get: frozenset[int]
    ready: frozenset[int] = frozenset({200, 503})


def seen(*, create, get, ready=(200, 503)):
    return Seen(frozenset(create), frozenset(get), frozenset(ready))


def case(number, fault, expected):
    return pytest.param(fault, expected, id=fault.__name__, marks=number)


EITHER = (200, 503)
FAULTS = [
    case(pytest.mark.catalogue("R1"), restarted, seen(create=[503], get=[503], ready=[200])),
    case(pytest.mark.catalogue("R6"), wiped, seen(create=[200], get=[404], ready=[200])),
    case(pytest.mark.catalogue("R7"), no_record, seen(create=[200], get=[200], ready=[200])),
    case(pytest.mark.catalogue("R7"), no_log, seen(create=[200], get=[200], ready=[200])),
    case(pytest.mark.catalogue("R8"), back_empty, seen(create=EITHER, get=[404, 503])),
    case(pytest.mark.catalogue("R9"), resets, seen(create=EITHER, get=EITHER)),
    case(pytest.mark.catalogue("R10", "R24"), mute, seen(create=EITHER, get=EITHER)),
    case(pytest.mark.catalogue("R12"), read_only, seen(create=[503], get=EITHER)),
    case(pytest.mark.catalogue("R17"), no_room, seen(create=[503], get=EITHER, ready=[200])),
    case(pytest.mark.catalogue("R19"), far_away, seen(create=[200], get=[200], ready=[200])),
    case(
        pytest.mark.catalogue("R20"), another_password, seen(create=[503], get=[503], ready=[200])
    ),
    case(pytest.mark.catalogue("R20"), busy, seen(create=[503], get=[503], ready=[200])),
    case(pytest.mark.catalogue("R21"), rewriting, seen(create=[200], get=[200], ready=[200])),
]
LOSSES = (wiped, no_record, no_log, back_empty)  # their followers may be cut early: they resume


def script(halfway, end):
    """An answer that stops halfway, and before its end."""
    begun, rest = message(*DELTAS)[:6], message(*DELTAS)[6:]
    return [*opening(), *begun, halfway, *rest, end, completed(done_item("".join(DELTAS)))]


@dataclass
class Scene:
    """Two bridges, turns on the first, and a reader of the first turn on the second."""

    here: object
    there: object
    clients: list
    received: list
    before: str

    async def receive_until(self, kind):
        """All turns, up to an event."""
        for client, events in zip(self.clients, self.received, strict=True):
            events.extend(await client.until(kind))


async def begin(serve, place, scripts, clock=None, **store):
    """A finished turn, and turns that have begun."""
    config = config_of(place.proxy.port, **store)
    here = await serve(Scripted(answer("before"), *scripts), config, clock=clock)
    config = config_of(place.node.port, **store)
    there = await serve(Scripted(answer("there")), config, clock=clock)
    before = (await (await here.connect()).turn(input="hi"))[-1]["response"]["id"]
    clients = [await here.connect() for _ in range(AT_ONCE)]
    received = []
    for client in clients:
        await client.create(input="hi")
        received.append([await client.event() for _ in range(8)])
    place.ids += [events[0]["response"]["id"] for events in received]
    return Scene(here, there, clients, received, before)


async def check(here, expected, before):
    """Nothing is reported that is not so; nothing is a server error."""
    for _ in range(4):
        status, body = await here.get(f"/v1/responses/{before}")
        assert status in expected.get, body
    status, body = await here.post("/v1/responses", model="m", input="hi", background=True)
    assert status in expected.create, body
    status, body = await here.get("/readyz")
    assert status in expected.ready, body


@pytest.mark.parametrize(("fault", "expected"), FAULTS)
async def test_what_the_sockets_saw_is_what_the_store_has(serve, place, caplog, fault, expected):
    caplog.set_level(logging.INFO)
    halfway, end = asyncio.Event(), asyncio.Event()
    scripts = [*[script(halfway, end)] * AT_ONCE, answer("amid")]
    scene = await begin(serve, place, scripts)
    async with open_events(scene.there, place.ids[0]) as follower:
        async with fault(place):
            halfway.set()
            await scene.receive_until("response.output_item.done")
            amid = await (await scene.here.connect()).turn(input="hi")
            await check(scene.here, expected, scene.before)
        end.set()
        await scene.receive_until("response.completed")
        followed = await read_events(follower, may_be_cut=fault in LOSSES)
    for events in (*scene.received, amid):
        await is_kept(scene, events)
    whole = scene.received[0]
    assert followed == whole or (fault in LOSSES and is_part(followed, whole))
    assert PASSWORD not in caplog.text
    assert not [entry for entry in caplog.records if entry.exc_info]


async def is_kept(scene, events):
    """What a socket saw is whole, and both servers have it."""
    assert events[-1]["type"] == "response.completed"
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for bridge in (scene.here, scene.there):
        await until(lambda bridge=bridge: has_ended(bridge, events), "it is stored")
        async with open_events(bridge, events[0]["response"]["id"]) as replay:
            assert [event async for event in replay] == events


async def has_ended(bridge, events):
    """Whether the response is stored, with the events that the socket got."""
    last = events[-1]["response"]
    return await bridge.get(f"/v1/responses/{last['id']}") == (200, last)


@contextlib.asynccontextmanager
async def open_events(bridge, response_id):
    """The events of a follower, until it is cut; it has got one when this is entered."""
    url = f"{bridge.url}/v1/responses/{response_id}?stream=true"
    async with bridge.session.get(url) as got:
        assert got.status == 200
        lines = data_of(got)
        first = await anext(lines)
        yield (json.loads(line) async for line in chain(first, lines))


async def chain(first, rest):
    """As ``itertools.chain``."""
    yield first
    async for one in rest:
        yield one


async def read_events(follower, *, may_be_cut):
    """All events of a follower, to its end."""
    events = []
    try:
        async for event in follower:
            events.append(event)  # noqa: PERF401 - what was told before the cut counts
    except aiohttp.ClientPayloadError:
        if not may_be_cut:
            raise
    return events


async def data_of(got):
    """Each data line; however long it is."""
    buffer = b""
    async for chunk in got.content.iter_any():
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data: {"):
                yield line[6:]


def is_part(seen, events):
    """Whether no event came twice, out of order or changed."""
    numbers = [event["sequence_number"] for event in seen]
    return numbers == sorted(set(numbers)) and all(event in events for event in seen)


async def test_a_follower_whose_response_is_gone_is_cut_and_gets_no_end(serve, place, caplog):
    caplog.set_level(logging.INFO)
    end = asyncio.Event()
    scene = await begin(serve, place, [script(end, end)] * AT_ONCE)
    async with open_events(scene.there, place.ids[0]) as follower:
        place.proxy.refuse()  # its server cannot write it again
        place.node.cli("DEL", keys_of(place.ids[0]).meta)
        with pytest.raises(aiohttp.ClientPayloadError):
            await read_events(follower, may_be_cut=False)
    assert "stream_cut reason=ResponseNotFound" in caplog.text
    assert not [entry for entry in caplog.records if entry.exc_info]
    await place.proxy.accept()
    end.set()
    await scene.receive_until("response.completed")


@pytest.mark.catalogue("R22")
@pytest.mark.parametrize(
    ("name", "end_of_it"), [("meta", "response.failed"), ("events", "response.completed")]
)
async def test_a_key_of_another_type_ends_its_response_and_no_other(serve, place, name, end_of_it):
    """Without its record it is another server's; a log is written again with its end."""
    halfway, end = asyncio.Event(), asyncio.Event()
    scripts = [*[script(halfway, end)] * AT_ONCE, answer("after")]
    # No tick of the mirror is to write between the two commands, or before the end.
    scene = await begin(serve, place, scripts, flush_ms=60_000)
    key = getattr(keys_of(place.ids[0]), name)
    place.node.cli("DEL", key)
    place.node.cli("LPUSH", key, "somebody else's")
    halfway.set()
    end.set()
    last = (await scene.clients[0].until("response.failed", "response.completed"))[-1]
    assert last["type"] == end_of_it
    for client, events in list(zip(scene.clients, scene.received, strict=True))[1:]:
        await is_kept(scene, events + await client.until("response.completed"))
    await is_kept(scene, await scene.clients[0].turn(input="hi"))


@pytest.mark.catalogue("R5")
async def test_beyond_the_backlog_the_log_has_a_gap(serve, place):
    """The socket has all of it, and so has the final object."""
    gate = asyncio.Event()
    deltas = [f"{number:02}" * 2**13 for number in range(26)]  # 16 KiB each; the log has six of all
    begun, rest = [*opening(), *message(*deltas)[:4]], message(*deltas)[4:]
    steps = [*begun, gate, *rest, completed(done_item("".join(deltas)))]
    here = await serve(Scripted(steps), config_of(place.proxy.port, backlog_mib=1))
    client = await here.connect()
    await client.create(input="hi")
    received = [await client.event() for _ in range(6)]
    place.proxy.refuse()
    gate.set()
    received += await client.until("response.completed")
    await until(lambda: has_cut(here), "the backlog is full")
    await place.proxy.accept()
    assert [event["sequence_number"] for event in received] == list(range(len(received)))
    await until(lambda: has_ended(here, received), "it is stored")
    async with open_events(here, received[0]["response"]["id"]) as replay:
        kept = [event async for event in replay]
    gaps = [event for event in kept if "gap" in event]
    assert [event["type"] for event in gaps] == ["response.in_progress"]
    assert all(event in received for event in kept if "gap" not in event)
    missing = len(received) - len(kept)
    assert gaps[0]["gap"]["until"] - gaps[0]["gap"]["after"] - 1 == missing > 0


async def has_cut(running):
    """Whether no more is kept of what is over than a snapshot and the end."""
    [backlog] = running.bridge._mirror._tracked.values()
    return backlog.is_over and backlog.stream.events[0].is_terminal


# A replica


@pytest.mark.catalogue("R11")
async def test_what_a_promoted_replica_lacks_is_written_again(serve):
    halfway, end = asyncio.Event(), asyncio.Event()
    with Sentinel(valkey_binary()) as sentinel:
        here = await serve(Scripted(script(halfway, end)), {"store": {"url": sentinel.url}})
        client = await here.connect()
        await client.create(input="hi")
        received = [await client.event() for _ in range(8)]
        await until(lambda: follows(sentinel, received), "the replica has the beginning")
        sentinel.master.cli("ACL", "SETUSER", "default", "-psync", "-sync")
        sentinel.master.cli("CLIENT", "KILL", "TYPE", "replica")
        halfway.set()
        received += await client.until("response.output_item.done")
        await until(lambda: has_stored(here, received), "the master has more")
        sentinel.master.kill()
        await asyncio.to_thread(sentinel.until_promoted)
        assert not await follows(sentinel, received)
        end.set()
        received += await client.until("response.completed")
        await is_kept(Scene(here, here, [], [], ""), received)


async def follows(sentinel, received):
    """Whether the replica's log is as long as what was received."""
    keys = keys_of(received[0]["response"]["id"])
    last = await asyncio.to_thread(sentinel.replica.cli, "HGET", keys.meta, "n")
    return last is not None and int(last) >= received[-1]["sequence_number"]


async def has_stored(bridge, received):
    """Whether a poll has all the text."""
    _, body = await bridge.get(f"/v1/responses/{received[0]['response']['id']}")
    return bool(body["output"]) and body["output"][0]["status"] == "completed"


# Longer than a lease


@contextlib.asynccontextmanager
async def dead(place):
    place.node.kill()
    yield
    await asyncio.to_thread(place.node.start)


@contextlib.asynccontextmanager
async def frozen(place):
    place.node.freeze()
    yield
    place.node.thaw()


LEASE_SECONDS = 600.0


@pytest.mark.catalogue("R4")
@pytest.mark.parametrize("fault", [dead, frozen, no_room, busy])
async def test_what_lasts_longer_than_a_lease_takes_nobodys_response_away(
    serve, place, monkeypatch, fault
):
    """No server could renew a lease, so none is lost, and the log catches up."""
    monkeypatch.setattr(takeover, "SEARCH_SECONDS", 0.05)
    monkeypatch.setattr(connect, "CALL_SECONDS", 1.0)  # a frozen store is to be noticed
    halfway, end = asyncio.Event(), asyncio.Event()
    later = Later()
    scripts = [script(halfway, end)] * AT_ONCE
    clock = Clock(monotonic=later)
    scene = await begin(serve, place, scripts, clock=clock, lease_seconds=LEASE_SECONDS)
    later.ahead = 2 * LEASE_SECONDS  # the store has been up for longer than a lease
    store = scene.there.bridge._store
    for bridge in (scene.here.bridge, scene.there.bridge):  # to both it looks like a standstill
        bridge._store.scripts.standstill.stood_still_since(0)
    looks = counted(store)
    assert store._health.may_claim()
    async with fault(place):
        halfway.set()
        if fault is no_room:  # it writes nothing else
            for response_id in place.ids:
                await expire(place.node, response_id)
        await until(lambda: is_missed(store), "the other server knows of it")
    await until(lambda: is_well(store), "the store is back")
    for response_id in place.ids:
        await expire(place.node, response_id)
    seen = len(looks)
    await until(lambda: is_longer(looks, seen + 2), "the other server has looked")
    end.set()
    await scene.receive_until("response.completed")
    for events in scene.received:
        await is_kept(scene, events)
    assert scene.there.bridge._takeover.taken == 0


def counted(store):
    """The store's answer to each look for lost responses from now on."""
    looks, look = [], store.find_overdue

    async def find_overdue():
        looks.append(await look())
        return looks[-1]

    store.find_overdue = find_overdue
    return looks


EXPIRE = """#!lua flags=allow-oom
redis.call('HSET', KEYS[1], 'lx', '0')
redis.call('ZADD', KEYS[2], 'XX', '0', ARGV[1])
"""


async def expire(node, response_id):
    """Its lease has run out, by the store's own time; there needs to be no room for that."""
    keys = keys_of(response_id)
    await asyncio.to_thread(node.cli, "EVAL", EXPIRE, 2, keys.meta, keys.leases, response_id)


async def is_missed(store):
    return not store.scripts.breaker.is_healthy


async def is_well(store):
    return store.scripts.breaker.is_healthy


async def is_longer(found, number):
    return len(found) >= number


@pytest.mark.catalogue("W19")
@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_servers_wrong_clock_does_no_harm(serve, place, monkeypatch, hours):
    """Leases and times to live are the store's: a server with a right clock takes nothing over."""
    monkeypatch.setattr(takeover, "SEARCH_SECONDS", 0.05)
    gate, later, ttl = asyncio.Event(), Later(), 24 * 3600
    config = config_of(place.node.port, lease_seconds=LEASE_SECONDS, ttl_seconds=ttl)
    wrong = Clock(wall=lambda: time.time() + hours * 3600, monotonic=later)
    steps = [*opening(), *message("x"), gate, completed(done_item("x"))]
    here, there = (
        await serve(Scripted(steps), config, clock=wrong),
        await serve(Scripted(answer("there")), config, clock=Clock(monotonic=later)),
    )
    later.ahead = 2 * LEASE_SECONDS
    client = await here.connect()
    await client.create(input="hi")
    received = await client.until("response.output_item.done")
    looks = counted(there.bridge._store)
    assert there.bridge._store._health.may_claim()
    await until(lambda: is_longer(looks, 2), "the other server has looked")
    assert not any(looks)
    gate.set()
    received += await client.until("response.completed")
    await is_kept(Scene(here, there, [], [], ""), received)
    response_id = received[0]["response"]["id"]
    keys = place.node.cli("KEYS", f"*{response_id}*")
    left = [place.node.cli("PTTL", key) / 1000 for key in keys]
    assert all(ttl - 1800 < seconds <= ttl for seconds in left)
    other = await (await there.connect()).turn(input="hi", previous_response_id=response_id)
    assert other[-1]["type"] == "response.completed"


@pytest.mark.catalogue("A4")
async def test_a_replay_whose_store_went_away_since_it_was_found_is_503_and_never_empty(
    serve, place
):
    """One call in between comes through, and the next does not."""
    bridge = await serve(Scripted(answer("Hi")), config_of(place.proxy.port))
    _, response = await bridge.post("/v1/responses", model="m", input="hi")
    path = f"/v1/responses/{response['id']}?stream=true"
    store = bridge.bridge._store
    read = store.read

    async def read_later(response_id, owner, *, after):
        place.proxy.refuse()
        async for batch in read(response_id, owner, after=after):
            yield batch

    store.read = read_later
    async with bridge.session.get(bridge.url + path) as got:
        assert (got.status, got.headers["Retry-After"]) == (503, "1")
    await place.proxy.accept()
    store.read = read
    await until(lambda: is_replayed(bridge, path), "the store is back")


async def is_replayed(bridge, path):
    async with bridge.session.get(bridge.url + path) as got:
        return got.status == 200 and (await got.text()).endswith("data: [DONE]\n\n")


@pytest.mark.catalogue("A4")
async def test_a_replay_that_was_not_read_to_its_end_never_has_a_done(serve, place):
    """Others broke the log; the object is there."""
    bridge = await serve(Scripted(answer("Hi")), config_of(place.proxy.port))
    _, response = await bridge.post("/v1/responses", model="m", input="hi")
    key = keys_of(response["id"]).events
    place.node.cli("DEL", key)
    place.node.cli("SET", key, "mine")
    path = f"/v1/responses/{response['id']}"
    assert await bridge.get(path) == (200, response)
    assert (await bridge.get(path + "?stream=true"))[0] == 503
