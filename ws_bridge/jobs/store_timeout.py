"""How long the live path waits for the store: as long as it answers any call, and no longer.

A store that answers no call at all is away. One that answers others is slow, or this machine is: to
continue without it would only make servers disagree.

Rule: time in which this process stood still is no time in which the store was waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ws_bridge.clock import Clock

SILENCE_SECONDS = 0.7  # without any answer the store is away
LONGEST_SECONDS = 5.0  # for one call, even if the store answers others
CHECKS = 4  # in SILENCE_SECONDS: whether an answer has come
CHECK_SECONDS = 0.25  # between two checks whether this process stood still
STANDSTILL_SECONDS = 1.0  # a check that is so late was held up by one

StepResult = TypeVar("StepResult")


async def wait_while_answering(
    answers: Callable[[], int], step: Coroutine[Any, Any, StepResult]
) -> StepResult:
    """The step's outcome; ``answers`` counts the store's answers to all calls of this process.

    Raises ``TimeoutError``, and what the step raises; the step is over in any case.
    """
    task = asyncio.ensure_future(step)
    seen, silent, wait = answers(), 0, SILENCE_SECONDS / CHECKS
    try:
        for _ in range(round(LONGEST_SECONDS / wait)):
            await asyncio.wait((task,), timeout=wait)
            if task.done():
                return task.result()
            silent = silent + 1 if answers() == seen else 0
            seen = answers()
            if silent >= CHECKS:
                break
        raise TimeoutError
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def wait_until_settled(
    settled: asyncio.Event,
    clock: Clock,
    renewed_at: Callable[[], float],
    *,
    longest: float,
    lease: float,
) -> None:
    """Return when the event is set, or after ``longest`` seconds in which this process ran.

    The time starts again after a standstill in which the lease (its seconds, and when it was
    renewed) may have expired: another server may have the response, and only the store knows.
    """
    left = longest
    waiting = asyncio.ensure_future(settled.wait())
    try:
        while left > 0 and not settled.is_set():
            step, began = min(left, CHECK_SECONDS), clock.monotonic()
            sleeping = asyncio.ensure_future(clock.sleep(step))
            await asyncio.wait((waiting, sleeping), return_when=asyncio.FIRST_COMPLETED)
            sleeping.cancel()
            await asyncio.gather(sleeping, return_exceptions=True)
            now = clock.monotonic()
            is_late = now - began - step >= STANDSTILL_SECONDS
            left = longest if is_late and now - renewed_at() >= lease else left - step
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
