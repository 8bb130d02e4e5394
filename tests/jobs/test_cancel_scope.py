"""Whatever leaves a scope, or is requested meanwhile, is the reason of the response's end."""

import asyncio

import pytest

from ws_bridge.errors import BridgeError, RateLimited, ResponseTooLarge
from ws_bridge.jobs.cancel_scope import CancelScope
from ws_bridge.jobs.spec import EndReason


class Work:
    """A task that waits inside of a scope until the test opens its gate."""

    def __init__(self):
        self.scope = CancelScope("resp_1")
        self.gate = asyncio.Event()
        self.is_past = False
        self.task = asyncio.create_task(self._run())

    async def _run(self):
        with self.scope:
            self.scope.checkpoint()
            await self.gate.wait()
            self.is_past = True
        self.cancels_left = asyncio.current_task().cancelling()

    async def begun(self):
        await asyncio.sleep(0)
        return self


@pytest.mark.parametrize("reason", [EndReason.CANCELLED, ResponseTooLarge("large")])
async def test_a_request_cancels_the_task_and_is_the_reason(reason):
    work = await Work().begun()
    work.scope.request(reason)
    await work.task
    assert (work.scope.reason, work.is_past, work.cancels_left) == (reason, False, 0)


async def test_a_request_before_the_task_runs_lets_it_do_nothing():
    work = Work()
    work.scope.request(EndReason.INTERRUPTED)
    work.gate.set()
    await work.task
    assert (work.scope.reason, work.is_past) == (EndReason.INTERRUPTED, False)


async def test_work_that_is_done_has_no_reason():
    work = await Work().begun()
    work.gate.set()
    await work.task
    assert (work.scope.reason, work.is_past) == (None, True)


async def test_a_task_that_asks_for_its_own_end_is_not_cancelled():
    scope, is_past = CancelScope("resp_1"), False
    with scope:
        scope.request(EndReason.STEERED)
        await asyncio.sleep(0)
        is_past = True
    assert (scope.reason, is_past) == (EndReason.STEERED, True)


@pytest.mark.parametrize(
    ("first", "second", "stands"),
    [
        (EndReason.CANCELLED, EndReason.SHUTDOWN, EndReason.CANCELLED),
        (EndReason.SHUTDOWN, EndReason.CANCELLED, EndReason.SHUTDOWN),
        (EndReason.STEERED, EndReason.CANCELLED, EndReason.CANCELLED),
        (EndReason.STEERED, EndReason.TAKEN_OVER, EndReason.TAKEN_OVER),
        (EndReason.STEERED, EndReason.INTERRUPTED, EndReason.STEERED),
    ],
)
async def test_the_first_reason_stands_but_a_steer_gives_way_where_nothing_continues(
    first, second, stands
):
    scope = CancelScope("resp_1")
    scope.request(first)
    scope.request(second)
    assert scope.reason is stands


async def test_once_it_is_closed_nothing_is_cancelled():
    work = await Work().begun()
    work.scope.close()
    work.scope.request(EndReason.CANCELLED)
    work.scope.listener().taken_over()
    work.gate.set()
    await work.task
    assert (work.scope.reason, work.is_past) == (None, True)


async def test_what_the_store_calls_is_a_request():
    for call, reason in (("cancelled", EndReason.CANCELLED), ("taken_over", EndReason.TAKEN_OVER)):
        scope = CancelScope("resp_1")
        getattr(scope.listener(), call)()
        assert scope.reason is reason


async def test_the_process_going_down_is_a_shutdown():
    work = await Work().begun()
    work.task.cancel()
    await work.task
    assert work.scope.reason is EndReason.SHUTDOWN


async def test_an_error_is_the_reason_and_points_to_nothing_that_led_to_it():
    scope, error = CancelScope("resp_1"), RateLimited("Too many.")
    with scope:
        raise error
    assert scope.reason is error
    assert error.__traceback__ is None


async def test_a_bug_is_logged_and_its_message_reaches_no_client(caplog):
    scope = CancelScope("resp_1")
    with scope:
        raise LookupError("a bug")
    assert type(scope.reason) is BridgeError
    assert "job_crashed id=resp_1" in caplog.text
    assert "LookupError: a bug" in caplog.text


async def test_an_earlier_request_is_worth_more_than_an_error():
    scope = CancelScope("resp_1")
    with scope:
        scope.reason = EndReason.CANCELLED
        raise RateLimited("Too many.")
    assert scope.reason is EndReason.CANCELLED


async def test_what_ends_the_process_is_raised():
    with pytest.raises(SystemExit), CancelScope("resp_1"):
        raise SystemExit
