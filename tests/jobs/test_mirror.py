"""Jobs' streams → the store: what is written, when, and what an outage, a loss or a race does.

The store is a memory store that fails when a test wants it; the clock is fake, the tick is zero.
"""

import asyncio
import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from support.collector import Collector
from support.fake_clock import (
    OWNER,
    FakeClock,
    FaultyStore,
    ScriptedResponse,
    declared_gaps,
    let_others_run,
    wait_until,
)
from support.hang import HANG_SECONDS

from ws_bridge.errors import StoreUnavailable
from ws_bridge.jobs.mirror import RETRY_SECONDS, Mirror, MirrorTiming
from ws_bridge.jobs.store_timeout import CHECK_SECONDS
from ws_bridge.protocol.reducer import fold
from ws_bridge.store.base import Verdict
from ws_bridge.tracing import TraceContext, Traces

NEVER = 3600.0  # seconds of a tick that no test waits for


class World:
    """A store, a mirror and its flusher."""

    def __init__(self, pace: MirrorTiming, traces: Traces | None = None) -> None:
        self.clock = FakeClock()
        self.store = FaultyStore(self.clock.now)
        self.mirror = Mirror(self.store, pace, self.clock.clock(), traces)

    async def create(
        self, response: ScriptedResponse, opening: int = 2, trace: TraceContext | None = None
    ) -> None:
        events, stream = response.events[:opening], response.stream
        await self.mirror.create(response.record, events, stream, response.listener(), trace=trace)
        response.append_until(opening - 1)
        self.mirror.notify_appended(response.id)

    async def written(self, response: ScriptedResponse, number: int) -> None:
        """Append the events up to the number, and return when they are stored."""
        self.append_until(response, number)
        await wait_until(lambda: self.store.numbers(response.id)[-1:] == [number])

    def append_until(self, response: ScriptedResponse, number: int) -> None:
        response.append_until(number)
        self.mirror.notify_appended(response.id)

    async def finish(self, response: ScriptedResponse) -> None:
        """As a job does it: the store first, then the stream."""
        response.stream.append(response.events[len(response.stream.events) : -1])
        await self.mirror.append_end(response.id, response.events[-1:])
        self.append_until(response, response.last)

    async def come_back(self) -> None:
        """The flusher has failed and pauses; then the store can be reached again."""
        await wait_until(lambda: self.clock.sleepers)
        self.store.is_away = False
        self.clock.advance(RETRY_SECONDS)


@asynccontextmanager
async def flushing(pace: MirrorTiming, traces: Traces | None = None) -> AsyncIterator[World]:
    world = World(pace, traces)
    flusher = asyncio.create_task(world.mirror.run())
    try:
        yield world
    finally:
        flusher.cancel()
        await asyncio.gather(flusher, return_exceptions=True)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with flushing(MirrorTiming(end_waits=0, flush=0.0, renew=5.0)) as one:
        yield one


@pytest.fixture
async def slow() -> AsyncIterator[World]:
    """A world in which no tick ever comes."""
    async with flushing(MirrorTiming(end_waits=0, flush=NEVER, renew=NEVER)) as one:
        yield one


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr("ws_bridge.jobs.store_timeout.SILENCE_SECONDS", 0.01)


def is_whole(world: World, response: ScriptedResponse) -> bool:
    return world.store.log(response.id) == response.events


# The beginning


async def test_a_created_response_is_stored_with_its_first_events(slow):
    one = ScriptedResponse()
    await slow.mirror.create(one.record, one.events[:2], one.stream, one.listener())
    snapshot = await slow.store.get(one.id, OWNER)
    assert (snapshot.record, snapshot.number) == (one.record, 1)
    assert slow.mirror.degraded == 0


async def test_first_events_are_not_written_again(world):
    one = ScriptedResponse()
    await world.create(one)
    await world.written(one, 4)
    assert [2, 3, 4] in world.store.writes
    assert all(numbers == list(range(2, 5)) or not numbers for numbers in world.store.writes)


async def test_a_response_goes_on_without_a_store_and_is_written_when_it_is_back(world):
    world.store.is_away = True
    one = ScriptedResponse()
    await world.create(one)
    world.append_until(one, 5)
    assert world.mirror.degraded == 1
    await world.come_back()
    await wait_until(lambda: world.store.numbers(one.id) == list(range(6)))
    assert world.store.created == [(one.id, 1)]


async def test_a_whole_response_that_was_never_created_is_stored_when_the_store_is_back(world):
    world.store.is_away = True
    one = ScriptedResponse()
    await world.create(one)
    await world.finish(one)
    await world.come_back()
    await wait_until(lambda: is_whole(world, one))
    assert (await world.store.get(one.id, OWNER)).status == "completed"
    assert not world.mirror.tracks(one.id)


