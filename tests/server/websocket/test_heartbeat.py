"""One task for all sockets: pings and ages."""

import asyncio
import itertools
from collections import Counter

import pytest
from support.fake_clock import FakeClock, let_others_run

from ws_bridge.server.websocket.heartbeat import AT_ONCE, SLICES, Heartbeat

HOUR = 3600.0


class Socket:
    """Counts its visits."""

    def __init__(self) -> None:
        self.pings = 0
        self.retired = 0

    async def ping(self) -> None:
        self.pings += 1

    def retire(self) -> None:
        self.retired += 1


@pytest.fixture
async def heartbeat():
    """Rounds that run, and the clock they run by."""
    hands = FakeClock()
    heartbeat = Heartbeat(hands.clock(), HOUR)
    running = asyncio.create_task(heartbeat.run())
    yield hands, heartbeat
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def turn(hands, seconds):
    for _ in range(seconds):
        await let_others_run()
        hands.advance(1)
    await let_others_run()


@pytest.mark.parametrize("count", [1, SLICES - 1, SLICES, 10 * SLICES + 1])
async def test_every_socket_is_pinged_once_a_round_however_many_came_at_once(heartbeat, count):
    hands, through = heartbeat
    sockets = [Socket() for _ in range(count)]
    for socket in sockets:
        through.add(socket)
    for done in range(1, 4):
        await turn(hands, SLICES)
        assert Counter(socket.pings for socket in sockets) == {done: count}


async def test_the_pings_of_many_that_came_at_once_are_spread(heartbeat):
    hands, through = heartbeat
    sockets = [Socket() for _ in range(1000)]
    for socket in sockets:
        through.add(socket)
    before = 0
    for _ in range(SLICES):
        await turn(hands, 1)
        pinged = sum(socket.pings for socket in sockets)
        assert pinged - before == 1000 / SLICES
        before = pinged


async def test_between_many_pings_others_have_a_turn(heartbeat):
    hands, through = heartbeat
    sockets = [Socket() for _ in range(10 * AT_ONCE * SLICES)]
    for socket in sockets:
        through.add(socket)
    await let_others_run()
    seen = [0]
    hands.advance(1)
    while seen[-1] < 10 * AT_ONCE:
        await asyncio.sleep(0)
        seen.append(sum(socket.pings for socket in sockets))
    assert max(now - then for then, now in itertools.pairwise(seen)) <= AT_ONCE


async def test_a_socket_that_has_gone_is_visited_no_more(heartbeat):
    hands, through = heartbeat
    gone, stays = Socket(), Socket()
    through.add(gone)
    through.add(stays)
    await turn(hands, SLICES)
    through.discard(gone)
    through.discard(gone)
    await turn(hands, 2 * SLICES)
    assert (gone.pings, stays.pings) == (1, 3)
    hands.advance(HOUR)
    await turn(hands, 2)
    assert (gone.retired, stays.retired) == (0, 1)


@pytest.mark.catalogue("C19")
async def test_a_socket_retires_once_at_its_age_and_not_before(heartbeat):
    hands, through = heartbeat
    first, second = Socket(), Socket()
    through.add(first)
    await turn(hands, 2)
    through.add(second)
    hands.advance(HOUR - 3)
    await turn(hands, 0)
    assert (first.retired, second.retired) == (0, 0)
    await turn(hands, 1)
    assert (first.retired, second.retired) == (1, 0)
    await turn(hands, 2)
    assert (first.retired, second.retired) == (1, 1)
    await turn(hands, SLICES)
    assert (first.retired, second.retired) == (1, 1)
    assert first.pings > 0  # its last turn may take a while
