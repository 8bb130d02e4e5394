"""A job's stream → the store: one flusher for the whole process.

Rule 1: the live path never waits here. A tick takes what has come since the last one; creations and
ends are written at once by whoever awaits them.
Rule 2: an append that failed is sent again with the next tick: the numbers make it idempotent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ws_bridge.errors import StoreUnavailable
from ws_bridge.store.base import Record, Store, Verdict
from ws_bridge.stream import Stream

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Feed:
    """One response on its way to the store: how far it got."""

    stream: Stream
    sent: int = 0

    @property
    def is_behind(self) -> bool:
        """Whether the store lacks events."""
        return self.sent < len(self.stream.events)


class Mirror:
    """Writes the streams it watches. ``run`` is the flusher's task; its owner awaits it."""

    def __init__(
        self,
        store: Store,
        flush_seconds: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._flush_seconds = flush_seconds
        self._sleep = sleep
        self._feeds: dict[str, Feed] = {}
        self._watching = asyncio.Event()

    async def create(self, record: Record, stream: Stream) -> None:
        """Make the record known and watch its stream: true before anyone is told the id."""
        await self._store.create(record)
        self._feeds[record.id] = Feed(stream)
        self._watching.set()

    async def flush(self, response_id: str) -> None:
        """Write what the store lacks of one response now; what fails is left to the next tick."""
        feed = self._feeds.get(response_id)
        if feed is not None and feed.is_behind:
            await self._flush(response_id, feed)

    async def run(self) -> None:
        """Flush on every tick while anything is watched; runs until cancelled."""
        while True:
            await self._watching.wait()
            await self._sleep(self._flush_seconds)
            for response_id, feed in list(self._feeds.items()):
                if feed.is_behind:
                    await self._flush(response_id, feed)
                if feed.stream.is_closed and not feed.is_behind:
                    self._feeds.pop(response_id, None)
            if not self._feeds:
                self._watching.clear()

    async def drain(self) -> None:
        """Write everything that is left, once."""
        for response_id in list(self._feeds):
            await self.flush(response_id)

    def lag(self) -> int:
        """How many events the store is behind."""
        return sum(len(feed.stream.events) - feed.sent for feed in self._feeds.values())

    async def _flush(self, response_id: str, feed: Feed) -> None:
        until = len(feed.stream.events)
        try:
            verdict = await self._store.append(response_id, feed.stream.events[feed.sent : until])
        except StoreUnavailable:
            log.warning("mirror_failed id=%s behind=%d", response_id, until - feed.sent)
            return
        if verdict is Verdict.GAP:
            feed.sent = 0  # the store lost something: all of it again, what is there is skipped
            return
        if verdict in (Verdict.ENDED, Verdict.GONE):
            # Deleted or ended from outside: what still comes is nobody's any more.
            self._feeds.pop(response_id, None)
        feed.sent = max(feed.sent, until)  # a flush that began later may have ended earlier
