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
METERED = 16 * 1024  # bytes of events that are counted at once

Take = Callable[[Sequence[Event]], bool]  # false: the batch is not taken


class Stream:
    """Events 0, 1, 2 … of one response. Nothing can be appended once it is closed."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.size = 0  # bytes of their texts
        self.on_growth: Callable[[int], None] | None = None  # called with each ``METERED`` bytes
        self._unmetered = 0
        self.is_closed = False
        self.error: BridgeError | None = None
        # Called at each append and at the close; none of them changes this list before it returns.
        self._wakers: list[Callable[[], None]] = []

    def append(self, events: Sequence[Event]) -> None:
        """Add events in order and wake the readers; nothing once the stream is closed."""
        if self.is_closed:
            return
        self.events.extend(events)
        size = 0
        for event in events:
            size += len(event.text)
        self.size += size
        for wake in self._wakers:
            wake()
        self._unmetered += size
        if self._unmetered >= METERED and self.on_growth is not None:
            grown, self._unmetered = self._unmetered, 0
            self.on_growth(grown)

    def close(self, error: BridgeError | None = None) -> None:
        """End the stream; with an error, readers of a stream without any event get it raised."""
        self.is_closed = True
        self.error = self.error or error
        for wake in self._wakers:
            wake()

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
                await self._wait_until(lambda: True)
        self._raise_error()

    async def subscribe(self, take: Take, after: int = -1) -> Sequence[Event]:
        """Call ``take`` with what comes after event number ``after``, in batches as of ``read``.

        No task is woken for a batch that is taken. Returns the first batch that is not, or nothing
        when the stream is closed. Raises as ``read``, and whatever ``take`` raises.
        """
        subscription = _Subscription(self, take, after)
        self._wakers.append(subscription.wake)
        subscription.wake()
        try:
            batch = await subscription.over
        finally:
            self._wakers.remove(subscription.wake)
        self._raise_error()
        return batch

    async def wait_until_closed(self) -> None:
        """Return when the stream is closed."""
        if not self.is_closed:
            await self._wait_until(lambda: self.is_closed)

    async def _wait_until(self, is_due: Callable[[], bool]) -> None:
        """Return after the first append or close at which ``is_due`` is true."""
        due = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not due.done() and is_due():
                due.set_result(None)

        self._wakers.append(wake)
        try:
            await due
        finally:
            self._wakers.remove(wake)

    def _raise_error(self) -> None:
        if self.error and not self.events:
            raise self.error


class _Subscription:
    """Calls ``take`` once for all events that were appended in one round of the loop."""

    __slots__ = ("_after", "_is_scheduled", "_loop", "_stream", "_take", "over")

    def __init__(self, stream: Stream, take: Take, after: int) -> None:
        self._stream = stream
        self._take = take
        self._after = after
        self._is_scheduled = False
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[Sequence[Event]] = self._loop.create_future()

    def wake(self) -> None:
        """Deliver as soon as the writer's round of the loop is over."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._is_scheduled = False
        if self.over.done():
            return
        try:
            batch = self._stream.after(self._after)
            if batch and self._take(batch):
                self._after = batch[-1].number
            elif batch or self._stream.is_closed:
                self.over.set_result(batch)
        except Exception as failure:  # noqa: BLE001 - raised where ``over`` is awaited
            self.over.set_exception(failure)
            return
        if batch and self._stream.is_closed:
            self.wake()
