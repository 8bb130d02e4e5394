"""What the guards of one listening socket share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from ws_bridge.config import Limits
from ws_bridge.server.transport.receive_budget import ReceiveBudget
from ws_bridge.server.transport.watch import LINGER_SECONDS

MIB = 2**20


class ListenerState:
    """Limits, the sum of what is being received, and who is still there."""

    def __init__(self, limits: Limits, largest: int) -> None:
        self.limits = limits
        self.largest = largest  # bytes of a message or body
        self.loop = asyncio.get_running_loop()
        self.receiving = ReceiveBudget(limits.receiving_mib * MIB)
        self._open: set[asyncio.Transport] = set()
        self._all_closed = asyncio.Event()
        self._all_closed.set()
        self._closing: set[asyncio.Task[Any]] = set()

    def add(self, connection: asyncio.Transport) -> None:
        """A connection was made."""
        self._open.add(connection)
        self._all_closed.clear()

    def remove(self, connection: asyncio.Transport) -> None:
        """A connection is over."""
        self._open.discard(connection)
        if not self._open:
            self._all_closed.set()

    def send_close(self, sending: Coroutine[Any, Any, Any]) -> None:
        """Say why a connection ends, beside everything else; ``close`` waits for it."""
        task = self.loop.create_task(sending)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Return when every connection is over; those that linger too long are cut off."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * LINGER_SECONDS):
                await self._all_closed.wait()
        for connection in list(self._open):
            connection.abort()
        await asyncio.gather(*self._closing, return_exceptions=True)
