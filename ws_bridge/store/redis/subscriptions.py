"""Everything this process follows in Redis: one subscription for all of it.

A hint (pub/sub) means that a response has news; the news is read from its log. The hints of one
moment cause one round trip, and all followers of a response in this process share what was read.

Rule 1: hints carry no data and may be lost. Every few seconds all followed responses are checked; a
subscription that is silent is probed, and gives ``MISSED`` whenever hints may have been lost.
Rule 2: a window of each followed response is kept in memory; a follower behind it reads the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import islice
from typing import Protocol

from redis.asyncio.client import PubSub

from ws_bridge.errors import StoreUnavailable
from ws_bridge.protocol.events import Event
from ws_bridge.store.redis.commands import FIRST_PAGE_ENTRIES, Cursor, ResponsePage
from ws_bridge.store.redis.connect import UNAVAILABLE, RedisAddress, connect, reason_of

log = logging.getLogger(__name__)

EVENTS, FOLLOWED, CANCELLED = "e", "f", "c"  # the kinds of hints
UNKNOWN = -2  # the last number of a log that the store does not have at all
MAX_MISSES = 2  # so often in a row a response may be unknown before its followers end
CHECK_SECONDS = 5.0  # a lost hint delays news by no more
FOLLOW_SECONDS = 30.0  # hints are published for so long after the last check
BATCH = 64  # responses of one round trip
WINDOW_BYTES = 256 * 1024
PAUSE_SECONDS = 0.25  # after a failure
PROBE_SECONDS = 10.0  # of silence, then the subscription is probed
ANSWER_SECONDS = 5.0  # for the answer to a probe

Hint = tuple[str, str]  # kind, response id
MISSED: Hint = ("", "")  # hints may have been lost


class PageSource(Protocol):
    """Where the logs are. Every method may raise ``StoreUnavailable``."""

    async def read_pages(self, cursors: Sequence[Cursor]) -> Sequence[ResponsePage | None]:
        """The page after each cursor, in one round trip; None: the response is unknown."""
        ...

    async def request_hints(self, ids: Sequence[str]) -> Sequence[int]:
        """Ask for hints for ``FOLLOW_SECONDS``; the logs' last numbers, or UNKNOWN.

        It is one round trip.
        """
        ...

    def hints(self) -> AsyncIterator[Hint]:
        """Hints without end: a response has EVENTS, is FOLLOWED, or is to be CANCELLED.

        The first one is ``MISSED``, and so is one after each time that hints may have been lost.
        """
        ...


class Subscription:
    """One response that this process follows."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor  # up to where the window was read
        self.followers = 0
        self.is_over = False
        self.misses = 0  # how often in a row the store did not know it
        self.is_taken_over = False
        self._window: deque[Event] = deque()
        self._bytes = 0
        self._begins = cursor.after  # the window has everything after this number
        self._waiting: list[asyncio.Future[None]] = []

    def extend(self, page: ResponsePage | None) -> None:
        """Add the page that was read at the cursor and wake the followers; None ends them."""
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
        self.is_taken_over = page is not None and page.is_taken_over
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def after(self, number: int) -> list[Event] | None:
        """The window's events after a number; None if it does not reach back to it."""
        if number < self._begins:
            return None
        newer = itertools.takewhile(lambda event: event.number > number, reversed(self._window))
        return list(newer)[::-1]

    async def wait_until_extended(self) -> None:
        """Return after the next ``extend``."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future


class Subscriptions:
    """The followed responses of one process.

    ``run`` is the body of its task. ``on_hint`` gets the hints that are not about events.
    """

    def __init__(
        self,
        source: PageSource,
        on_hint: Callable[[str, str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._source = source
        self._on_hint = on_hint
        self._sleep = sleep
        self._followed: dict[str, Subscription] = {}
        self._changed: set[str] = set()  # ids of followed responses that may have news
        self._has_changed = asyncio.Event()

    async def run(self) -> None:
        """Receive hints, read and check until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for body in (self._receive_hints, self._read_changed, self._check):
                tasks.create_task(body())

    async def follow(self, cursor: Cursor, last_number: int) -> AsyncIterator[Sequence[Event]]:
        """Batches after the cursor until the response ends or is gone.

        ``last_number`` is the log's as the reader found it; the cursor may be beyond it.
        """
        start = Cursor(cursor.id, cursor.owner, min(cursor.after, last_number))
        followed = self._followed.setdefault(cursor.id, Subscription(start))
        followed.followers += 1
        try:
            await self._begin(cursor.id)
            async for batch in self._batches(followed, start):
                new = [event for event in batch if event.number > cursor.after]
                if followed.is_taken_over and not new:
                    new = [event for event in batch if event.is_terminal]
                if new:
                    yield new
        finally:
            followed.followers -= 1
            if not followed.followers and self._followed.get(cursor.id) is followed:
                del self._followed[cursor.id]

    async def read_page(self, cursor: Cursor) -> ResponsePage | None:
        """The page after the cursor, however long the store is away: its reader has begun."""
        while True:
            try:
                [page] = await self._source.read_pages([cursor])
            except StoreUnavailable:
                await self._sleep(PAUSE_SECONDS)
            else:
                return page

    async def _batches(
        self, followed: Subscription, cursor: Cursor
    ) -> AsyncIterator[Sequence[Event]]:
        number = cursor.after
        while True:
            batch: Sequence[Event] | None = followed.after(number)
            if batch is None:  # the window begins later
                page = await self.read_page(
                    Cursor(cursor.id, cursor.owner, number, FIRST_PAGE_ENTRIES)
                )
                if page is None or not page.events:
                    return
                batch = page.events
            if batch:
                number = batch[-1].number
                yield batch
            elif followed.is_over:
                return
            else:
                await followed.wait_until_extended()

    async def _begin(self, response_id: str) -> None:
        try:
            await self._request_hints([response_id])
        except StoreUnavailable:  # it is read when the store is back, and the next check asks
            self._mark(response_id)

    def _mark(self, *ids: str) -> None:
        self._changed.update(ids)
        self._has_changed.set()

    async def _request_hints(self, ids: Sequence[str]) -> None:
        """Ask for hints, and mark the responses that have news already."""
        numbers = await self._source.request_hints(ids)
        for response_id, last_number in zip(ids, numbers, strict=True):
            followed = self._followed.get(response_id)
            if followed is not None and last_number != followed.cursor.after:
                self._mark(response_id)

    async def _receive_hints(self) -> None:
        async for kind, response_id in self._source.hints():
            if not kind:
                self._mark(*self._followed)
            elif kind != EVENTS:
                self._on_hint(kind, response_id)
            elif response_id in self._followed:
                self._mark(response_id)

    async def _read_changed(self) -> None:
        while True:
            await self._has_changed.wait()
            self._has_changed.clear()
            changed = [key for key in self._changed if key in self._followed]
            self._changed.clear()
            for start in range(0, len(changed), BATCH):
                await self._read(changed[start : start + BATCH])

    async def _read(self, ids: Sequence[str]) -> None:
        found = (self._followed.get(key) for key in ids)
        followed = [one for one in found if one is not None and not one.is_over]
        try:
            pages = await self._source.read_pages([one.cursor for one in followed])
        except StoreUnavailable:
            self._mark(*ids)
            await self._sleep(PAUSE_SECONDS)
            return
        for one, page in zip(followed, pages, strict=True):
            if page is None and await self._may_come_back(one):
                continue
            one.extend(page)
            if page is not None and page.events and not page.is_complete:
                self._mark(one.cursor.id)  # the log has more than a page

    async def _may_come_back(self, one: Subscription) -> bool:
        """Whether the store may have been flushed: then the response's writer creates it again."""
        one.misses += 1
        with contextlib.suppress(StoreUnavailable):
            [last_number] = await self._source.request_hints([one.cursor.id])
            return last_number == UNKNOWN and one.misses <= MAX_MISSES
        return True

    async def _check(self) -> None:
        """Check every followed response once in ``CHECK_SECONDS``, some at a time.

        One round trip for all of them would hold up every other call.
        """
        while True:
            await self._sleep(CHECK_SECONDS / max(len(self._followed) / BATCH, 1))
            group = list(islice(self._followed, BATCH))
            for response_id in group:  # to the end of the queue
                self._followed[response_id] = self._followed.pop(response_id)
            with contextlib.suppress(StoreUnavailable):  # the next check comes
                await self._request_hints(group)