@pytest.mark.usefixtures("impatient")
async def test_no_caller_waits_for_a_store_that_hangs(world):
    one, gate = ScriptedResponse(), asyncio.Event()
    world.store.gates = [gate] * 100
    async with asyncio.timeout(HANG_SECONDS):
        await world.create(one)
        await world.finish(one)
        with pytest.raises(StoreUnavailable):
            await world.create(ScriptedResponse(background=True))
        assert not await world.mirror.release(one.id)
    gate.set()
    await wait_until(lambda: is_whole(world, one))


@pytest.mark.usefixtures("impatient")
async def test_a_running_response_is_given_back_to_no_store_that_hangs(world):
    one = ScriptedResponse(background=True)
    await world.create(one)
    await let_others_run()
    world.store.gates = [asyncio.Event()]
    async with asyncio.timeout(HANG_SECONDS):
        assert not await world.mirror.release(one.id)
    assert world.mirror.tracks(one.id)


@pytest.mark.catalogue("R24")
@pytest.mark.usefixtures("impatient")
async def test_a_creation_that_timed_out_but_happened_is_one_creation(world):
    one = ScriptedResponse()
    world.store.answers = [asyncio.Event()]
    await world.create(one)
    assert world.mirror.degraded == 1
    await world.written(one, 4)
    assert world.store.numbers(one.id) == list(range(5))
    assert one.notices == []


async def test_a_background_response_is_refused_while_the_store_is_away(world):
    world.store.is_away = True
    one = ScriptedResponse(background=True)
    with pytest.raises(StoreUnavailable):
        await world.create(one)
    assert not world.mirror.tracks(one.id)
    assert world.mirror.degraded == 0


async def test_a_refused_background_response_that_was_created_after_all_is_deleted(world):
    """Nothing else happens: no other call is needed for it to be deleted."""
    world.store.unanswered = 1
    one = ScriptedResponse(background=True)
    with pytest.raises(StoreUnavailable):
        await world.create(one)
    world.store.is_away = True
    await world.come_back()
    await wait_until(lambda: world.store.deleted == [one.id])
    assert await world.store.get(one.id, OWNER) is None
    world.clock.advance(100)
    assert await world.store.find_overdue() == []


async def test_a_refused_background_response_is_deleted_at_the_latest_by_the_drain():
    one, world = ScriptedResponse(background=True), World(MirrorTiming(end_waits=0))
    world.store.unanswered = 1
    with pytest.raises(StoreUnavailable):
        await world.create(one)
    await world.mirror.drain()
    assert world.store.deleted == [one.id]


async def test_a_background_response_whose_client_left_before_it_had_the_id_is_deleted(world):
    one = ScriptedResponse(background=True)
    world.store.answers = [asyncio.Event()]
    creation = asyncio.create_task(world.create(one))
    await wait_until(lambda: world.store.created)
    creation.cancel()
    await asyncio.gather(creation, return_exceptions=True)
    await wait_until(lambda: world.store.deleted == [one.id])


async def test_a_response_that_was_refused_while_it_was_created_is_deleted(world):
    """Its provider was slow to refuse it, and the store to answer: no server may take it over."""
    one = ScriptedResponse()
    world.store.answers = [asyncio.Event()]
    creation = asyncio.create_task(world.create(one))
    await wait_until(lambda: world.store.created)
    creation.cancel()
    await asyncio.gather(creation, return_exceptions=True)
    world.mirror.discard(one.id)
    await wait_until(lambda: world.store.deleted == [one.id])
    world.clock.advance(100)
    assert await world.store.find_overdue() == []


async def test_a_response_whose_creation_was_cancelled_and_made_again_stays(world):
    one = ScriptedResponse()
    world.store.answers = [asyncio.Event()]
    creation = asyncio.create_task(world.create(one))
    await wait_until(lambda: world.store.created)
    creation.cancel()
    await asyncio.gather(creation, return_exceptions=True)
    await world.create(one)
    await world.mirror.drain()
    assert world.store.deleted == []
    assert await world.store.get(one.id, one.record.owner) is not None


async def test_a_response_that_was_stored_before_it_was_refused_is_deleted(world):
    one = ScriptedResponse()
    await world.mirror.create(one.record, (), one.stream, one.listener(), is_promise=True)
    world.mirror.discard(one.id)
    await wait_until(lambda: world.store.deleted == [one.id])
    assert not world.mirror.tracks(one.id)


async def test_a_promise_that_cannot_be_stored_is_refused_and_deleted_later(world):
    one = ScriptedResponse()
    world.store.unanswered = 1
    with pytest.raises(StoreUnavailable):
        await world.mirror.create(one.record, (), one.stream, one.listener(), is_promise=True)
    await world.mirror.drain()
    assert world.store.deleted == [one.id]


