"""A process that stood still is not told by its expired calls that the store is away."""

import asyncio
import time

import pytest
from redis.exceptions import ConnectionError as Lost
from store.contract import append, collect, events_of, record
from store.opened import opened
from support.tcp_proxy import Proxy

from ws_bridge.errors import StoreUnavailable
from ws_bridge.store.redis.connect import CALL_SECONDS
from ws_bridge.store.redis.scripts import (
    BEAT_SECONDS,
    LATE_SECONDS,
    READ,
    Scripts,
    StandstillDetector,
)

LONG = BEAT_SECONDS + LATE_SECONDS + 0.01


class Hand:
    """A clock turned by hand; whoever sleeps on it sleeps until the test wakes it."""

    def __init__(self):
        self.now = 100.0
        self.woken = asyncio.Event()

    def __call__(self):
        return self.now

    async def sleep(self, _seconds):
        await self.woken.wait()
        self.woken.clear()

    async def beats(self):
        self.woken.set()
        while self.woken.is_set():  # noqa: ASYNC110 - of the task that beats
            await asyncio.sleep(0)


@pytest.fixture
async def hand():
    return Hand()


@pytest.fixture
async def detector(hand):
    one = StandstillDetector(hand, hand.sleep)
    task = asyncio.create_task(one.run())
    await asyncio.sleep(0)
    yield one
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_beats_in_time_are_no_standstill(detector, hand):
    for _ in range(20):
        hand.now += BEAT_SECONDS + LATE_SECONDS
        await hand.beats()
    assert not detector.stood_still_since(100.0)


async def test_a_late_beat_is_one_for_all_that_was_under_way(detector, hand):
    hand.now += LONG
    await hand.beats()
    assert detector.stood_still_since(100.0)
    hand.now += 0.1
    assert detector.stood_still_since(100.0)
    assert not detector.stood_still_since(hand.now)


async def test_it_is_known_before_the_late_beat(detector, hand):
    """Whoever finds a timeout expired may come first."""
    hand.now += LONG
    assert detector.stood_still_since(100.0)


def test_without_beats_nothing_is_known():
    hand = Hand()
    detector = StandstillDetector(hand)
    hand.now += 3600
    assert not detector.stood_still_since(0.0)


class Server:
    """A client whose next calls fail, each after something has happened."""

    connection_pool = None

    def __init__(self, *happens):
        self.happens = list(happens)
        self.asked = 0

    async def execute_command(self, *_command):
        self.asked += 1
        if self.happens:
            self.happens.pop(0)()
            raise Lost
        return "yes"


@pytest.mark.catalogue("A1")
async def test_a_call_that_fails_over_a_standstill_is_made_again_and_counts_for_nothing(hand):
    def stands_still():
        hand.now += LONG

    server = Server(stands_still, stands_still)  # the second: the same call on a new connection
    backs = []
    made = Scripts(server, hand, lambda: backs.append(hand.now))
    made.breaker.record_success()
    made.standstill._beat()
    assert await made.call(READ, ()) == "yes"
    assert made.breaker.failures == 0
    assert len(backs) == 2  # each time: the store may have been away too
    server.happens = [lambda: None]
    with pytest.raises(StoreUnavailable):
        await made.call(READ, ())
    assert made.breaker.failures == 1


@pytest.mark.catalogue("A1")
async def test_after_a_standstill_a_store_that_answers_is_not_away(valkey):
    """Real connections: answers are on their way, and every timeout has expired."""
    async with Proxy(valkey.port) as line, opened(f"redis://127.0.0.1:{line.port}") as store:
        kept = [record() for _ in range(20)]
        for one in kept:
            await store.create(one, events_of(one)[:2])
        writing = [asyncio.create_task(append(store, one, events_of(one)[2:])) for one in kept]
        line.freeze()
        while line.bytes_up == 0 or store.scripts._free._value > 12:  # noqa: ASYNC110 - they are sent
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        line.thaw()
        time.sleep(CALL_SECONDS + 0.5)  # noqa: ASYNC251 - the process stands still: the proxy too
        await asyncio.gather(*writing)
        assert store.scripts.breaker.failures == 0
        assert store.is_available()
        for one in kept:
            assert await collect(store, one) == events_of(one)
