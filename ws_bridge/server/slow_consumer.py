"""How long a server waits for a client that does not read: as long as it takes anything at all.

Rule 1: a client that takes a byte now and then is slow, and may be. One that takes none for the set
time is cut off, however much or little waits for it.
Rule 2: the clock is read only while a writer waits: one task a connection, started when it is first
needed, which ends when no writer waits at its next check.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from types import TracebackType

from ws_bridge.clock import Clock

CHECKS = 6  # in the time that a client has: it gets a sixth more than that, a third at most


class SlowConsumer:
    """``with slow_consumer:`` stands around each wait for the client of one transport to read.

    ``on_slow`` is awaited once, when the client has taken nothing for ``seconds``.
    """

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        clock: Clock,
        seconds: float,
        on_slow: Callable[[], Awaitable[None]],
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._seconds = seconds
        self._on_slow = on_slow
        self._waits = 0
        self._since = 0.0  # when the client last took something
        self._least = math.inf  # bytes that were unsent then
        self._task: asyncio.Task[None] | None = None
        self._is_over = False

    def __enter__(self) -> None:
        if not self._waits:  # the waits before are over: that was progress
            self._since, self._least = self._clock.monotonic(), math.inf
        self._waits += 1
        if not self._is_over and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._watch())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._waits -= 1

    async def cancel(self) -> None:
        """Check no more. Returns when the task is over."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        while self._waits:
            await self._clock.sleep(self._seconds / CHECKS)
            if self._waits and self._takes_nothing():
                self._is_over = True
                await self._on_slow()
                return

    def _takes_nothing(self) -> bool:
        size, now = self._transport.get_write_buffer_size(), self._clock.monotonic()
        if size < self._least:
            self._least, self._since = size, now
        return now - self._since >= self._seconds