async def test_what_a_response_begins_with_is_stored_before_its_stream_has_it(world):
    one = ScriptedResponse()
    await world.mirror.create(one.record, (), one.stream, one.listener(), is_promise=True)
    opening = one.events[:2]
    await world.mirror.append_opening(one.id, opening)
    snapshot = await world.store.get(one.id, one.record.owner)
    assert snapshot is not None
    assert (snapshot.number, one.stream.events) == (opening[-1].number, [])


async def test_a_store_that_is_away_gets_the_opening_later(world):
    one = ScriptedResponse()
    await world.mirror.create(one.record, (), one.stream, one.listener(), is_promise=True)
    world.store.is_away = True
    await world.mirror.append_opening(one.id, one.events[:2])
    one.stream.append(one.events[:2])
    world.store.is_away = False
    world.mirror.notify_appended(one.id)
    await world.mirror.drain()
    snapshot = await world.store.get(one.id, one.record.owner)
    assert snapshot is not None
    assert snapshot.number == 1


async def test_a_response_whose_id_no_client_has_is_discarded(world):
    world.store.is_away = True
    one = ScriptedResponse()
    await world.mirror.create(one.record, (), one.stream, one.listener())
    world.mirror.discard(one.id)
    await let_others_run()
    world.store.is_away = False
    world.clock.advance(RETRY_SECONDS)
    await let_others_run()
    assert world.store.created == []
    assert world.mirror.lag() == 0


# On the way


async def test_a_slow_store_makes_the_next_batch_larger_and_holds_up_no_writer(world):
    one, held = ScriptedResponse(), asyncio.Event()
    await world.create(one)
    await let_others_run()
    world.store.writes.clear()
    world.store.gates = [held]
    world.append_until(one, 2)
    await wait_until(lambda: world.store.writes)
    for number in range(3, 7):
        world.append_until(one, number)
        await asyncio.sleep(0)
    assert world.mirror.lag() == 5
    held.set()
    await wait_until(lambda: world.mirror.lag() == 0)
    assert world.store.writes == [[2], [3, 4, 5, 6]]


async def test_between_ticks_nothing_is_written_and_the_lag_counts_it(slow):
    one = ScriptedResponse()
    await slow.create(one)
    slow.append_until(one, 5)
    await let_others_run()
    assert slow.store.writes == []
    assert slow.mirror.lag() == 4


async def test_a_followed_response_is_written_at_once(slow):
    one, other = ScriptedResponse(), ScriptedResponse()
    await slow.create(one)
    await slow.create(other)
    slow.store.is_followed = True
    slow.append_until(one, 2)
    await slow.mirror.drain()
    slow.append_until(one, 3)
    await wait_until(lambda: slow.store.numbers(one.id) == [0, 1, 2, 3])


async def test_one_round_trip_serves_every_response(world):
    responses = [ScriptedResponse(), ScriptedResponse(), ScriptedResponse()]
    for one in responses:
        await world.create(one)
    await let_others_run()
    world.store.writes.clear()
    for one in responses:
        world.append_until(one, 3)
    await wait_until(lambda: world.mirror.lag() == 0)
    assert world.store.writes == [[2, 3]] * 3


async def test_a_write_that_failed_is_sent_again_though_no_event_is_new(world):
    one = ScriptedResponse()
    await world.create(one)
    await let_others_run()
    world.store.is_away = True
    world.append_until(one, 4)
    await wait_until(lambda: world.clock.sleepers)
    assert world.store.numbers(one.id) == [0, 1]
    await world.come_back()
    await wait_until(lambda: world.store.numbers(one.id) == list(range(5)))


async def test_an_answer_that_was_lost_does_no_harm(world):
    one = ScriptedResponse()
    await world.create(one)
    await let_others_run()
    world.store.unanswered = 1
    await world.written(one, 4)
    await world.come_back()
    await world.finish(one)
    assert is_whole(world, one)


async def test_one_that_cannot_be_created_holds_up_no_other(world):
    one, late, other = ScriptedResponse(), ScriptedResponse(), ScriptedResponse()
    world.store.refused = {one.id, late.id}
    for each in (one, late, other):
        await world.create(each)
    world.store.refused = {one.id}
    for number in range(2, 6):
        await wait_until(lambda: world.clock.sleepers)
        world.append_until(other, number)
        world.append_until(late, number)
        world.clock.advance(RETRY_SECONDS)
        await wait_until(lambda number=number: world.store.numbers(other.id)[-1:] == [number])
        await wait_until(lambda number=number: world.store.numbers(late.id)[-1:] == [number])
    await wait_until(lambda: world.clock.sleepers)
    world.store.refused = set()
    await world.come_back()
    await wait_until(lambda: world.store.numbers(one.id) == [0, 1])


async def test_a_bug_ends_one_round_and_not_all_mirroring(world):
    one = ScriptedResponse()
    await world.create(one)
    await let_others_run()
    world.store.broken = [RuntimeError("a bug")]
    world.append_until(one, 4)
    await world.come_back()
    await wait_until(lambda: world.store.numbers(one.id) == list(range(5)))


