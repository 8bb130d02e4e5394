"""A timer that ends what a key began when the key expires.

Wall time may be set, and a machine may sleep: it looks again every minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ws_bridge.clock import Clock
from ws_bridge.pacing import first_of

LOOK_SECONDS = 60.0


class KeyExpiry:
    """``close`` is called when a key has expired; ``next_expiry`` reads a wall time, or None."""

    def __init__(
        self, clock: Clock, next_expiry: Callable[[], float | None], close: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._next_expiry = next_expiry
        self._close = close
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Other keys may expire at other times."""
        self._changed.set()

    async def run(self) -> None:
        """Close at each expiry, for ever."""
        while True:
            self._changed.clear()
            due = self._next_expiry()
            expiry = () if due is None else (self._wait(due),)
            await first_of(self._changed.wait(), *expiry)
            if due is not None and due <= self._clock.wall():
                self._close()

    async def _wait(self, due: float) -> None:
        await self._clock.sleep(max(0.0, min(LOOK_SECONDS, due - self._clock.wall())))
