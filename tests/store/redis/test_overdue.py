"""What others broke in the store: each overdue response is settled, or set aside by itself."""

import asyncio
import logging
import re
from dataclasses import replace

import pytest
from store.contract import append, collect, events_of, record, rerunnable
from store.opened import expire, opened
from support.fake_clock import FakeClock, wait_until
from support.redis_servers import Node, valkey_binary
from support.scripted_upstream import Scripted, keys_over, lineage_over

from ws_bridge.errors import ModelNotFound
from ws_bridge.jobs.mirror import Mirror, MirrorTiming
from ws_bridge.jobs.registry import JobPolicy, JobRegistry
from ws_bridge.jobs.takeover import SEARCH_SECONDS, Takeover
from ws_bridge.protocol.reducer import fold
from ws_bridge.store.base import Verdict
from ws_bridge.store.redis.keys import keys_of, lease_index, partition_of

KEYS = ("meta", "input", "events")
GARBAGE = ("", "r", "z123", "r{}", "r[]", "rnull", "x")


@pytest.fixture
def node():
    """A server of its own: what is broken in an index concerns every response there is."""
    with Node(valkey_binary()) as one:
        yield one


@pytest.fixture
async def store(node):
    async with opened(node.url) as one:
        yield one


def no_model(name, _maker=""):
    raise ModelNotFound(name)


class Search:
    """A server that looks for overdue responses, when the test calls it."""

    def __init__(self, store):
        self.hands = FakeClock()
        clock = self.hands.clock()
        jobs = JobRegistry(
            upstream=Scripted(),
            find_target=no_model,
            lineage=lineage_over(store),
            keys=keys_over(store, clock),
            mirror=Mirror(store, MirrorTiming(), clock),
            observe=lambda _: None,
            policy=JobPolicy(),
            clock=clock,
        )
        self.task = asyncio.create_task(Takeover(store, jobs, clock).run())

    async def look(self, times=1):
        """So many searches, from their begin to their end."""
        for _ in range(times):
            await wait_until(lambda: self.hands.sleepers)
            self.hands.advance(2 * SEARCH_SECONDS)
            await wait_until(lambda: not self.hands.sleepers)
        await wait_until(lambda: self.hands.sleepers)


@pytest.fixture
async def search(store):
    one = Search(store)
    yield one
    assert not one.task.done(), one.task
    one.task.cancel()
    await asyncio.gather(one.task, return_exceptions=True)


async def overdue(store, partition=None):
    """A response that has output, and whose server is lost."""
    kept = record()
    while partition is not None and partition_of(kept.id) != partition:
        kept = record()
    await store.create(kept, events_of(kept)[:4])
    await expire(store, kept)
    return kept


async def failed(store, kept):
    """It has ended, in the log and in the snapshot."""
    snapshot = await store.get(kept.id, "alice")
    assert snapshot is not None
    assert snapshot.status == "failed"
    log = await collect(store, kept)
    assert [event.is_terminal for event in log] == [False] * (len(log) - 1) + [True]
    assert fold(log) == snapshot.response
    return log


def lines_of(caplog, part):
    return [entry.getMessage() for entry in caplog.records if part in entry.getMessage()]


@pytest.mark.catalogue("A3")
@pytest.mark.parametrize("kind", ["string", "list", "hash"])
async def test_an_index_of_another_type_is_rebuilt(node, store, search, caplog, kind):
    """What runs comes into it again, whether its server is lost or not."""
    lost = [await overdue(store) for _ in range(40)]
    hidden = await overdue(store, partition_of(lost[0].id))
    running = record()
    while partition_of(running.id) != partition_of(hidden.id):
        running = record()
    await store.create(running, events_of(running)[:2])
    index = lease_index(partition_of(hidden.id))
    metas = keys_of(hidden.id).meta.removesuffix(hidden.id)
    node.cli("SET", metas + "string", "x")  # what others may have put beside
    node.cli("HSET", metas + "odd", "st", "in_progress", "lx", "soon", "ow", "alice", "f", "1")
    node.cli("HSET", (metas + "no id ").encode() + b"\xff", "st", "in_progress", "lx", "1")
    node.cli("DEL", index)
    node.cli(
        *{"string": ("SET", index, "x"), "list": ("LPUSH", index, "x")}.get(kind, ())
        or ("HSET", index, "x", "y")
    )
    await search.look(times=3)
    for one in (*lost, hidden):
        await failed(store, one)
    assert len(lines_of(caplog, "lease_index_broken")) == 1
    assert await append(store, running, events_of(running)[2:]) is Verdict.APPENDED


