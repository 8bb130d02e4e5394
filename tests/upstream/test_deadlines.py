"""The watch: waiting is limited, and nothing but waiting."""

import asyncio

import pytest

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.deadlines import Deadlines

FOREVER = 3600


async def forever():
    await asyncio.Event().wait()


@pytest.mark.parametrize(("life", "silence"), [(0.01, FOREVER), (FOREVER, 0.01), (0, 0)])
async def test_a_wait_ends_at_either_limit(life, silence):
    deadlines = Deadlines(life, silence)
    with pytest.raises(UpstreamError) as over, deadlines:
        await forever()
    assert (over.value.status, over.value.code) == (504, "upstream_timeout")
    assert asyncio.current_task().cancelling() == 0
    deadlines.cancel()


async def test_a_limit_holds_when_a_layer_below_hides_the_cancellation():
    async def hides():
        try:
            await forever()
        except asyncio.CancelledError:
            raise ValueError from None

    deadlines = Deadlines(FOREVER, 0.01)
    with pytest.raises(UpstreamError), deadlines:
        await hides()


async def test_a_cancellation_of_others_goes_through():
    started = asyncio.Event()

    async def waits():
        deadlines = Deadlines(FOREVER, FOREVER)
        with deadlines:
            started.set()
            await forever()

    task = asyncio.create_task(waits())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_other_errors_go_through():
    deadlines = Deadlines(FOREVER, FOREVER)
    with pytest.raises(KeyError), deadlines:
        raise KeyError
    deadlines.cancel()


async def test_what_happens_between_waits_is_not_limited():
    deadlines = Deadlines(FOREVER, 0.01)
    with deadlines:
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    deadlines.record_activity()
    with deadlines:
        await asyncio.sleep(0)
    deadlines.cancel()


async def test_a_stopped_watch_leaves_nothing_behind():
    deadlines = Deadlines(FOREVER, FOREVER)
    with deadlines:
        await asyncio.sleep(0)
    deadlines.cancel()
    deadlines.cancel()
    assert deadlines._timer is None


async def quick_read(deadlines, wait):
    """As an answer reads: attributes around the wait, and no call."""
    deadlines.waiting = asyncio.current_task()
    try:
        await wait()
    except BaseException as error:  # noqa: BLE001 - raised as what it is
        raise deadlines.cause_of(error) from None
    deadlines.waiting = None


async def watched(silence):
    """Deadlines whose timer runs: the first wait is over."""
    deadlines = Deadlines(FOREVER, silence)
    with deadlines:
        await asyncio.sleep(0)
    return deadlines


async def test_a_quick_read_ends_at_the_limit_too():
    deadlines = await watched(0.01)
    with pytest.raises(UpstreamError) as over:
        await quick_read(deadlines, forever)
    assert over.value.code == "upstream_timeout"
    assert (asyncio.current_task().cancelling(), deadlines.waiting) == (0, None)
    deadlines.cancel()


async def test_a_reader_that_is_busy_while_a_limit_is_over_is_looked_at_again(monkeypatch):
    monkeypatch.setattr("ws_bridge.upstream.deadlines.LOOK_SECONDS", 0.001)
    deadlines = await watched(0.01)
    await asyncio.sleep(0.03)
    assert asyncio.current_task().cancelling() == 0
    with pytest.raises(UpstreamError):
        await quick_read(deadlines, forever)
    deadlines.cancel()


async def test_a_cancellation_of_others_during_a_quick_read_goes_through():
    started = asyncio.Event()

    async def waits():
        deadlines = await watched(FOREVER)
        started.set()
        try:
            await quick_read(deadlines, forever)
        finally:
            deadlines.cancel()

    task = asyncio.create_task(waits())
    await started.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_a_quick_read_goes_through():
    async def fails():
        raise KeyError

    deadlines = await watched(FOREVER)
    with pytest.raises(KeyError):
        await quick_read(deadlines, fails)
    assert deadlines.waiting is None
    deadlines.cancel()
