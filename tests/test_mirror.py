"""A job's stream → the store: ticks turned by hand, and a store that fails when told to."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from scripted import answer

from ws_bridge.errors import StoreUnavailable
from ws_bridge.mirror import Mirror
from ws_bridge.protocol.events import Event
from ws_bridge.protocol.response import Envelope
from ws_bridge.protocol.sequencer import Sequencer
from ws_bridge.store.base import Record, Verdict
from ws_bridge.store.memory import MemoryStore
from ws_bridge.stream import Stream

FLUSH_SECONDS = 0.025


class Ticks:
    """The flusher's sleep: over when the test says so."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._asleep = asyncio.Event()
        self._wake = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._asleep.set()
        await self._wake.wait()
        self._wake.clear()

    async def tick(self) -> None:
        """Let the flusher run once, as soon as it sleeps."""
        await self._asleep.wait()
        self._asleep.clear()
        self._wake.set()

    async def asleep(self) -> None:
        """Return when a tick is over and the flusher waits for the next."""
        await self._asleep.wait()


class Moody(MemoryStore):
    """A store that fails so many times, may be held up, and remembers what it was given."""

    def __init__(self) -> None:
        super().__init__(max_bytes=2**20, ttl_seconds=60, now=lambda: 0.0)
        self.failures = 0
        self.appends: list[list[int]] = []
        self.gates: list[asyncio.Event] = []

    async def create(self, record: Record) -> None:
        self._fail()
        await super().create(record)

    async def append(self, response_id: str, events: Sequence[Event]) -> Verdict:
        self.appends.append([event.number for event in events])
        if self.gates:
            await self.gates.pop(0).wait()
        self._fail()
        return await super().append(response_id, events)

    def forget(self, response_id: str) -> None:
        """Lose the events, as a store that came back with old data."""
        self._running[response_id].log = Stream()

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable


class World:
    """One mirror, its flusher, and one response that it watches."""

    def __init__(self) -> None:
        self.store = Moody()
        self.ticks = Ticks()
        self.mirror = Mirror(self.store, FLUSH_SECONDS, self.ticks.sleep)
        self.record, self.events, self.stream = new_response()
        self.id = self.record.id

    async def stored(self) -> list[Event]:
        """What the store has by now."""
        snapshot = await self.store.get(self.id, "alice")
        count = 0 if snapshot is None else snapshot.number + 1
        return self.events[:count]

    async def tick(self) -> None:
        await self.ticks.tick()
        await self.ticks.asleep()


def new_response() -> tuple[Record, list[Event], Stream]:
    record = Record("resp_" + secrets.token_hex(24), "alice", (), "openai|")
    sequencer = Sequencer(Envelope(record.id, "m", 0), None, lambda: 1.0)
    events = [event for draft in answer("Hel", "lo") for event in sequencer.take(draft)]
    return record, events, Stream()


async def until(condition: Callable[[], object]) -> None:
    """Let the others run until it is true; no time passes."""
    while not condition():  # noqa: ASYNC110 - nobody here could set an event
        await asyncio.sleep(0)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    one = World()
    flusher = asyncio.create_task(one.mirror.run())
    yield one
    flusher.cancel()
    await asyncio.gather(flusher, return_exceptions=True)


async def test_a_created_response_is_known_to_the_store_at_once(world):
    await world.mirror.create(world.record, world.stream)
    snapshot = await world.store.get(world.id, "alice")
    assert snapshot is not None
    assert snapshot.record == world.record


async def test_a_creation_that_fails_is_told_and_nothing_is_watched(world):
    world.store.failures = 1
    with pytest.raises(StoreUnavailable):
        await world.mirror.create(world.record, world.stream)
    world.stream.append(world.events)
    await world.mirror.flush(world.id)
    assert world.store.appends == []
    assert world.mirror.lag() == 0


async def test_a_tick_takes_what_has_come_since_the_last_one(world):
    await world.mirror.create(world.record, world.stream)
    world.stream.append(world.events[:3])
    world.stream.append(world.events[3:5])
    await world.tick()
    world.stream.append(world.events[5:7])
    await world.tick()
    await world.tick()
    assert world.store.appends == [[0, 1, 2, 3, 4], [5, 6]]
    assert set(world.ticks.slept) == {FLUSH_SECONDS}
    assert await world.stored() == world.events[:7]


async def test_between_ticks_nothing_is_written(world):
    await world.mirror.create(world.record, world.stream)
    await world.ticks.asleep()
    world.stream.append(world.events[:3])
    await asyncio.sleep(0)
    assert world.store.appends == []
    assert world.mirror.lag() == 3


async def test_a_flush_writes_at_once_and_only_what_the_store_lacks(world):
    await world.mirror.create(world.record, world.stream)
    for event in world.events:
        world.stream.append([event])
        await world.mirror.flush(world.id)
    await world.mirror.flush(world.id)
    assert world.store.appends == [[event.number] for event in world.events]
    assert world.mirror.lag() == 0


async def test_flushing_what_is_not_watched_is_nothing(world):
    await world.mirror.flush("resp_unknown")
    assert world.store.appends == []


