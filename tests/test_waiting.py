"""Waiting for the store: as long as it shows signs of life."""

import asyncio

import pytest

from ws_bridge import waiting
from ws_bridge.waiting import while_it_answers


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    monkeypatch.setattr(waiting, "PATIENCE_SECONDS", 0.04)
    monkeypatch.setattr(waiting, "LONGEST_SECONDS", 0.4)


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
    assert await while_it_answers(store.answers, store.answer(0.15)) == "answer"


async def test_a_silent_store_is_not():
    store = Slow(answers_others=False)
    with pytest.raises(TimeoutError):
        await while_it_answers(store.answers, store.answer(30))
    assert store.is_over


async def test_nobody_waits_for_ever():
    store = Slow(answers_others=True)
    with pytest.raises(TimeoutError):
        await while_it_answers(store.answers, store.answer(30))
    assert store.is_over


async def test_what_goes_wrong_is_told():
    async def fails():
        raise LookupError

    with pytest.raises(LookupError):
        await while_it_answers(lambda: 0, fails())


async def test_whoever_is_cancelled_leaves_nothing_behind():
    store = Slow(answers_others=True)
    task = asyncio.create_task(while_it_answers(store.answers, store.answer(30)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.is_over
