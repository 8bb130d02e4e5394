"""How long the live path waits for the store: as long as it shows signs of life, and no longer.

A store that gives no answer to anybody is away. One that answers others is slow, or this machine
is: to go on without it would only make servers disagree.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

PATIENCE_SECONDS = 0.7  # without any answer
LONGEST_SECONDS = 5.0
LOOKS = 4  # in the time of that patience

Outcome = TypeVar("Outcome")


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
