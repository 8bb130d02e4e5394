"""How long the live path waits for the store: as long as it shows signs of life, and no longer.

A store that gives no answer to anybody is away. One that answers others is slow, or this machine
is: to go on without it would only make servers disagree.

Rule: time in which this process stood still is no time in which the store was waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ws_bridge.clock import Clock

SILENCE_SECONDS = 0.7  # without any answer
LONGEST_SECONDS = 5.0
CHECKS = 4  # in the time of that patience
CHECK_SECONDS = 0.25  # how often it is seen whether this process stood still
STANDSTILL_SECONDS = 1.0  # a look that comes so late

Outcome = TypeVar("Outcome")


async def wait_while_answering(
    answers: Callable[[], int], step: Coroutine[Any, Any, Outcome]
) -> Outcome:
    """The step's outcome; ``answers`` counts what the store has answered to anybody.

    Raises ``TimeoutError``, and whatever the step raises; the step is over in any case.
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
    """Return when the event is set, or when an end was waited for as long as it is.

    The time begins anew with a standstill after which the lease, renewed at that time, may have
    run out: the response may be another server's, and only the store knows.
    """
    left = longest
    waiting = asyncio.ensure_future(settled.wait())
    try:
        while left > 0 and not settled.is_set():
            step, began = min(left, CHECK_SECONDS), clock.monotonic()
            look = asyncio.ensure_future(clock.sleep(step))
            await asyncio.wait((waiting, look), return_when=asyncio.FIRST_COMPLETED)
            look.cancel()
            await asyncio.gather(look, return_exceptions=True)
            now = clock.monotonic()
            is_late = now - began - step >= STANDSTILL_SECONDS
            left = longest if is_late and now - renewed_at() >= lease else left - step
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
