"""How long the live path waits for the store: as long as it shows signs of life, and no longer.

A store that gives no answer to anybody is away. One that answers others is slow, or this machine
is: to go on without it would only make servers disagree.

Rule: time in which this process stood still is no time in which the store was waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from ws_bridge.clock import Clock

PATIENCE_SECONDS = 0.7  # without any answer
LONGEST_SECONDS = 5.0
LOOKS = 4  # in the time of that patience
LOOK_SECONDS = 0.25  # how often it is seen whether this process stood still
STANDSTILL_SECONDS = 1.0  # a look that comes so late

Outcome = TypeVar("Outcome")


@dataclass(frozen=True, slots=True)
class MirrorTiming:
    """How often the store is written to, and how much it is waited for, in seconds and bytes."""

    flush: float = 0.025
    renew: float = 5.0  # a silent response's lease
    backlog: int = 256 * 2**20  # kept for a store that is away
    lease: float = 15.0
    end_waits: float = 10.0  # an end, for a store that is away


class FlushSignal:
    """Whether there is something to write, and whether somebody waits for it."""

    def __init__(self) -> None:
        self._is_there = asyncio.Event()
        self._is_urgent = asyncio.Event()

    def add(self, *, at_once: bool = False) -> None:
        """There is something to write."""
        self._is_there.set()
        if at_once:
            self._is_urgent.set()

    async def wait(self, longest: float | None, tick: float) -> None:
        """Until there is, and the rest of a tick, unless it is urgent; no longer than that."""
        try:
            async with asyncio.timeout(longest):
                await self._is_there.wait()
        except TimeoutError:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(tick):
                await self._is_urgent.wait()
        self._is_there.clear()
        self._is_urgent.clear()


async def while_it_answers(
    answers: Callable[[], int], step: Coroutine[Any, Any, Outcome]
) -> Outcome:
    """The step's outcome; ``answers`` counts what the store has answered to anybody.

    Raises ``TimeoutError``, and whatever the step raises; the step is over in any case.
    """
    task = asyncio.ensure_future(step)
    seen, silent, wait = answers(), 0, PATIENCE_SECONDS / LOOKS
    try:
        for _ in range(round(LONGEST_SECONDS / wait)):
            await asyncio.wait((task,), timeout=wait)
            if task.done():
                return task.result()
            silent = silent + 1 if answers() == seen else 0
            seen = answers()
            if silent >= LOOKS:
                break
        raise TimeoutError
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_settled(
    settled: asyncio.Event, clock: Clock, pace: MirrorTiming, renewed_at: Callable[[], float]
) -> None:
    """Return when the event is set, or when an end was waited for as long as it is.

    The time begins anew with a standstill after which the lease, renewed at that time, may have
    run out: the response may be another server's, and only the store knows.
    """
    left = most = pace.end_waits
    waiting = asyncio.ensure_future(settled.wait())
    try:
        while left > 0 and not settled.is_set():
            step, began = min(left, LOOK_SECONDS), clock.monotonic()
            look = asyncio.ensure_future(clock.sleep(step))
            await asyncio.wait((waiting, look), return_when=asyncio.FIRST_COMPLETED)
            look.cancel()
            await asyncio.gather(look, return_exceptions=True)
            now = clock.monotonic()
            is_late = now - began - step >= STANDSTILL_SECONDS
            left = most if is_late and now - renewed_at() >= pace.lease else left - step
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
