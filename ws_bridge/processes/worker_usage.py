"""What all keys have used, for the page of a server whose supervisor reaches no store.

The page's thread asks the supervisor's loop, that asks a worker, and the worker writes a file: the
answer may be large, and a pipe that is full would hold up all that the worker serves.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from ws_bridge.processes.messages import UNREADABLE, USAGE, USED, WRITTEN

log = logging.getLogger(__name__)

SECONDS = 10.0  # for a worker to answer

UsageOfAll = Callable[[int], Awaitable[bytes]]  # of so many days, as JSON


class WorkerUsage:
    """The supervisor's side. Made in its event loop; ``read`` is for other threads.

    ``send`` sends a line to some worker that serves, and returns whether there is one.
    """

    def __init__(self, send: Callable[[str], bool]) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[bool]] = {}

    def receive(self, answer: str) -> None:
        """A worker has answered."""
        number, _, outcome = answer.partition(" ")
        waiting = self._answers.get(int(number))
        if waiting is not None and not waiting.done():
            waiting.set_result(outcome == WRITTEN)

    def read(self, days: int, folder: Path) -> bytes | None:
        """The usage of so many days as JSON; None if no worker gives it in time."""
        return read_in(self._loop, lambda days: self._ask(days, folder), days)

    async def _ask(self, days: int, folder: Path) -> bytes | None:
        number = next(self._numbers)
        file = folder / f"usage-{number}.json"
        answer = self._answers[number] = self._loop.create_future()
        try:
            if not self._send(f"{USAGE} {number} {days} {file}"):
                return None
            async with asyncio.timeout(SECONDS):
                return await asyncio.to_thread(file.read_bytes) if await answer else None
        except (TimeoutError, OSError):
            return None
        finally:
            del self._answers[number]
            file.unlink(missing_ok=True)


class UsageAnswers:
    """The worker's side: answers what its supervisor asks, once ``begin`` has said how."""

    def __init__(self, send: Callable[[str], None]) -> None:
        self._send = send
        self._read: UsageOfAll | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, read: UsageOfAll) -> None:
        """The process serves: its usage is read so."""
        self._read = read

    def answer(self, question: str) -> None:
        """Answer in a task: the number, the days, and the file."""
        task = asyncio.create_task(self._answer(*question.split(" ", 2)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Answer no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _answer(self, number: str, days: str, file: str) -> None:
        outcome = UNREADABLE
        try:
            if self._read is not None:
                body = await self._read(int(days))
                await asyncio.to_thread(Path(file).write_bytes, body)
                outcome = WRITTEN
        except Exception as failure:  # noqa: BLE001 - the edge: the page says that it has none
            log.warning("usage_unreadable reason=%s", type(failure).__name__)
        self._send(f"{USED} {number} {outcome}")


def read_in(
    loop: asyncio.AbstractEventLoop, read: Callable[[int], Awaitable[bytes | None]], days: int
) -> bytes | None:
    """Read in an event loop, for another thread; None if it fails, or takes too long."""

    async def reading() -> bytes | None:
        async with asyncio.timeout(SECONDS):
            return await read(days)

    with contextlib.suppress(Exception):  # of the thread's edge: the loop may have ended, too
        future = asyncio.run_coroutine_threadsafe(reading(), loop)
        with contextlib.suppress(concurrent.futures.CancelledError):
            return future.result(2 * SECONDS)
    return None