async def test_what_the_store_has_lost_of_a_log_is_sent_again(world):
    one = ScriptedResponse()
    await world.create(one)
    await world.written(one, 5)
    await let_others_run()
    world.store.lose_after(1, one.id)
    await world.written(one, 7)
    assert world.store.numbers(one.id) == list(range(8))


async def test_a_response_that_the_store_has_lost_is_written_again_under_a_higher_fence(world):
    one = ScriptedResponse()
    await world.create(one)
    await world.written(one, 5)
    await let_others_run()
    world.store.lose(one.id)
    await world.written(one, 6)
    assert world.store.created[-1] == (one.id, 2)
    assert world.store.numbers(one.id) == list(range(7))
    await world.finish(one)
    assert is_whole(world, one)
    assert one.notices == []


async def test_a_loss_that_only_a_renewal_finds_is_made_good_at_once(world):
    one, other = ScriptedResponse(), ScriptedResponse()
    await world.create(one)
    await world.create(other)
    await let_others_run()
    world.store.lose(one.id)
    world.clock.advance(5.0)
    world.append_until(other, 2)
    await wait_until(lambda: world.store.numbers(one.id) == [0, 1])


async def test_a_silent_response_that_is_lost_again_at_once_is_written_again(world):
    one = ScriptedResponse()
    await world.create(one)
    await let_others_run()
    world.store.verdicts = [Verdict.GONE, Verdict.GONE]
    await world.mirror.drain()
    await wait_until(lambda: world.store.created[-1] == (one.id, 3))


async def test_a_loss_that_the_end_finds_is_made_good_before_the_end_is_published(slow):
    one = ScriptedResponse()
    await slow.create(one)
    slow.store.lose(one.id)
    one.stream.append(one.events[2:-1])
    await slow.mirror.append_end(one.id, one.events[-1:])
    assert is_whole(slow, one)


async def test_a_write_from_before_a_loss_takes_nothing_away_from_its_own_writer(world):
    """Two writes are on their way, the store is emptied, the first one comes last."""
    one, held = ScriptedResponse(), asyncio.Event()
    await world.create(one)
    await let_others_run()
    world.store.gates = [held]
    world.append_until(one, 3)
    await wait_until(lambda: not world.store.gates)
    world.store.lose(one.id)
    one.stream.append(one.events[4:6])
    assert not await world.mirror.release("resp_unknown")
    await world.mirror.drain()  # another write at the same time: it finds the loss
    assert world.store.created[-1] == (one.id, 2)
    held.set()
    await let_others_run()
    assert one.notices == []
    await world.finish(one)
    assert is_whole(world, one)


# The lease


async def test_a_silent_response_keeps_its_lease(world):
    one, other = ScriptedResponse(), ScriptedResponse()
    await world.create(one)
    await world.create(other)
    await let_others_run()
    for number in range(2, 8):
        world.clock.advance(5.0)
        world.append_until(other, number)
        await wait_until(lambda number=number: world.store.numbers(other.id)[-1] == number)
        await wait_until(lambda: world.store.writes[-1] == [] or [] in world.store.writes)
        world.store.writes.clear()
        assert await world.store.find_overdue() == []
    assert one.notices == []


@pytest.mark.parametrize("verdict", [Verdict.FENCED, Verdict.ENDED])
async def test_a_writer_that_is_refused_is_notified_once_and_writes_no_more(world, verdict):
    one = ScriptedResponse()
    await world.create(one)
    await let_others_run()
    world.store.verdicts = [verdict]
    world.append_until(one, 4)
    await wait_until(lambda: one.notices == ["taken over"])
    world.store.writes.clear()
    world.append_until(one, 6)
    await world.finish(one)
    await let_others_run()
    assert world.store.writes == []
    assert one.notices == ["taken over"]
    assert world.mirror.lag() == 0


async def test_a_writer_that_was_away_for_too_long_is_refused_and_the_log_stays_as_it_was(world):
    one = ScriptedResponse()
    await world.create(one)
    await let_others_run()
    world.clock.advance(16.0)
    claim = await world.store.claim(one.id)
    assert claim.lease.fence == 2
    world.append_until(one, 6)
    await wait_until(lambda: one.notices == ["taken over"])
    assert world.store.numbers(one.id) == [0, 1]


async def test_a_cancel_on_another_server_comes_with_the_next_write(world):
    one = ScriptedResponse()
    await world.create(one)
    await let_others_run()
    await world.store.cancel(one.id, OWNER)
    world.append_until(one, 2)
    await wait_until(lambda: one.notices)
    assert one.notices[0] == "cancelled"


