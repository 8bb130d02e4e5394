"""How long a client that does not read is waited for."""

import asyncio

import pytest
from support.fake_clock import FakeClock, let_others_run

from ws_bridge.server.slow_consumer import CHECKS, SlowConsumer


class Held(asyncio.WriteTransport):
    """So many bytes wait, as the test says."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def get_write_buffer_size(self) -> int:
        return self.size


@pytest.fixture
def hands():
    return FakeClock()


@pytest.fixture
async def waiting(hands):
    """The transport, the patience with it, and how often its client was let go."""
    held, gone = Held(1000), []

    async def on_slow():
        gone.append(hands.time)

    slow_consumer = SlowConsumer(held, hands.clock(), 60.0, on_slow)
    yield held, slow_consumer, gone
    await slow_consumer.cancel()
    assert hands.sleepers == 0


async def turn(hands, looks):
    """So many looks, one after the other."""
    for _ in range(looks):
        await let_others_run()
        hands.advance(60.0 / CHECKS)
    await let_others_run()


async def test_a_client_that_takes_nothing_is_let_go_once(hands, waiting):
    _, slow_consumer, gone = waiting
    with slow_consumer:
        await turn(hands, CHECKS)
        assert gone == []
        await turn(hands, 2 * CHECKS)
    assert len(gone) == 1
    assert 60 <= gone[0] - 1000 <= 60 * 4 / 3


@pytest.mark.parametrize("taken", [1, 500])
async def test_a_client_that_takes_a_byte_now_and_then_has_time(hands, waiting, taken):
    held, slow_consumer, gone = waiting
    held.size = 1000 * taken
    with slow_consumer:
        for _ in range(20):
            await turn(hands, CHECKS - 1)
            held.size -= taken
    assert gone == []


async def test_more_to_read_is_no_sign_of_reading(hands, waiting):
    held, slow_consumer, gone = waiting
    with slow_consumer:
        for _ in range(2 * CHECKS):
            await turn(hands, 1)
            held.size += 10
    assert len(gone) == 1


async def test_who_came_through_has_all_the_time_again(hands, waiting):
    """However long it is all in all: each wait begins anew."""
    _, slow_consumer, gone = waiting
    for _ in range(5):
        with slow_consumer:
            await turn(hands, CHECKS - 1)
        await turn(hands, 1)
    assert gone == []


async def test_several_waits_are_one(hands, waiting):
    _, slow_consumer, gone = waiting
    with slow_consumer:
        for _ in range(2 * CHECKS):
            with slow_consumer:
                await turn(hands, 1)
    assert len(gone) == 1


async def test_while_nobody_waits_nobody_looks(hands, waiting):
    _, slow_consumer, gone = waiting
    assert hands.sleepers == 0
    with slow_consumer:
        await let_others_run()
        assert hands.sleepers == 1
    await turn(hands, 1)
    assert hands.sleepers == 0
    await turn(hands, 3 * CHECKS)
    assert gone == []
