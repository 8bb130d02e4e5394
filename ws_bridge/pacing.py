"""How the event loop stays responsive: costly starts take turns, heavy work runs in a thread.

Beginning a response costs milliseconds in one piece. Two hundred that begin at once would hold the
event loop for all of that time, and running streams would stall. `Pacer` lets one through in
each round of the loop.

Work of many milliseconds (counting tokens, adapting a long history, unpacking) runs in one thread
beside the loop, by `aside`. Rule 1: light work is done at once, as a thread costs more than it.
Rule 2: such work is a function of values that nothing changes meanwhile. Rule 3: one piece at a
time: the loop shares the interpreter with one thread, not with many. A count of tokens of a large
text takes seconds, and leaves the interpreter free for most of them: `counted` has another thread
for those, so that quick work never waits for one.
"""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

HEAVY = 1000  # items, tools or other values; each takes some microseconds, several times
HEAVY_BYTES = 256 * 1024

_beside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="aside")
_counting = ThreadPoolExecutor(max_workers=1, thread_name_prefix="counting")


async def aside(work: Callable[[], T], *, values: int = 0, size: int = 0) -> T:
    """The result of the work, or what it raises.

    ``values`` or ``size`` (bytes) is its weight: heavy work runs in the thread.
    """
    if values < HEAVY and size < HEAVY_BYTES:
        return work()
    return await _in_thread(_beside, work)


async def counted(work: Callable[[], T], *, size: int) -> T:
    """What a count of tokens returns or raises, in a thread: small texts in turn, and large ones.

    ``size`` is that of the text in bytes.
    """
    thread = _beside if size < HEAVY_BYTES else _counting
    return await _in_thread(thread, work)


async def _in_thread(thread: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(thread, _uncollected, work)


def _uncollected(work: Callable[[], T]) -> T:
    """What the work returns or raises, with no pass of the garbage collector meanwhile.

    A pass stops all threads. In the making of 120,000 items many would look for garbage where there
    is none; what is left of them is looked at once, here.
    """
    if not gc.isenabled():
        return work()
    gc.disable()
    try:
        return work()
    finally:
        gc.collect(0)
        gc.enable()


class Pacer:
    """``await pacer.wait_turn()`` before a costly piece of work; first come, first served."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_turning = False

    async def wait_turn(self) -> None:
        """Return at once if this caller is the first of the round, else in a round of its own."""
        loop = asyncio.get_running_loop()
        if not self._is_turning:
            self._is_turning = True
            loop.call_soon(self._turn)
            return
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _turn(self) -> None:
        """Let the next caller through that is still waiting."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                turn.get_loop().call_soon(self._turn)
                return
        self._is_turning = False


async def cancel_all(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and return when they are over."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def first_of(*waits: Awaitable[Any]) -> None:
    """Return when one of them has, and raise what it raises; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await cancel_all(*tasks)
