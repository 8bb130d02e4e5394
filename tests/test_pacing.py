"""Of many that start at once, one begins in each round of the loop; heavy work runs beside it."""

import asyncio
import gc
import threading

import pytest
from support.hang import HANG_SECONDS

from ws_bridge.pacing import HEAVY, HEAVY_BYTES, Pacer, aside, counted, first_of


class LoopCounter:
    """Counts the rounds of the event loop."""

    def __init__(self):
        self.count = 0
        self._tick()

    def _tick(self):
        self.count += 1
        self._handle = asyncio.get_running_loop().call_soon(self._tick)

    def stop(self):
        self._handle.cancel()


async def pass_through(pacer, ticks, passed, name):
    await pacer.wait_turn()
    passed.append((ticks.count, name))


async def test_one_a_round_in_the_order_they_came():
    pacer, ticks, passed = Pacer(), LoopCounter(), []
    await asyncio.gather(*(pass_through(pacer, ticks, passed, name) for name in range(50)))
    ticks.stop()
    assert [name for _, name in passed] == list(range(50))
    at = [count for count, _ in passed]
    assert len(set(at)) == 50
    assert at[-1] - at[0] < 60, "and no round is wasted"


async def test_a_caller_that_comes_alone_waits_for_nothing():
    pacer, ticks, passed = Pacer(), LoopCounter(), []
    for name in range(3):
        now = ticks.count
        await pass_through(pacer, ticks, passed, name)
        assert passed[-1] == (now, name)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    ticks.stop()


async def test_a_caller_that_gives_up_takes_no_turn():
    pacer, ticks, passed = Pacer(), LoopCounter(), []
    comers = [asyncio.create_task(pass_through(pacer, ticks, passed, name)) for name in range(9)]
    await asyncio.sleep(0)
    for comer in comers[1::2]:
        comer.cancel()
    await asyncio.gather(*comers, return_exceptions=True)
    ticks.stop()
    assert [name for _, name in passed] == [0, 2, 4, 6, 8]
    await asyncio.wait_for(pacer.wait_turn(), HANG_SECONDS)


# Beside the loop


@pytest.mark.parametrize("weight", [{}, {"values": HEAVY - 1}, {"size": HEAVY_BYTES - 1}])
async def test_light_work_is_done_where_it_is(weight):
    assert await aside(threading.current_thread, **weight) is threading.current_thread()


@pytest.mark.parametrize("weight", [{"values": HEAVY}, {"size": HEAVY_BYTES}])
async def test_the_loop_goes_on_beside_heavy_work(weight):
    """It is the loop that lets the work end: it would hang if the loop waited for it."""
    gate = threading.Event()
    working = asyncio.create_task(aside(lambda: gate.wait(60), **weight))
    await asyncio.sleep(0)
    assert not working.done()
    gate.set()
    assert await working


async def test_one_piece_is_done_after_the_other():
    order = []
    gate = threading.Event()

    def first():
        gate.wait(60)
        order.append("first")

    works = [aside(first, values=HEAVY), aside(lambda: order.append("second"), values=HEAVY)]
    working = [asyncio.create_task(work) for work in works]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*working)
    assert order == ["first", "second"]


async def test_what_it_raises_is_raised():
    for values in (0, HEAVY):
        with pytest.raises(ZeroDivisionError):
            await aside(lambda: 1 // 0, values=values)


async def test_what_takes_seconds_is_one_at_a_time_and_nothing_quick_waits_for_it():
    gate = threading.Event()
    order = []
    long = asyncio.create_task(counted(lambda: gate.wait(60), size=HEAVY_BYTES))
    last = asyncio.create_task(counted(lambda: order.append("long"), size=HEAVY_BYTES))
    await counted(lambda: order.append("short"), size=HEAVY_BYTES - 1)
    await aside(lambda: order.append("heavy"), values=HEAVY)
    gate.set()
    assert await long
    await last
    assert order == ["short", "heavy", "long"]


async def test_heavy_work_is_not_interrupted_by_the_garbage_collector():
    """And what it leaves behind is looked at in its thread, before the loop goes on."""
    passes = []

    def note(phase, info):
        if phase == "start":
            passes.append((threading.current_thread().name, info["generation"]))

    thresholds = gc.get_threshold()
    gc.callbacks.append(note)
    gc.set_threshold(80_000)  # so that a pass would come amid the work
    try:
        made = await aside(lambda: [[] for _ in range(90_000)], values=HEAVY)
        assert gc.isenabled()
        left = gc.get_count()[0]
    finally:
        gc.callbacks.remove(note)
        gc.set_threshold(*thresholds)
    assert [generation for name, generation in passes if "aside" in name] == [0]
    assert left < len(made) // 2


async def test_of_work_that_fails_the_collector_is_on_again():
    with pytest.raises(ZeroDivisionError):
        await aside(lambda: 1 / 0, values=HEAVY)
    assert gc.isenabled()


async def test_the_first_that_is_over_ends_the_wait_and_the_others():
    ended = []

    async def for_ever():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    await first_of(for_ever(), asyncio.sleep(0), for_ever())
    assert ended == ["cancelled"] * 2
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_what_the_first_one_raises_is_raised():
    async def fails():
        raise LookupError

    with pytest.raises(LookupError):
        await first_of(asyncio.Event().wait(), fails())
    assert asyncio.all_tasks() == {asyncio.current_task()}
