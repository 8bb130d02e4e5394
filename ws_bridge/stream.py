"""One response's events in memory: one writer, readers with positions.

Rule 1: the writer never waits for a reader. Rule 2: a reader gets every event after its position,
in order, once, and then the end. Rule 3: what is ready comes as one batch, so it can be one write.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterable, Sequence

from ws_bridge.errors import BridgeError
from ws_bridge.protocol.events import Event


class Stream:
    """Events 0, 1, 2 … of one response. Nothing can be appended once it is closed."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.is_closed = False
        self.error: BridgeError | None = None
        self._waiting: list[asyncio.Future[None]] = []

    def append(self, events: Iterable[Event]) -> None:
        """Add events in order and wake the readers; nothing once the stream is closed."""
        if not self.is_closed:
            self.events.extend(events)
            self._wake()

    def close(self, error: BridgeError | None = None) -> None:
        """End the stream; with an error, readers of a stream without any event get it raised."""
        self.is_closed = True
        self.error = self.error or error
        self._wake()

    def after(self, number: int) -> list[Event]:
        """The events that come after the given number."""
        missing = self.events[-1].number - number if self.events else 0
        if missing <= 0:
            return []
        tail = self.events[-missing:]
        if tail[0].number == number + 1:
            return tail
        return self.events[bisect_right(self.events, number, key=lambda event: event.number) :]

    async def read(self, after: int = -1) -> AsyncIterator[Sequence[Event]]:
        """Yield what comes after event number ``after``, in batches, until the stream is closed.

        Raises the ``BridgeError`` it was closed with if there never was an event.
        """
        while True:
            if batch := self.after(after):
                after = batch[-1].number
                yield batch
            elif self.is_closed:
                break
            else:
                await self._change()
        if self.error and not self.events:
            raise self.error

    async def wait_closed(self) -> None:
        """Return when the stream is closed."""
        while not self.is_closed:
            await self._change()

    async def _change(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def _wake(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
