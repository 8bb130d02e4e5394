"""Waiting for the store: as long as it answers any call."""

import asyncio

import pytest
from support.fake_clock import FakeClock, let_others_run

from ws_bridge.jobs import store_timeout
from ws_bridge.jobs.mirror import FlushSignal
from ws_bridge.jobs.store_timeout import CHECK_SECONDS, wait_until_settled, wait_while_answering


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    monkeypatch.setattr(store_timeout, "SILENCE_SECONDS", 0.04)
    monkeypatch.setattr(store_timeout, "LONGEST_SECONDS", 0.4)


class Slow:
    """A store that answers others all the time, and us in the end; or never."""

    def __init__(self, *, answers_others):
        self.count = 0
        self.is_over = False
        self._answers_others = answers_others

    def answers(self):
        self.count += self._answers_others
        return self.count

    async def answer(self, seconds):
        try:
            await asyncio.sleep(seconds)
            return "answer"
        finally:
            self.is_over = True


async def test_a_slow_store_is_waited_for():
    store = Slow(answers_others=True)
    assert await wait_while_answering(store.answers, store.answer(0.15)) == "answer"


async def test_a_silent_store_is_not():
    store = Slow(answers_others=False)
    with pytest.raises(TimeoutError):
        await wait_while_answering(store.answers, store.answer(30))
    assert store.is_over


async def test_no_call_is_waited_for_without_end():
    store = Slow(answers_others=True)
    with pytest.raises(TimeoutError):
        await wait_while_answering(store.answers, store.answer(30))
    assert store.is_over


async def test_what_the_step_raises_is_raised():
    async def fails():
        raise LookupError

    with pytest.raises(LookupError):
        await wait_while_answering(lambda: 0, fails())


async def test_a_cancelled_caller_leaves_no_step_behind():
    store = Slow(answers_others=True)
    task = asyncio.create_task(wait_while_answering(store.answers, store.answer(30)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.is_over


# An end, for a store that is away


class End:
    """An end that waits, with a fake clock; the test decides how old the lease is."""

    def __init__(self):
        self.clock = FakeClock()
        self.settled = asyncio.Event()
        self.renewed_at = self.clock.now()
        waiting = wait_until_settled(
            self.settled, self.clock.clock(), lambda: self.renewed_at, longest=2.0, lease=15.0
        )
        self.task = asyncio.create_task(waiting)

    async def pass_time(self, seconds):
        for _ in range(round(seconds / CHECK_SECONDS)):
            await let_others_run()
            self.clock.advance(CHECK_SECONDS)
        await let_others_run()

    async def stand_still(self, seconds):
        await let_others_run()
        self.clock.advance(seconds)
        await let_others_run()


@pytest.fixture
async def end():
    one = End()
    yield one
    one.task.cancel()
    await asyncio.gather(one.task, return_exceptions=True)


async def test_an_end_waits_so_long_and_no_longer(end):
    await end.pass_time(1.75)
    assert not end.task.done()
    await end.pass_time(0.25)
    assert end.task.done()


async def test_what_is_settled_is_not_waited_for(end):
    await end.pass_time(0.5)
    end.settled.set()
    await let_others_run()
    assert end.task.done()


async def test_standing_still_is_not_waiting(end):
    await end.stand_still(14.0)
    await end.pass_time(1.5)
    assert not end.task.done()
    await end.pass_time(0.25)
    assert end.task.done()


async def test_where_the_lease_may_have_expired_meanwhile_the_wait_starts_again(end):
    await end.pass_time(1.75)
    await end.stand_still(15.0)
    await end.pass_time(1.75)
    assert not end.task.done()
    await end.pass_time(0.25)
    assert end.task.done()


# Work for the flusher


@pytest.mark.parametrize("at_once", [True, False])
async def test_work_is_waited_for_and_is_done_then(at_once):
    work = FlushSignal()
    waits = asyncio.create_task(work.wait(None, 3600.0 if at_once else 0.0))
    await let_others_run()
    assert not waits.done()
    work.add(at_once=at_once)
    await waits
    await work.wait(0.0, 3600.0)  # there is none any more
