"""Jobs' streams → the store: one flusher for the whole process.

Rule 1: the live path waits here at a response's creation and end only, while the store answers.
Rule 2: a write that failed is sent again with the next tick: the numbers make it idempotent.
Rule 3: what a store that is away does not take is kept, up to a bound; more is cut, and said so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from ws_bridge.clock import Clock
from ws_bridge.errors import StoreUnavailable
from ws_bridge.jobs.backlog import Backlog, MirrorListener, shorten
from ws_bridge.jobs.refused_creates import RefusedCreates
from ws_bridge.jobs.store_timeout import Outcome, wait_until_settled, wait_while_answering
from ws_bridge.protocol.events import Event
from ws_bridge.store.base import Lease, Receipt, Record, Store, Verdict
from ws_bridge.stream import Stream

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class MirrorTiming:
    """How often the store is written to, and how much it is waited for, in seconds and bytes."""

    flush: float = 0.025
    renew: float = 5.0  # a silent response's lease
    backlog: int = 256 * 2**20  # kept for a store that is away
    lease: float = 15.0
    end_waits: float = 10.0  # an end, for a store that is away


class FlushSignal:
    """Whether there is something to write, and whether somebody waits for it."""

    def __init__(self) -> None:
        self._is_there = asyncio.Event()
        self._is_urgent = asyncio.Event()

    def add(self, *, at_once: bool = False) -> None:
        """There is something to write."""
        self._is_there.set()
        if at_once:
            self._is_urgent.set()

    async def wait(self, longest: float | None, tick: float) -> None:
        """Until there is, and the rest of a tick, unless it is urgent; no longer than that."""
        try:
            async with asyncio.timeout(longest):
                await self._is_there.wait()
        except TimeoutError:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(tick):
                await self._is_urgent.wait()
        self._is_there.clear()
        self._is_urgent.clear()


class Mirror:
    """Writes the streams it watches. ``run`` is the flusher's task; its owner awaits it."""

    def __init__(self, store: Store, pace: MirrorTiming, clock: Clock) -> None:
        self._store = store
        self._pace = pace
        self._clock = clock
        self._feeds: dict[str, Backlog] = {}
        self._behind: dict[str, Backlog] = {}
        self._refused = RefusedCreates(store)
        self._unsure: dict[str, Record] = {}  # creations that were cancelled on their way
        self._work = FlushSignal()
        self._renewed_at = 0.0
        self.degraded = 0  # responses that began without the store
        self.cuts = 0  # gaps that were declared
        self.unconfirmed = 0  # ends that were told without the store
        self.contradicted = 0  # of these the store has another

    async def create(
        self,
        record: Record,
        events: Sequence[Event],
        stream: Stream,
        listener: MirrorListener,
    ) -> None:
        """Make the response known with its first events, and watch its stream.

        A store that is away is no error: the response goes on, and is written when the store is
        back. Not so a background response, which is nothing but a promise: ``StoreUnavailable``.
        """
        feed = Backlog(record, Lease(record.id, 1), stream, listener)
        feed.renewed_at = self._clock.monotonic()
        try:
            feed.lease = await self._soon(self._store.create(record, events))
            feed.created(events)
        except (StoreUnavailable, TimeoutError):
            if record.background:
                self._refuse(record)
                raise StoreUnavailable from None
            self.degraded += 1
            log.warning("store_degraded id=%s", record.id)
        except asyncio.CancelledError:
            if record.background:  # whoever wanted it has left before it was told the id
                self._refuse(record)
            else:
                self._unsure[record.id] = record
            raise
        self._unsure.pop(record.id, None)
        self._watch(feed)

    def adopt(
        self,
        record: Record,
        lease: Lease,
        stream: Stream,
        listener: MirrorListener,
    ) -> None:
        """Watch the stream of a response that was claimed; what is in it is stored."""
        feed = Backlog(record, lease, stream, listener)
        feed.renewed_at = self._clock.monotonic()
        feed.created(stream.events)
        self._watch(feed)

    def notify_appended(self, response_id: str) -> None:
        """The stream has grown."""
        if (feed := self._feeds.get(response_id)) is not None:
            self._behind[response_id] = feed
            self._work.add(at_once=feed.is_followed)

    def mark_followed(self, response_id: str) -> None:
        """Somebody reads along elsewhere: what comes is written at once."""
        if (feed := self._feeds.get(response_id)) is not None:
            feed.is_followed = True
            self.notify_appended(response_id)

    def remember(self, key: str, upstream_id: str = "", record: Record | None = None) -> None:
        """Keep, with a later write, the provider's id of a background response, or who answers."""
        if (feed := self._feeds.get(key)) is not None:
            feed.remember(upstream_id, record)
            self.notify_appended(key)

    def lease_may_have_expired(self, response_id: str) -> bool:
        """Whether the lease may have run out, and the store was not asked since."""
        feed = self._feeds.get(response_id)
        return feed is not None and feed.is_in_doubt(self._clock.monotonic() - self._pace.lease)

    async def confirm_lease(self, response_id: str) -> None:
        """Ask the store once, if it can be reached; a response that is another's is not watched."""
        if (feed := self._feeds.get(response_id)) is not None:
            with contextlib.suppress(StoreUnavailable, TimeoutError):
                await self._soon(self._flush([feed]))
            feed.asked_at = self._clock.monotonic()

    async def append_end(self, response_id: str, ending: Sequence[Event]) -> bool:
        """Let the store know the end first; False if it has another one.

        A store that is away is waited for, ``MirrorTiming.end_waits`` seconds of the time in which
        this process runs. Then the end may be told, and is written when the store is back.
        """
        if (feed := self._feeds.get(response_id)) is None:
            return False
        feed.ending = ending
        with contextlib.suppress(StoreUnavailable, TimeoutError):
            await self._soon(self._flush([feed]))
        if self._is_watched(feed):
            self.notify_appended(response_id)
            self._work.add(at_once=True)
            await wait_until_settled(
                feed.settled,
                self._clock,
                lambda: feed.renewed_at,
                longest=self._pace.end_waits,
                lease=self._pace.lease,
            )
        if self._is_watched(feed):
            feed.is_unconfirmed = True
            self.unconfirmed += 1
            log.warning("end_unconfirmed id=%s", response_id)
        return not feed.is_taken

    def force_ends(self) -> None:
        """Let no end of what runs now wait for a store that is away."""
        for feed in self._feeds.values():
            feed.settled.set()

    async def release(self, response_id: str) -> bool:
        """Give a running response back to the store, for another server; False if that fails."""
        if (feed := self._feeds.get(response_id)) is None or not feed.is_created:
            return False
        try:
            await self._soon(self._flush([feed]))
            if not self.tracks(response_id) or feed.is_behind:
                return False
            await self._soon(self._store.release(feed.lease))
        except (StoreUnavailable, TimeoutError):
            return False
        self._forget(feed)
        return True

    async def _soon(self, step: Coroutine[Any, Any, Outcome]) -> Outcome:
        return await wait_while_answering(self._store.answered, step)

    def tracks(self, response_id: str, owner: str | None = None) -> bool:
        """Whether the (owner's) response runs here, or is still on its way to the store."""
        feed = self._feeds.get(response_id)
        return feed is not None and owner in (None, feed.record.owner)

    def discard(self, response_id: str) -> None:
        """Watch the stream no more: nobody was ever told of the response, nor is to find it."""
        if (record := self._unsure.pop(response_id, None)) is not None:
            self._refuse(record)
        if (feed := self._feeds.get(response_id)) is not None:
            self._forget(feed)

    async def run(self) -> None:
        """Flush on every tick, at once where somebody waits; runs until cancelled."""
        while True:
            await self._work.wait(self._pace.renew if self._feeds else None, self._pace.flush)
            try:
                if await self._is_done():
                    continue
                self._bound()
            except Exception:  # the edge of the task: one response must not end all mirroring
                log.exception("mirror_crashed")
            self._work.add()
            await self._clock.sleep(RETRY_SECONDS)

    async def drain(self) -> None:
        """Write everything that is left, once."""
        if not await self._is_done(every=True):
            log.warning("mirror_incomplete responses=%d", len(self._feeds))

    def lag(self) -> int:
        """How many events the store is behind."""
        return sum(len(feed.lacking()) for feed in self._behind.values())

    async def _is_done(self, *, every: bool = False) -> bool:
        """One round: write what is due; False if the store did not take it all."""
        try:
            await self._flush(list(self._feeds.values()) if every else self._due())
            await self._refused.delete()
        except StoreUnavailable:
            return False
        return True

    def _watch(self, feed: Backlog) -> None:
        self._feeds[feed.record.id] = feed
        self.notify_appended(feed.record.id)

    def _due(self) -> list[Backlog]:
        """Who lacks something, and whose lease is to be renewed."""
        now = self._clock.monotonic()
        due = self._behind
        if now - self._renewed_at >= self._pace.renew / 4:
            self._renewed_at = now
            silent = now - self._pace.renew
            due = due | {key: one for key, one in self._feeds.items() if one.renewed_at <= silent}
        return list(due.values())

    async def _flush(self, feeds: Sequence[Backlog]) -> None:
        """Write what the feeds lack, and renew their leases. Raises ``StoreUnavailable``.

        One that cannot be created, now or again, holds up no other.
        """
        await self._write([feed for feed in feeds if feed.is_created])
        missing = [feed for feed in feeds if not feed.is_created and self._is_watched(feed)]
        refusals = [one for one in await asyncio.gather(*map(self._restore, missing)) if one]
        await self._write([feed for feed in missing if feed.is_created])
        if refusals:
            raise refusals[0]

    async def _restore(self, feed: Backlog) -> StoreUnavailable | None:
        lease = feed.lease
        try:
            # With events: a record without any would be a response that nobody can read.
            await self._store.create(feed.record, feed.opening(), lease.fence)
        except StoreUnavailable as refusal:
            return refusal
        feed.is_created = feed.is_created or feed.lease == lease
        return None

    async def _write(self, feeds: Sequence[Backlog]) -> None:
        feeds = [feed for feed in feeds if self._is_watched(feed)]
        writes, asked_at = [feed.write() for feed in feeds], self._clock.monotonic()
        receipts = await self._store.append(writes) if writes else ()
        for feed, write, receipt in zip(feeds, writes, receipts, strict=True):
            # Of two writes at once, the other may have been the last, or under a newer lease.
            if self._is_watched(feed) and feed.lease == write.lease:
                feed.renewed_at = asked_at
                self._take(feed, write.events, receipt)

    def _take(self, feed: Backlog, events: Sequence[Event], receipt: Receipt) -> None:
        feed.is_followed = receipt.is_followed
        if receipt.verdict in (Verdict.APPENDED, Verdict.DUPLICATE):
            if events:
                feed.written(events[-1].number)
            if (events and events[-1].is_terminal) or (feed.is_over and not feed.is_behind):
                self._forget(feed)
            elif receipt.is_cancelled:
                feed.listener.cancelled()
        elif receipt.verdict is Verdict.GAP:  # it has lost some: send again from there
            feed.rewind(receipt.last)
        elif receipt.verdict is Verdict.GONE:
            log.warning("store_lost id=%s: it is written anew", feed.record.id)
            feed.lost()
        else:  # ended or claimed by others: what still comes is nobody's any more
            self._forget(feed)
            self.contradicted += feed.is_unconfirmed
            feed.take_away()
        if feed.is_created and not feed.is_behind:
            self._behind.pop(feed.record.id, None)
        elif self._is_watched(feed):
            self._behind[feed.record.id] = feed
            self._work.add()

    def _is_watched(self, feed: Backlog) -> bool:
        return self._feeds.get(feed.record.id) is feed

    def _forget(self, feed: Backlog) -> None:
        self._feeds.pop(feed.record.id, None)
        self._behind.pop(feed.record.id, None)
        feed.settled.set()

    def _refuse(self, record: Record) -> None:
        self._refused.add(record)
        self._work.add()

    def _bound(self) -> None:
        """Keep no more for the store than the bound."""
        cut, dropped = shorten(list(self._behind.values()), self._pace.backlog)
        self.cuts += len(cut)
        for feed in dropped:
            self._forget(feed)