async def test_the_writer_sees_until_when_the_lease_is_held_and_what_the_next_flush_writes(slow):
    """It looks at attributes, and calls the mirror only where they say so."""
    one = ScriptedResponse()
    held = await slow.mirror.create(one.record, one.events[:2], one.stream, one.listener())
    begun = slow.clock.now()
    assert (held.valid_until, held.is_noted) == (begun + 15.0, True)
    one.append_until(2)
    slow.clock.advance(3.0)
    await slow.mirror.drain()
    assert (held.valid_until, held.is_noted) == (begun + 18.0, False)
    slow.append_until(one, 3)
    assert held.is_noted
    slow.mirror.mark_followed(one.id)
    assert not held.is_noted, "each event of it is written at once"
    slow.mirror.discard(one.id)
    assert held.valid_until == math.inf


async def test_a_lease_that_the_store_has_never_given_does_not_expire(slow):
    one = ScriptedResponse()
    slow.store.is_away = True
    held = await slow.mirror.create(one.record, one.events[:2], one.stream, one.listener())
    assert held.valid_until == math.inf
    slow.store.is_away = False
    one.append_until(1)
    await slow.mirror.drain()
    assert held.valid_until == slow.clock.now() + 15.0


async def test_a_released_response_is_written_and_can_be_claimed_at_once(slow):
    one = ScriptedResponse(background=True)
    await slow.create(one)
    slow.append_until(one, 4)
    assert await slow.mirror.release(one.id)
    assert await slow.store.find_overdue() == [one.id]
    claim = await slow.store.claim(one.id)
    assert [event.number for event in claim.events] == list(range(5))
    assert not slow.mirror.tracks(one.id)


async def test_what_the_store_does_not_have_is_not_given_back(slow):
    away = ScriptedResponse()
    slow.store.is_away = True
    await slow.create(away)
    assert not await slow.mirror.release(away.id)
    assert not await slow.mirror.release("resp_unknown")
    slow.store.is_away = False
    taken = ScriptedResponse()
    await slow.create(taken)
    slow.store.verdicts = [Verdict.FENCED]
    assert not await slow.mirror.release(taken.id)


async def test_a_claimed_response_continues_where_its_log_ends(world):
    one = ScriptedResponse()
    await world.store.create(one.record, one.events[:4])
    world.clock.advance(16.0)
    claim = await world.store.claim(one.id)
    one.append_until(3)
    world.mirror.resume(claim, one.stream, one.listener())
    await world.written(one, 6)
    assert [number for numbers in world.store.writes for number in numbers] == [4, 5, 6]
    await world.finish(one)
    assert is_whole(world, one)


async def test_the_providers_id_is_there_for_a_successor(world):
    one = ScriptedResponse()
    await world.create(one)
    world.mirror.set_upstream_id(one.id, "up_1")
    await let_others_run()
    world.clock.advance(16.0)
    assert (await world.store.claim(one.id)).upstream_id == "up_1"


async def test_the_providers_id_survives_a_loss(world):
    one = ScriptedResponse()
    await world.create(one)
    world.mirror.set_upstream_id(one.id, "up_1")
    await let_others_run()
    world.store.lose(one.id)
    await world.written(one, 3)
    await let_others_run()
    world.clock.advance(16.0)
    assert (await world.store.claim(one.id)).upstream_id == "up_1"


# The end


async def test_the_store_knows_the_end_before_the_stream_has_it(slow):
    one = ScriptedResponse()
    await slow.create(one)
    one.stream.append(one.events[2:-1])
    await slow.mirror.append_end(one.id, one.events[-1:])
    assert not one.stream.events[-1].is_terminal
    assert is_whole(slow, one)
    assert not slow.mirror.tracks(one.id)


async def test_with_the_end_the_whole_log_is_written_so_that_it_is_packed_tightly(slow):
    one = ScriptedResponse()
    await slow.create(one)
    await slow.finish(one)
    assert slow.store.writes == [list(range(len(one.events)))]


async def test_an_end_that_failed_reaches_the_store_later(world):
    one = ScriptedResponse()
    await world.create(one)
    await let_others_run()
    world.store.is_away = True
    await world.finish(one)
    assert world.store.numbers(one.id) == [0, 1]
    assert world.mirror.tracks(one.id)
    await world.come_back()
    await wait_until(lambda: is_whole(world, one))
    assert not world.mirror.tracks(one.id)


async def test_an_end_whose_answer_was_lost_is_one_end(world):
    one = ScriptedResponse()
    await world.create(one)
    await let_others_run()
    world.store.unanswered = 1
    await world.finish(one)
    assert is_whole(world, one)
    await wait_until(lambda: not world.mirror.tracks(one.id))
    assert is_whole(world, one)
    assert one.notices == []


