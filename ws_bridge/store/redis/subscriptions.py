"""Everything this process follows in Redis: one subscription for all of it.

A hint (pub/sub) says that a response has news; the news are read from its log. All hints of a
moment are one round trip, and all who follow the same response here share what was read.

Rule 1: hints may be lost. Every few seconds all that is followed is looked at, and a subscription
that is silent is asked whether it still lives.
Rule 2: what is kept in memory of a followed response is a window; who is behind it reads the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from ws_bridge.errors import StoreUnavailable
from ws_bridge.protocol.events import Event

log = logging.getLogger(__name__)

EVENTS, FOLLOWED, CANCELLED = "e", "f", "c"
LOST = -2  # the last number of a log that the store does not have at all
LOST_CHECKS = 2
CHECK_SECONDS = 5.0  # a lost hint costs no more
FOLLOW_SECONDS = 30.0  # hints come so long after the last check
PAUSE_SECONDS = 0.25  # after a failure
TOGETHER = 64  # responses of one round trip
WINDOW_BYTES = 256 * 1024
MOST_ENTRIES = 256  # of a page
FEW_ENTRIES = 16  # of a reader's first page: each may unfold to 64 KiB


@dataclass(frozen=True, slots=True)
class EventPage:
    """What a log has after a cursor."""

    events: Sequence[Event]
    is_last: bool  # the response has ended, and this is all of it
    last: int  # the log's last number
    is_taken: bool  # a successor writes it: readers may have seen more than the log has


@dataclass(frozen=True, slots=True)
class Cursor:
    """A reader's place in a response's log."""

    id: str
    owner: str
    after: int
    most: int = MOST_ENTRIES  # of the page to come

    def beyond(self, events: Sequence[Event]) -> Cursor:
        """The place after what was read: the page to come is larger after a small one.

        It is what each of many slow readers holds.
        """
        size = sum(len(event.text) for event in events)
        most = min(2 * self.most, MOST_ENTRIES) if size < WINDOW_BYTES else FEW_ENTRIES
        return Cursor(self.id, self.owner, events[-1].number, most)


class PageSource(Protocol):
    """Where the logs are. Every method may raise ``StoreUnavailable``."""

    async def pages(self, cursors: Sequence[Cursor]) -> Sequence[EventPage | None]:
        """What comes next at each cursor, in one round trip; None: the response is unknown."""
        ...

    async def ask_for_hints(self, ids: Sequence[str]) -> Sequence[int]:
        """Subscribe to hints for a while; the logs' last numbers, or LOST, in one round trip."""
        ...

    def hints(self) -> AsyncIterator[tuple[str, str]]:
        """(kind, id) for ever: there are EVENTS, the response is FOLLOWED, its end is wanted.

        Begins with ("", "") whenever hints may have been lost.
        """
        ...


class Subscription:
    """One response that somebody follows here."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor  # up to where the window was read
        self.followers = 0
        self.is_over = False
        self.misses = 0  # how often in a row the store did not know it
        self.is_taken = False
        self._window: deque[Event] = deque()
        self._bytes = 0
        self._begins = cursor.after  # the window has everything after this number
        self._waiting: list[asyncio.Future[None]] = []

    def extend(self, page: EventPage | None) -> None:
        """Take what was read at the cursor and wake the followers."""
        for event in page.events if page else ():
            self._window.append(event)
            self._bytes += len(event.text)
        if self._window:
            self.cursor = Cursor(self.cursor.id, self.cursor.owner, self._window[-1].number)
        while self._bytes > WINDOW_BYTES and len(self._window) > 1:
            dropped = self._window.popleft()
            self._bytes -= len(dropped.text)
            self._begins = dropped.number
        self.misses = 0
        self.is_over = page is None or page.is_last
        self.is_taken = page is not None and page.is_taken
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def after(self, number: int) -> list[Event] | None:
        """What the window has after a number; None if it does not reach back to it."""
        if number < self._begins:
            return None
        newer = itertools.takewhile(lambda event: event.number > number, reversed(self._window))
        return list(newer)[::-1]

    async def change(self) -> None:
        """Return when there is news."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future


