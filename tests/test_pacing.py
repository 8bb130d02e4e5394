"""Of many that come at once, one begins in each round of the loop."""

import asyncio

from support.hang import HANG_SECONDS

from ws_bridge.pacing import Pacer


class Rounds:
    """Counts the loop's rounds."""

    def __init__(self):
        self.count = 0
        self._tick()

    def _tick(self):
        self.count += 1
        self._handle = asyncio.get_running_loop().call_soon(self._tick)

    def stop(self):
        self._handle.cancel()


async def pass_through(pacer, rounds, passed, name):
    await pacer.wait_turn()
    passed.append((rounds.count, name))


async def test_one_a_round_in_the_order_they_came():
    pacer, rounds, passed = Pacer(), Rounds(), []
    await asyncio.gather(*(pass_through(pacer, rounds, passed, name) for name in range(50)))
    rounds.stop()
    assert [name for _, name in passed] == list(range(50))
    at = [count for count, _ in passed]
    assert len(set(at)) == 50
    assert at[-1] - at[0] < 60, "and no round is wasted"


async def test_who_comes_alone_waits_for_nothing():
    pacer, rounds, passed = Pacer(), Rounds(), []
    for name in range(3):
        now = rounds.count
        await pass_through(pacer, rounds, passed, name)
        assert passed[-1] == (now, name)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    rounds.stop()


async def test_who_gives_up_takes_nobodys_turn():
    pacer, rounds, passed = Pacer(), Rounds(), []
    comers = [asyncio.create_task(pass_through(pacer, rounds, passed, name)) for name in range(9)]
    await asyncio.sleep(0)
    for comer in comers[1::2]:
        comer.cancel()
    await asyncio.gather(*comers, return_exceptions=True)
    rounds.stop()
    assert [name for _, name in passed] == [0, 2, 4, 6, 8]
    await asyncio.wait_for(pacer.wait_turn(), HANG_SECONDS)