@pytest.mark.catalogue("A3")
@pytest.mark.parametrize(
    "broken", [(name, how) for name in KEYS for how in ("type", "gone", *GARBAGE)]
)
async def test_one_record_that_cannot_be_read_holds_up_no_other(
    node, store, search, caplog, broken
):
    """It is ended, or leaves the index: one line, however often it is looked for."""
    name, how = broken
    bad = await overdue(store)
    others = [await overdue(store) for _ in range(20)]
    key = getattr(keys_of(bad.id), name)
    events = events_of(bad)
    break_key(node, key, name, how)
    await search.look(times=3)
    for one in others:
        await failed(store, one)
    assert node.cli("ZCOUNT", keys_of(bad.id).leases, "-inf", "+inf") in ("0", 0)
    lines = [line for line in lines_of(caplog, bad.id) if "taken_over" not in line]
    assert len(lines) == (0 if (name, how) == ("meta", "gone") else 1), lines
    assert not [entry for entry in caplog.records if entry.exc_info]
    if name != "meta":
        log = await failed(store, bad)
        if name == "input":
            assert log[:-1] == events[:4]
        else:
            assert log[0].json()["gap"] == {"after": -1, "until": 4}
            assert [event.number for event in log] == [4, 5]


def break_key(node, key, name, how):
    """What others may do to a key."""
    if name == "events" and how not in ("type", "gone"):
        node.cli("DEL", key)
        node.cli("XADD", key, "4-0", "e", how)
    elif name == "meta" and how not in ("type", "gone"):
        node.cli("HSET", key, "lx", how or "-")
    else:
        node.cli("DEL", key)
        if how == "type":
            node.cli("LPUSH" if name != "events" else "SET", key, "mine")
        elif how != "gone":
            node.cli("SET", key, how, "PX", 60_000)


@pytest.mark.catalogue("A3")
async def test_members_that_are_no_ids_are_dropped(node, store, search, caplog):
    """However many there are: they never stand in the way of those that are."""
    lost = await overdue(store)
    index = keys_of(lost.id).leases
    for number in range(50):
        node.cli("ZADD", index, -number - 1, f"no id {number}")
    node.cli("ZADD", index, -100, b"\xff\xfe")
    foreign = record()
    while partition_of(foreign.id) == partition_of(lost.id):
        foreign = record()
    node.cli("ZADD", index, -200, foreign.id)
    await search.look(times=4)
    await failed(store, lost)
    assert int(node.cli("ZCARD", index)) == 0
    assert "no id" not in caplog.text
    assert lines_of(caplog, "lease_index_strays")


@pytest.mark.catalogue("A3")
async def test_a_request_that_is_none_any_more_ends_its_response(store, search, caplog):
    """A background response would be generated again, and cannot be."""
    caplog.set_level(logging.WARNING)
    kept = replace(rerunnable(), request={"model": 5, "tools": 1})
    await store.create(kept, events_of(kept)[:2])
    await expire(store, kept)
    await search.look(times=2)
    await failed(store, kept)
    assert len(re.findall(f"taken_over id={kept.id}", caplog.text)) == 1


@pytest.mark.catalogue("A3")
async def test_on_a_cluster_an_index_is_rebuilt_from_the_node_that_has_it(cluster):
    async with opened(cluster.url) as store:
        lost = [await overdue(store) for _ in range(12)]
        for one in lost:
            index = keys_of(one.id).leases
            await store._client.delete(index)
            await store._client.set(index, "x", px=60_000)
        found = set()
        for _ in range(2):
            found |= set(await store.find_overdue())
        assert {one.id for one in lost} <= found