@pytest.mark.parametrize("held", ["gates", "answers"])
async def test_an_end_overtakes_older_events_on_their_way(world, held):
    one, gate = ScriptedResponse(), asyncio.Event()
    await world.create(one)
    await let_others_run()
    getattr(world.store, held).append(gate)
    world.append_until(one, 4)
    await wait_until(lambda: not getattr(world.store, held))
    await world.finish(one)
    assert is_whole(world, one)
    gate.set()
    await let_others_run()
    assert is_whole(world, one)
    assert one.notices == []
    assert not world.mirror.tracks(one.id)


async def test_a_stream_that_closes_during_a_flush_is_tracked_no_more(world):
    """As when a response was handed over: there is no terminal event."""
    one, gate = ScriptedResponse(), asyncio.Event()
    await world.create(one)
    await let_others_run()
    world.store.gates = [gate]
    world.append_until(one, 4)
    await wait_until(lambda: not world.store.gates)
    one.stream.close()
    gate.set()
    await wait_until(lambda: not world.mirror.tracks(one.id))
    assert world.store.numbers(one.id) == list(range(5))


async def test_an_end_that_the_store_refuses_is_not_the_end(slow):
    """Another server has ended it: the caller learns that before it publishes the end."""
    one = ScriptedResponse()
    await slow.create(one)
    slow.store.verdicts = [Verdict.FENCED]
    assert not await slow.mirror.append_end(one.id, one.events[-1:])
    assert one.notices == ["taken over"]
    assert not await slow.mirror.append_end(one.id, one.events[-1:])


@asynccontextmanager
async def ending(world: World, response: ScriptedResponse) -> AsyncIterator[asyncio.Task[bool]]:
    """The response ends, and its end waits for a store that is away."""
    response.stream.append(response.events[len(response.stream.events) : -1])
    task = asyncio.create_task(world.mirror.append_end(response.id, response.events[-1:]))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def look_on(world: World, seconds: float) -> None:
    """Time passes in which this process runs."""
    for _ in range(round(seconds / CHECK_SECONDS)):
        world.clock.advance(CHECK_SECONDS)
        await let_others_run()


@pytest.fixture
async def patient() -> AsyncIterator[World]:
    """A world in which an end waits for the store, for ten seconds as usual."""
    async with flushing(MirrorTiming(flush=0.0)) as one:
        yield one


@pytest.mark.catalogue("A2")
async def test_an_end_waits_for_a_store_that_is_away_and_others_go_on(patient):
    one, other = ScriptedResponse(), ScriptedResponse()
    await patient.create(one)
    await patient.create(other)
    await let_others_run()
    patient.store.is_away = True
    async with ending(patient, one) as task:
        await look_on(patient, 8)
        assert not task.done()
        patient.append_until(other, 4)
        assert other.stream.events[-1].number == 4
        patient.store.is_away = False
        await look_on(patient, 0.5)
        assert await task
    assert is_whole(patient, one)
    assert (patient.mirror.unconfirmed, patient.mirror.contradicted) == (0, 0)


@pytest.mark.catalogue("A2")
async def test_after_its_wait_an_end_is_published_without_the_store_and_logged(patient, caplog):
    one = ScriptedResponse()
    await patient.create(one)
    await let_others_run()
    patient.store.is_away = True
    async with ending(patient, one) as task:
        await look_on(patient, 11)
        assert await task
    assert patient.mirror.unconfirmed == 1
    assert f"end_unconfirmed id={one.id}" in caplog.text
    patient.append_until(one, one.last)
    await patient.come_back()
    await wait_until(lambda: is_whole(patient, one))
    assert patient.mirror.contradicted == 0


async def test_a_forced_shutdown_waits_for_no_store(patient):
    one, other = ScriptedResponse(), ScriptedResponse()
    await patient.create(one)
    await patient.create(other)
    await let_others_run()
    patient.store.is_away = True
    async with ending(patient, one) as task:
        await look_on(patient, 1)
        patient.mirror.force_ends()
        assert await task
    async with ending(patient, other) as task:
        assert await task
    assert patient.mirror.unconfirmed == 2


@pytest.mark.catalogue("A2")
async def test_an_end_that_was_published_over_another_in_the_store_is_logged_as_contradicted(
    patient, caplog
):
    one = ScriptedResponse()
    await patient.create(one)
    await let_others_run()
    patient.store.is_away = True
    async with ending(patient, one) as task:
        await look_on(patient, 20)
        assert await task
    patient.append_until(one, one.last)
    claim = await patient.store.claim(one.id)
    await patient.store.end(claim)
    await patient.come_back()
    await wait_until(lambda: patient.mirror.contradicted)
    assert f"end_contradicted id={one.id}" in caplog.text
    assert (await patient.store.get(one.id, OWNER)).status == "failed"
    assert not patient.mirror.tracks(one.id)