async def receive_hints(address: RedisAddress, channel: str) -> AsyncIterator[Hint]:
    """Every hint of a channel without end; ``MISSED`` after each (re)connection."""
    was_away = False
    while True:
        client = connect(address, subscribes=True)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await client.initialize()  # of a cluster: where its slots are
                pubsub = client.pubsub()
                await pubsub.subscribe(channel)
            async for hint in _hints(pubsub):
                if was_away:
                    log.info("hints_back")
                was_away = False
                yield hint
        except (*UNAVAILABLE, KeyError) as failure:  # KeyError: no node has the channel's slot now
            if not was_away:
                log.warning("hints_away reason=%s", reason_of(failure))
            was_away = True
        finally:
            await client.aclose()
        await asyncio.sleep(PAUSE_SECONDS)


async def _hints(pubsub: PubSub) -> AsyncIterator[Hint]:
    """Hints until the subscription is found dead. Raises ``TimeoutError`` then."""
    timeout = PROBE_SECONDS
    while True:
        message = await pubsub.get_message(timeout=timeout)
        if message is None:
            if timeout == ANSWER_SECONDS:
                raise TimeoutError
            await pubsub.ping()
            timeout = ANSWER_SECONDS
            continue
        timeout = PROBE_SECONDS
        if message["type"] == "subscribe":  # hints come from now on, not from the request on
            yield MISSED
        elif message["type"] == "message":
            text = message["data"].decode()
            yield text[:1], text[1:]
