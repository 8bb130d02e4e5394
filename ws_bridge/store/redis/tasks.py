"""A store's own tasks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0


async def again_and_again(body: Callable[[], Awaitable[None]]) -> None:
    """Run a task of the store's own; a bug in it must not silence the store for good."""
    while True:
        try:
            return await body()
        except Exception:  # the edge of the task
            log.exception("store_task_crashed")
            await asyncio.sleep(PAUSE_SECONDS)