@pytest.mark.catalogue("A1")
async def test_what_a_server_asked_before_it_stood_still_decides_nothing_afterwards(patient):
    """Its calls expire, as if the store were away; another server has ended the response."""
    one = ScriptedResponse()
    await patient.create(one)
    await let_others_run()
    patient.store.is_away = True
    async with ending(patient, one) as task:
        await look_on(patient, 9)
        patient.clock.advance(16.0)  # it stands still
        await patient.store.end(await patient.store.claim(one.id))
        await look_on(patient, 9)
        assert not task.done()
        patient.store.is_away = False
        await look_on(patient, 0.5)
        assert await task is False
    assert one.notices == ["taken over"]
    assert patient.mirror.unconfirmed == 0


@pytest.mark.catalogue("A1")
async def test_nor_does_what_it_asks_at_the_moment_of_waking(patient):
    """The first call fails at once; the end waits for an answer nevertheless."""
    one = ScriptedResponse()
    await patient.create(one)
    await let_others_run()
    patient.clock.advance(16.0)
    await patient.store.end(await patient.store.claim(one.id))
    patient.store.is_away = True
    async with ending(patient, one) as task:
        await wait_until(lambda: patient.clock.sleepers)
        patient.store.is_away = False
        await look_on(patient, 0.5)
        assert await task is False


@pytest.mark.catalogue("A2")
@pytest.mark.parametrize("verdict", [Verdict.GAP, Verdict.GONE])
async def test_an_end_that_the_store_did_not_take_yet_is_not_published_yet(patient, verdict):
    one = ScriptedResponse()
    await patient.create(one)
    await let_others_run()
    patient.store.verdicts = [verdict, verdict]
    async with ending(patient, one) as task:
        assert await task
    assert is_whole(patient, one)


async def test_a_drain_writes_everything_that_is_left():
    world, one, other = World(MirrorTiming(end_waits=0)), ScriptedResponse(), ScriptedResponse()
    await world.create(one)
    world.store.is_away = True
    await world.create(other)
    for each in (one, other):
        world.append_until(each, each.last)
    world.store.is_away = False
    await world.mirror.drain()
    assert is_whole(world, one)
    assert is_whole(world, other)
    assert world.mirror.lag() == 0


async def test_a_drain_that_fails_ends_and_the_lag_counts_what_is_left():
    world, one = World(MirrorTiming(end_waits=0)), ScriptedResponse()
    await world.create(one)
    world.append_until(one, one.last)
    world.store.is_away = True
    await world.mirror.drain()
    assert world.mirror.lag() == len(one.events) - 2


# The bound


def size(response: ScriptedResponse) -> int:
    return sum(len(event.text) for event in response.events)


@pytest.mark.catalogue("R5")
async def test_beyond_the_bound_what_has_finished_is_cut_first_and_its_log_declares_the_gap():
    done, running = ScriptedResponse(*["word "] * 50), ScriptedResponse(*["word "] * 50)
    async with flushing(
        MirrorTiming(end_waits=0, flush=0.0, backlog=int(1.5 * size(done)))
    ) as world:
        await world.create(done)
        await world.create(running)
        await let_others_run()
        world.store.is_away = True
        await world.finish(done)
        world.append_until(running, 40)
        await wait_until(lambda: world.clock.sleepers)
        assert world.mirror.cuts == 0
        world.append_until(running, running.last - 1)
        world.clock.advance(RETRY_SECONDS)
        await wait_until(lambda: world.mirror.cuts)
        await world.come_back()
        await wait_until(lambda: world.mirror.lag() == 0)
        assert declared_gaps(world.store.log(done.id)) == [(1, done.last - 1)]
        assert world.store.log(done.id)[-1] == done.events[-1]
        snapshot = await world.store.get(done.id, OWNER)
        assert snapshot.response == fold(done.events)
        assert world.store.log(running.id) == running.events[:-1]
        assert world.mirror.cuts == 1


