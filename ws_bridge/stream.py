"""One response's events in memory: one writer, readers with positions.

Rule 1: the writer never waits for a reader. Rule 2: a reader gets every event after its position,
in order, once, and then the end. Rule 3: what is ready comes as one batch, so it can be one write.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Sequence

from ws_bridge.errors import BridgeError
from ws_bridge.protocol.events import Event

BATCH = 256  # events at most that a reader is given at once, and holds while it is slow

Take = Callable[[Sequence[Event]], bool]  # false: not now


class Stream:
    """Events 0, 1, 2 … of one response. Nothing can be appended once it is closed."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.size = 0  # bytes of their texts
        self.on_append: Callable[[int], None] | None = None  # is told of every so many bytes
        self.is_closed = False
        self.error: BridgeError | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._readers: list[_Reader] = []

    def append(self, events: Sequence[Event]) -> None:
        """Add events in order and wake the readers; nothing once the stream is closed."""
        if not self.is_closed:
            self.events.extend(events)
            more = sum([len(event.text) for event in events])
            self.size += more
            self._wake()
            if self.on_append is not None:
                self.on_append(more)

    def close(self, error: BridgeError | None = None) -> None:
        """End the stream; with an error, readers of a stream without any event get it raised."""
        self.is_closed = True
        self.error = self.error or error
        self._wake()

    def after(self, number: int, most: int | None = None) -> list[Event]:
        """The events that come after the given number, or the first so many of them."""
        events = self.events
        missing = events[-1].number - number if events else 0
        if missing <= 0:
            return []
        start = max(len(events) - missing, 0)
        if events[start].number != number + 1:
            start = bisect_right(events, number, key=lambda event: event.number)
        return events[start : None if most is None else start + most]

    async def read(self, after: int = -1) -> AsyncIterator[Sequence[Event]]:
        """Yield what comes after event number ``after``, in batches, until the stream is closed.

        Raises the ``BridgeError`` it was closed with if there never was an event.
        """
        while True:
            if batch := self.after(after, BATCH):
                after = batch[-1].number
                yield batch
            elif self.is_closed:
                break
            else:
                await self._change()
        if self.error and not self.events:
            raise self.error

    async def subscribe(self, take: Take, after: int = -1) -> Sequence[Event]:
        """Give ``take`` what comes after event number ``after``, in batches, as ``read`` yields it.

        Nobody is woken for what is taken. Returns the first batch that is not, or nothing when the
        stream is closed. Raises as ``read``, and whatever ``take`` raises.
        """
        reader = _Reader(self, take, after)
        self._readers.append(reader)
        reader.wake()
        try:
            left = await reader.left
        finally:
            self._readers.remove(reader)
        if self.error and not self.events:
            raise self.error
        return left

    async def wait_until_closed(self) -> None:
        """Return when the stream is closed."""
        while not self.is_closed:
            await self._change()

    async def _change(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def _wake(self) -> None:
        for reader in self._readers:
            reader.wake()
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


class _Reader:
    """One who is called with what is there, once for all that came meanwhile."""

    __slots__ = ("_after", "_is_called", "_loop", "_stream", "_take", "left")

    def __init__(self, stream: Stream, take: Take, after: int) -> None:
        self._stream = stream
        self._take = take
        self._after = after
        self._is_called = False
        self._loop = asyncio.get_running_loop()
        self.left: asyncio.Future[Sequence[Event]] = self._loop.create_future()

    def wake(self) -> None:
        """There is news: it is read as soon as whoever says it has said all."""
        if not self._is_called:
            self._is_called = True
            self._loop.call_soon(self._read)

    def _read(self) -> None:
        self._is_called = False
        if self.left.done():
            return
        try:
            batch = self._stream.after(self._after)
            if batch and self._take(batch):
                self._after = batch[-1].number
            elif batch or self._stream.is_closed:
                self.left.set_result(batch)
        except Exception as failure:  # noqa: BLE001 - for whoever waits
            self.left.set_exception(failure)
            return
        if batch and self._stream.is_closed:
            self.wake()
