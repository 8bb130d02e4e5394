"""What is heavy is done beside the loop, one piece at a time; what is light at once."""

import asyncio
import threading

import pytest

from ws_bridge.pacing import HEAVY, HEAVY_BYTES, aside


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