async def test_an_append_that_failed_is_sent_again_with_the_next_tick(world):
    await world.mirror.create(world.record, world.stream)
    world.stream.append(world.events[:2])
    world.store.failures = 2
    await world.tick()
    assert await world.stored() == []
    world.stream.append(world.events[2:4])
    await world.tick()
    assert world.mirror.lag() == 4
    await world.tick()
    assert world.store.appends == [[0, 1], [0, 1, 2, 3], [0, 1, 2, 3]]
    assert await world.stored() == world.events[:4]


async def test_an_end_that_failed_reaches_the_store_later(world):
    await world.mirror.create(world.record, world.stream)
    world.stream.append(world.events)
    world.stream.close()
    world.store.failures = 1
    await world.mirror.flush(world.id)
    assert await world.stored() == []
    assert world.mirror.lag() == len(world.events)
    await world.ticks.tick()
    await until(lambda: world.mirror.lag() == 0)
    assert await world.stored() == world.events


async def test_an_answer_that_was_lost_does_no_harm(world):
    """The store had it: the same events come again and are passed over."""
    await world.mirror.create(world.record, world.stream)
    world.stream.append(world.events[:4])
    await world.store.append(world.id, world.events[:4])
    await world.tick()
    world.stream.append(world.events[4:])
    await world.mirror.flush(world.id)
    assert await world.stored() == world.events


async def test_what_the_store_has_lost_is_sent_again_from_the_beginning(world):
    await world.mirror.create(world.record, world.stream)
    world.stream.append(world.events[:3])
    await world.tick()
    world.store.forget(world.id)
    world.stream.append(world.events[3:5])
    await world.tick()
    await world.tick()
    assert world.store.appends[-1] == [0, 1, 2, 3, 4]
    assert await world.stored() == world.events[:5]


async def test_a_deleted_response_is_left_alone(world):
    await world.mirror.create(world.record, world.stream)
    world.stream.append(world.events[:3])
    await world.mirror.flush(world.id)
    assert await world.store.delete(world.id, "alice")
    world.stream.append(world.events[3:5])
    await world.ticks.tick()
    await world.mirror.flush(world.id)
    world.stream.append(world.events[5:])
    await world.mirror.flush(world.id)
    assert len(world.store.appends) == 2
    assert world.mirror.lag() == 0


async def test_two_flushes_at_once_lose_nothing_and_repeat_nothing(world):
    await world.mirror.create(world.record, world.stream)
    held = asyncio.Event()
    world.store.gates = [held]
    world.stream.append(world.events[:3])
    slow = asyncio.create_task(world.mirror.flush(world.id))
    await asyncio.sleep(0)
    world.stream.append(world.events[3:])
    await world.mirror.flush(world.id)
    held.set()
    await slow
    assert world.mirror.lag() == 0
    await world.mirror.flush(world.id)
    assert world.store.appends == [[0, 1, 2], list(range(len(world.events)))]
    assert await world.stored() == world.events


async def test_a_slow_store_makes_the_next_batch_larger_and_holds_up_nobody(world):
    await world.mirror.create(world.record, world.stream)
    held = asyncio.Event()
    world.store.gates = [held]
    world.stream.append(world.events[:1])
    await world.ticks.tick()
    await until(lambda: world.store.appends)
    for event in world.events[1:]:
        world.stream.append([event])
        await asyncio.sleep(0)
    assert world.mirror.lag() == len(world.events)
    held.set()
    await world.tick()
    assert world.store.appends == [[0], list(range(1, len(world.events)))]


async def test_one_tick_serves_every_response(world):
    other = new_response()
    await world.mirror.create(world.record, world.stream)
    await world.mirror.create(other[0], other[2])
    world.stream.append(world.events[:2])
    other[2].append(other[1][:4])
    assert world.mirror.lag() == 6
    await world.tick()
    assert world.store.appends == [[0, 1], [0, 1, 2, 3]]
    assert world.mirror.lag() == 0


async def test_the_flusher_rests_when_nothing_is_watched_and_wakes_for_the_next(world):
    await world.mirror.create(world.record, world.stream)
    world.stream.append(world.events)
    world.stream.close()
    await world.ticks.tick()
    await until(lambda: world.mirror.lag() == 0)
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(world.ticks.slept) == 1
    assert await world.stored() == world.events
    record, events, stream = new_response()
    await world.mirror.create(record, stream)
    stream.append(events[:1])
    await world.tick()
    assert world.store.appends[-1] == [0]


async def test_a_drain_writes_everything_that_is_left():
    one = World()
    other = new_response()
    await one.mirror.create(one.record, one.stream)
    await one.mirror.create(other[0], other[2])
    one.stream.append(one.events)
    other[2].append(other[1])
    await one.mirror.drain()
    assert one.mirror.lag() == 0
    assert await one.stored() == one.events


async def test_a_drain_that_fails_ends_and_the_lag_tells():
    one = World()
    await one.mirror.create(one.record, one.stream)
    one.stream.append(one.events)
    one.store.failures = 1
    await one.mirror.drain()
    assert one.mirror.lag() == len(one.events)