class Subscriptions:
    """The followed responses of one process. ``run`` is its task's body."""

    def __init__(
        self,
        source: PageSource,
        hear: Callable[[str, str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._source = source
        self._hear = hear
        self._sleep = sleep
        self._followed: dict[str, Subscription] = {}
        self._dirty: set[str] = set()
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Listen, read and check until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for body in (self._listen, self._read, self._check):
                tasks.create_task(body())

    async def follow(self, cursor: Cursor, last: int) -> AsyncIterator[Sequence[Event]]:
        """Batches after the cursor until the response ends or is gone.

        ``last`` is the log's last number as the reader found it; the cursor may be beyond it.
        """
        start = Cursor(cursor.id, cursor.owner, min(cursor.after, last))
        followed = self._followed.setdefault(cursor.id, Subscription(start))
        followed.followers += 1
        try:
            await self._attach(cursor.id)
            async for batch in self._batches(followed, start):
                new = [event for event in batch if event.number > cursor.after]
                if followed.is_taken and not new:
                    new = [event for event in batch if event.is_terminal]
                if new:
                    yield new
        finally:
            followed.followers -= 1
            if not followed.followers and self._followed.get(cursor.id) is followed:
                del self._followed[cursor.id]

    async def _batches(
        self, followed: Subscription, cursor: Cursor
    ) -> AsyncIterator[Sequence[Event]]:
        number = cursor.after
        while True:
            batch: Sequence[Event] | None = followed.after(number)
            if batch is None:  # the window begins later
                page = await self.page(Cursor(cursor.id, cursor.owner, number, FEW_ENTRIES))
                if page is None or not page.events:
                    return
                batch = page.events
            if batch:
                number = batch[-1].number
                yield batch
            elif followed.is_over:
                return
            else:
                await followed.change()

    async def _attach(self, response_id: str) -> None:
        try:
            await self._ask([response_id])
        except StoreUnavailable:  # it is read when the store is back, and the next check asks
            self._mark(response_id)

    async def page(self, cursor: Cursor) -> EventPage | None:
        """What comes next, however long the store is away: a reader has begun to read it."""
        while True:
            try:
                [page] = await self._source.pages([cursor])
            except StoreUnavailable:
                await self._sleep(PAUSE_SECONDS)
            else:
                return page

    def _mark(self, *ids: str) -> None:
        self._dirty.update(ids)
        self._news.set()

    async def _ask(self, ids: Sequence[str]) -> None:
        """Ask for hints; what has news already is marked."""
        lasts = await self._source.ask_for_hints(ids)
        for response_id, last in zip(ids, lasts, strict=True):
            followed = self._followed.get(response_id)
            if followed is not None and last != followed.cursor.after:
                self._mark(response_id)

    async def _listen(self) -> None:
        async for kind, response_id in self._source.hints():
            if not kind:
                self._mark(*self._followed)
            elif kind != EVENTS:
                self._hear(kind, response_id)
            elif response_id in self._followed:
                self._mark(response_id)

    async def _read(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            dirty = [key for key in self._dirty if key in self._followed]
            self._dirty.clear()
            for start in range(0, len(dirty), TOGETHER):
                await self._read_some(dirty[start : start + TOGETHER])

    async def _read_some(self, ids: Sequence[str]) -> None:
        followed = [one for key in ids if (one := self._followed.get(key)) and not one.is_over]
        try:
            pages = await self._source.pages([one.cursor for one in followed])
        except StoreUnavailable:
            self._mark(*ids)
            await self._sleep(PAUSE_SECONDS)
            return
        for one, page in zip(followed, pages, strict=True):
            if page is None and await self._may_come_back(one):
                continue
            one.extend(page)
            if page is not None and page.events and not page.is_last:
                self._mark(one.cursor.id)  # there may be more than a page

    async def _may_come_back(self, one: Subscription) -> bool:
        """A store that was flushed has lost the response; its server is about to write it anew."""
        one.misses += 1
        with contextlib.suppress(StoreUnavailable):
            [last] = await self._source.ask_for_hints([one.cursor.id])
            return last == LOST and one.misses <= LOST_CHECKS
        return True

    async def _check(self) -> None:
        """Look at everything once in a while, a few at a time: nobody waits for all of it."""
        while True:
            await self._sleep(CHECK_SECONDS / max(len(self._followed) / TOGETHER, 1))
            group = list(islice(self._followed, TOGETHER))
            for response_id in group:  # to the end of the queue
                self._followed[response_id] = self._followed.pop(response_id)
            with contextlib.suppress(StoreUnavailable):  # the next check comes
                await self._ask(group)
