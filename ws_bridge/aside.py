"""Work that would hold up the event loop is done beside it, in a thread.

Rule 1: what is light is done at once: a thread costs more than it.
Rule 2: work is a function of values that nobody changes meanwhile; it touches nothing of the loop.
Rule 3: one piece at a time: the loop shares the interpreter with one thread, not with many.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

HEAVY = 1000  # items, tools or other values; each takes some microseconds, several times
HEAVY_BYTES = 256 * 1024

_beside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="aside")


async def aside(work: Callable[[], T], *, values: int = 0, size: int = 0) -> T:
    """What the work returns or raises; ``values`` or bytes of ``size`` say how heavy it is."""
    if values < HEAVY and size < HEAVY_BYTES:
        return work()
    return await asyncio.get_running_loop().run_in_executor(_beside, work)
