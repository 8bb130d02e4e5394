"""What is booked of a response, and how one that is not stored is booked before its end."""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence

import pytest
from support.fake_clock import FakeClock, FaultyStore, let_others_run, wait_until
from support.hang import HANG_SECONDS

from ws_bridge.jobs.usage import (
    RETRY_SECONDS,
    UsageRecorder,
    booking_of,
    nano_usd,
    usage_booking,
)
from ws_bridge.store.base import Record
from ws_bridge.store.ledger import MOST, Booking

USAGE = {
    "input_tokens": 30,
    "output_tokens": 20,
    "input_tokens_details": {"cached_tokens": 10},
    "output_tokens_details": {"reasoning_tokens": 5},
}
TOKENS = {"input_tokens": 30, "output_tokens": 20, "cached_tokens": 10, "reasoning_tokens": 5}
RECORD = Record("resp_1", "owner", (), "openai|", key_name="team", entry="gpt-*")
ONE = Booking("team", "gpt-*", {"completed": 1, "input_tokens": 3})


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = FaultyStore(self.clock.now)
        self.noted: list[Booking] = []
        self.recorder = UsageRecorder(self.store, self.clock.clock(), self.noted.append)

    async def booked(self, key: str = "team") -> Sequence[dict[str, int]]:
        return [dict(one.counts) for one in await self.store.read_usage(1, key)]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    one = World()
    running = asyncio.create_task(one.recorder.run())
    yield one
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_a_booking_has_the_end_the_tokens_and_the_cost():
    for status in ("completed", "incomplete", "failed", "cancelled"):
        booking = booking_of(RECORD, {"status": status, "usage": USAGE}, 0.0000123456789)
        counts = {status: 1} | TOKENS | {"nano_usd": 12_346}
        assert booking == Booking("team", "gpt-*", counts)


def test_an_end_without_usage_counts_as_a_response_alone():
    booking = booking_of(RECORD, {"status": "failed", "usage": None})
    assert booking == Booking("team", "gpt-*", {"failed": 1})


def test_a_response_of_an_earlier_release_is_booked_to_no_name():
    assert booking_of(Record("resp_1", "owner", (), "openai|"), {"status": "failed"}) is None


def test_a_compaction_is_no_response():
    counts = TOKENS | {"nano_usd": 2_000_000_000}
    assert usage_booking("team", "m", USAGE, 2.0) == Booking("team", "m", counts)


@pytest.mark.parametrize("cost", [None, math.nan, math.inf, -1.0])
def test_what_is_no_cost_books_none(cost):
    assert usage_booking("team", "m", {}, cost).counts == {}


def test_what_a_broken_provider_tells_is_bounded():
    assert usage_booking("team", "m", {"input_tokens": 2**70}, 1e300).counts == {
        "input_tokens": MOST,
        "nano_usd": MOST,
    }
    assert nano_usd(0.1 + 0.2) == 300_000_000


async def test_the_store_has_it_when_the_end_may_be_told(world):
    gate = asyncio.Event()
    world.store.gates.append(gate)
    booking = asyncio.create_task(world.recorder.book(ONE))
    await let_others_run()
    assert not booking.done()
    assert world.noted == [ONE]  # a budget knows it at once
    gate.set()
    async with asyncio.timeout(HANG_SECONDS):
        await booking
    assert await world.booked() == [ONE.counts]


async def test_a_store_that_is_away_holds_no_end_up_and_gets_it_later(world):
    world.store.is_away = True
    async with asyncio.timeout(HANG_SECONDS):
        await asyncio.gather(*(world.recorder.book(ONE) for _ in range(3)))
    assert world.recorder.unbooked() in (1, 2)  # sums, and not each of them
    world.store.is_away = False
    await wait_until(lambda: world.clock.sleepers)
    world.clock.advance(RETRY_SECONDS)
    await wait_until(lambda: not world.recorder.unbooked())
    assert await world.booked() == [{"completed": 3, "input_tokens": 9}]


async def test_an_answer_that_is_lost_books_nothing_twice(world):
    world.store.unanswered = 1
    async with asyncio.timeout(HANG_SECONDS):
        await world.recorder.book(ONE)  # one attempt
        await wait_until(lambda: world.clock.sleepers)
        later = asyncio.create_task(world.recorder.book(ONE))
        await let_others_run()
        assert not later.done()
        world.clock.advance(RETRY_SECONDS)
        await later
    assert await world.booked() == [{"completed": 2, "input_tokens": 6}]


async def test_the_drain_books_what_is_left(world):
    world.store.is_away = True
    await world.recorder.book(ONE)
    second = asyncio.create_task(world.recorder.book(ONE))
    await wait_until(lambda: world.clock.sleepers)
    world.clock.advance(RETRY_SECONDS)
    await second
    world.store.is_away = False
    await world.recorder.drain()
    assert await world.booked() == [{"completed": 2, "input_tokens": 6}]
