"""The timer of keys that expire, with a clock that is turned by hand."""

import asyncio
from contextlib import suppress

import pytest
from support.fake_clock import FakeClock

from ws_bridge.clock import Clock
from ws_bridge.pacing import cancel_all
from ws_bridge.server.key_expiry import LOOK_SECONDS, KeyExpiry


class Played:
    """A timer whose expiries stand in a list; each is over when it has come."""

    def __init__(self, *times):
        self.clock, self.times, self.closed = FakeClock(), list(times), []
        self.expiry = KeyExpiry(self.clock.clock(), self.next, self.close)

    def next(self):
        return min((one for one in self.times if one > self.clock.now()), default=None)

    def close(self):
        self.closed.append(self.clock.now())

    async def advance(self, seconds):
        self.clock.advance(seconds)
        for _ in range(10):
            await asyncio.sleep(0)


@pytest.fixture
async def play():
    tasks = []

    async def begin(*times):
        played = Played(*times)
        tasks.append(asyncio.create_task(played.expiry.run()))
        await played.advance(0)
        return played

    yield begin
    await cancel_all(*tasks)


async def test_it_closes_at_each_expiry_and_not_before(play):
    played = await play(1010.0, 1030.0)
    await played.advance(9.5)
    assert played.closed == []
    await played.advance(0.5)
    assert played.closed == [1010.0]
    await played.advance(20)
    assert played.closed == [1010.0, 1030.0]
    assert played.clock.sleepers == 0  # nothing more expires


async def test_a_time_that_was_set_forward_is_seen_within_a_minute(play):
    played = await play(100_000.0)
    clock, (slept, _) = played.clock, played.clock._asleep[0]
    assert slept == 1000.0 + LOOK_SECONDS
    clock.time = 100_000.0
    await played.advance(0)
    assert played.closed == [100_000.0]


async def test_it_looks_again_when_keys_change(play):
    played = await play()
    assert played.clock.sleepers == 0
    played.times.append(1001.0)
    played.expiry.changed()
    await played.advance(0)
    await played.advance(1)
    assert played.closed == [1001.0]


async def test_it_can_be_ended_in_its_sleep():
    waits = asyncio.Event()

    async def sleep(_seconds):
        waits.set()
        await asyncio.Event().wait()

    timer = KeyExpiry(Clock(wall=lambda: 0.0, sleep=sleep), lambda: 5.0, lambda: None)
    task = asyncio.create_task(timer.run())
    await waits.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == {asyncio.current_task()}
