"""The store of one process: the contract, and its bounds in bytes and time."""

import asyncio
import gc
import weakref
from dataclasses import replace

import orjson
import pytest
from store.contract import (
    OWNERS,
    StoreContract,
    append,
    collect,
    events_of,
    finished,
    hold,
    record,
)

from ws_bridge.errors import StoreUnavailable
from ws_bridge.store import memory as module
from ws_bridge.store.base import KEY_SECONDS, Record, Verdict
from ws_bridge.store.memory import TOMBSTONE_SECONDS, MemoryStore


class Hand:
    """A clock turned by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def new(max_bytes: int = 2**20, ttl_seconds: float = 60, now: Hand | None = None) -> MemoryStore:
    return MemoryStore(max_bytes=max_bytes, ttl_seconds=ttl_seconds, now=now or Hand())


LEASE_SECONDS = 15.0


@pytest.fixture
def clock():
    return Hand()


@pytest.fixture
async def store(clock):
    memory = MemoryStore(
        max_bytes=2**20,
        ttl_seconds=3600,
        now=clock,
        lease_seconds=LEASE_SECONDS,
        owners=OWNERS,
    )
    await memory.open()
    yield memory
    await memory.close()


@pytest.fixture
def expire(clock):
    async def let_run_out(_):
        clock.now += LEASE_SECONDS

    return let_run_out


class TestMemoryStore(StoreContract):
    """All that a store promises."""


def size(kept: Record) -> int:
    """How many bytes a finished response takes."""
    return len(orjson.dumps(kept.input)) + sum(len(event.text) for event in events_of(kept))


# Bytes


async def test_over_the_bound_the_oldest_finished_response_goes_first():
    store = new(max_bytes=3 * size(record()) + 100)
    kept = [(await finished(store))[0] for _ in range(5)]
    known = [one for one in kept if await store.get(one.id, "alice")]
    assert known == kept[2:]


async def test_oldest_is_who_finished_first_not_who_began_first():
    early, late = record(), record()
    store = new(max_bytes=2 * size(early) + 100)
    await store.create(early)
    await store.create(late)
    await append(store, late, events_of(late))
    await append(store, early, events_of(early))
    await finished(store)
    assert await store.get(late.id, "alice") is None
    assert await store.get(early.id, "alice") is not None


async def test_what_runs_is_never_dropped_and_a_new_response_is_refused_instead():
    running = record()
    events = events_of(running)
    store = new(max_bytes=size(running) - 1)
    await store.create(running)
    await append(store, running, events[:-1])
    large = replace(record(), input=({"x": "y" * size(running)},))
    with pytest.raises(StoreUnavailable):
        await store.create(large)
    assert await store.get(large.id, "alice") is None
    snapshot = await store.get(running.id, "alice")
    assert snapshot is not None
    assert snapshot.number == len(events) - 2


async def test_room_is_made_for_a_new_response_by_dropping_finished_ones():
    (kept, _) = await finished(store := new(max_bytes=size(record())))
    await store.create(record())
    assert await store.get(kept.id, "alice") is None


async def test_a_deleted_response_takes_no_room():
    store = new(max_bytes=size(record()))
    for _ in range(20):
        (kept, _) = await finished(store)
        assert await store.get(kept.id, "alice") is not None
        assert await store.delete(kept.id, "alice")


class TrackedItem(dict):
    """An item that can be asked whether it is still there."""


@pytest.mark.catalogue("A7")
@pytest.mark.parametrize("is_over", [True, False])
async def test_of_a_deleted_response_nothing_stays_but_its_id(is_over):
    """Its input was kept, and not counted, for as long as a finished response is."""
    store, item_ = new(), TrackedItem(type="message", role="user", content="x" * 1000)
    kept = replace(record(), input=(item_,))
    item = weakref.ref(item_)
    await store.create(kept)
    events = events_of(kept)
    await append(store, kept, events if is_over else events[:-1])
    assert await store.delete(kept.id, "alice")
    response_id = kept.id
    del item_, kept, events
    gc.collect()
    assert item() is None
    again = replace(record(), id=response_id)
    await store.create(again)  # its server creates it again: in vain
    assert await append(store, again, events_of(again)) is Verdict.FENCED
    assert await store.get(response_id, "alice") is None


async def test_the_ids_of_deleted_responses_are_bounded_in_time_and_number(monkeypatch):
    monkeypatch.setattr(module, "MAX_TOMBSTONES", 3)
    clock = Hand()
    store = new(now=clock)
    for _ in range(10):
        kept, _ = await finished(store)
        await store.delete(kept.id, "alice")
    await finished(store)
    assert len(store._tombstones) == 3
    clock.now += TOMBSTONE_SECONDS
    await finished(store)
    assert len(store._tombstones) == 0


@pytest.mark.catalogue("A7")
async def test_all_that_was_asked_counts_and_not_the_input_alone():
    """A background response keeps its instructions and tools for a server that continues it."""
    asked = replace(record(), request={"instructions": "x" * 2000})
    store = new(max_bytes=2000)
    with pytest.raises(StoreUnavailable):
        await store.create(asked)


async def test_creating_again_takes_no_room_twice():
    kept = record()
    store = new(max_bytes=size(kept))
    for _ in range(20):
        await store.create(kept)
    assert await append(store, kept, events_of(kept)) is Verdict.APPENDED
    assert await store.get(kept.id, "alice") is not None


async def test_a_reader_of_a_dropped_response_comes_to_its_end():
    store = new(max_bytes=size(record()))
    (kept, events) = await finished(store)
    reader = store.read(kept.id, "alice")
    seen = list(await anext(reader))
    await finished(store)
    assert await store.get(kept.id, "alice") is None
    assert seen + [event async for batch in reader for event in batch] == events


# Time


async def test_a_finished_response_is_unknown_once_its_time_is_up():
    clock = Hand()
    store = new(ttl_seconds=60, now=clock)
    kept, events = await finished(store)
    clock.now += 59.9
    assert await store.get(kept.id, "alice") is not None
    clock.now += 0.1
    assert await append(store, kept, events) is Verdict.GONE
    assert await store.get(kept.id, "alice") is None
    assert await collect(store, kept) == []
    assert await store.delete(kept.id, "alice") is False


async def test_its_time_counts_from_the_end():
    clock = Hand()
    store = new(ttl_seconds=60, now=clock)
    kept = record()
    events = events_of(kept)
    await store.create(kept)
    await append(store, kept, events[:-1])
    clock.now += 10_000
    assert await store.get(kept.id, "alice") is not None
    await append(store, kept, events[-1:])
    clock.now += 59
    assert await store.get(kept.id, "alice") is not None
    clock.now += 1
    assert await store.get(kept.id, "alice") is None


async def test_the_room_of_the_expired_is_free():
    clock = Hand()
    store = new(max_bytes=size(record()), ttl_seconds=60, now=clock)
    await finished(store)
    clock.now += 60
    kept, events = await finished(store)
    assert await collect(store, kept) == events


async def test_followers_of_what_runs_are_not_hurt_by_what_expires():
    clock = Hand()
    store = new(ttl_seconds=60, now=clock)
    running = record()
    events = events_of(running)
    await store.create(running)
    follower = asyncio.create_task(collect(store, running))
    await finished(store)
    clock.now += 60
    await finished(store)
    await append(store, running, events)
    assert await follower == events


# Idempotency keys


async def test_a_key_stands_for_its_response_for_a_day(clock):
    store, one, other = new(now=clock), hold(), hold()
    await store.acquire_key("k", "alice", one)
    clock.now += KEY_SECONDS - 1
    assert await store.acquire_key("k", "alice", other) == one
    clock.now += 1
    assert await store.find_key("k", "alice") is None
    assert await store.acquire_key("k", "alice", other) == other


async def test_of_too_many_keys_the_oldest_are_forgotten(monkeypatch):
    monkeypatch.setattr(module, "MAX_KEYS", 3)
    store = new()
    for number in range(5):
        await store.acquire_key(str(number), "alice", hold())
    await store.acquire_key("2", "alice", (await store.find_key("2", "alice")))  # now the newest
    await store.acquire_key("5", "alice", hold())
    known = [number for number in range(6) if await store.find_key(str(number), "alice")]
    assert known == [2, 4, 5]
    assert len(store._keys) == 3