async def test_a_running_response_is_cut_when_nothing_else_is_left_and_goes_on():
    one = ScriptedResponse(*["word "] * 50)
    async with flushing(MirrorTiming(end_waits=0, flush=0.0, backlog=size(one) // 3)) as world:
        await world.create(one)
        await let_others_run()
        world.store.is_away = True
        for number in (20, 40):
            world.append_until(one, number)
            await wait_until(lambda: world.clock.sleepers)
            world.clock.advance(RETRY_SECONDS)
            await let_others_run()
        assert world.mirror.cuts >= 1
        await world.come_back()
        await world.written(one, 50)
        [(after, gap_until)] = declared_gaps(world.store.log(one.id))
        assert (after, gap_until) == (1, 40)
        await world.finish(one)
        assert (await world.store.get(one.id, OWNER)).response == fold(one.events)


async def test_what_cannot_be_kept_even_so_is_dropped_last():
    one, running = ScriptedResponse(*["word "] * 50), ScriptedResponse()
    async with flushing(MirrorTiming(end_waits=0, flush=0.0, backlog=10)) as world:
        await world.create(one)
        await world.create(running)
        await let_others_run()
        world.store.is_away = True
        await world.finish(one)
        world.append_until(running, 4)
        await wait_until(lambda: world.clock.sleepers)
        world.clock.advance(RETRY_SECONDS)
        await wait_until(lambda: not world.mirror.tracks(one.id))
        assert world.mirror.tracks(running.id)
        await world.come_back()
        await world.written(running, 6)
        assert world.store.numbers(one.id) == [0, 1]


# Races


TINY, SMALL, AMPLE = 600, 12_000, 10**6  # bytes: less than the ends alone, than the logs, enough


@pytest.mark.parametrize("seed", range(150))
async def test_whatever_goes_wrong_the_log_is_contiguous_or_declares_its_gaps(seed):
    """Calls and answers are late or lost, the store forgets or memory gets short, in any order.

    Not both: what a store forgets while the bound is reached is more than the gap can know.
    """
    dice = random.Random(seed)  # noqa: S311 - to be repeated
    responses = [ScriptedResponse(*["word "] * dice.randint(1, 80)) for _ in range(3)]
    backlog = dice.choice([TINY, SMALL, AMPLE])
    async with flushing(MirrorTiming(end_waits=0, flush=0.0, renew=5.0, backlog=backlog)) as world:
        rough = Rough(world, dice, is_forgetful=backlog == AMPLE)
        await asyncio.gather(*(rough.live(one) for one in responses))
        world.store.trouble = 0.0
        await wait_until(lambda: rough.is_calm() or not any(map(world.mirror.tracks, rough.ids)))
        for one in responses:
            log = world.store.log(one.id)
            if log[-1:] != one.events[-1:]:
                assert backlog == TINY, "only what cannot be kept is dropped"
                continue
            declared_gaps(log)
            assert all("gap" in event.json() for event in log if event not in one.events)
            assert [event.is_terminal for event in log].count(True) == 1
            assert (await world.store.get(one.id, OWNER)).response == fold(one.events)
        assert all(one.notices == [] for one in responses)


class Rough:
    """Makes a world's store as bad as the dice decide, while responses are published."""

    def __init__(self, world: World, dice: random.Random, *, is_forgetful: bool) -> None:
        self.world, self.dice, self.is_forgetful = world, dice, is_forgetful
        self.ids: list[str] = []
        store = world.store
        store.trouble = dice.choice([0.0, 0.2, 0.6])
        store._reach = self.stumble
        store._answer = self.stumble

    async def stumble(self) -> None:
        for _ in range(self.dice.choice([0, 0, 1, 5, 20])):
            await asyncio.sleep(0)
        if self.dice.random() < self.world.store.trouble:
            raise StoreUnavailable

    async def live(self, one: ScriptedResponse) -> None:
        world, dice = self.world, self.dice
        self.ids.append(one.id)
        await world.create(one)
        while len(one.stream.events) < len(one.events) - 1:
            world.append_until(one, min(len(one.stream.events) + dice.randint(0, 3), one.last - 1))
            for _ in range(dice.choice([0, 1, 3, 30])):
                await asyncio.sleep(0)
            if dice.random() < 0.1:
                world.clock.advance(RETRY_SECONDS)
            if self.is_forgetful and dice.random() < 0.05:
                world.store.lose_after(dice.randint(0, one.last), one.id)
            if self.is_forgetful and dice.random() < 0.02:
                world.store.lose(one.id)
        await world.finish(one)

    def is_calm(self) -> bool:
        self.world.clock.advance(RETRY_SECONDS)
        return False


# Traces


async def test_a_flush_that_writes_no_event_of_a_sampled_create_has_no_span():
    """Leases are renewed every few seconds; one of the store's failures is a span with an error."""
    places = [TraceContext(f"00-{'1' * 32}-{digit * 16}-0{digit}") for digit in "123"]
    with Collector() as collector:
        traces = Traces(collector.url, worker=0, now=lambda: 0.0)
        timing = MirrorTiming(end_waits=0, flush=0.0, renew=5.0)
        async with flushing(timing, traces) as world:
            silent, unsampled, sampled = (ScriptedResponse() for _ in places)
            for response, trace in zip((silent, unsampled, sampled), places, strict=True):
                await world.create(response, trace=trace)
            await world.written(unsampled, 2)
            await wait_until(lambda: not world.mirror.lag())
            world.store.is_away = True
            world.clock.advance(6.0)  # the others' leases are renewed in the same flush
            world.append_until(sampled, 2)
            await world.come_back()
            await wait_until(lambda: world.store.numbers(sampled.id)[-1:] == [2])
        await traces.close()
        flushes = collector.named("mirror flush")
        assert {flush.links for flush in flushes} == {(("1" * 32, "3" * 16),)}
        assert [flush.is_error for flush in flushes] == [True, False]
        assert flushes[0].attributes["error.type"] == "StoreUnavailable"
