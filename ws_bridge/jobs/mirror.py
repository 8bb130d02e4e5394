"""Jobs' streams → the store: one flusher for the whole process.

Rule 1: the live path waits here at a response's creation and end only, while the store answers.
Rule 2: a write that failed is sent again with the next tick: the numbers make it idempotent.
Rule 3: what a store that is away does not take is kept, up to a bound; more is cut, and the log
declares the gap.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ws_bridge.clock import Clock
from ws_bridge.errors import StoreUnavailable
from ws_bridge.jobs.backlog import Backlog, HeldLease, MirrorListener, shorten
from ws_bridge.jobs.store_timeout import StepResult, wait_until_settled, wait_while_answering
from ws_bridge.protocol.events import Event
from ws_bridge.store.base import Claim, Lease, Receipt, Record, Store, Verdict
from ws_bridge.stream import Stream
from ws_bridge.tracing import TraceContext, Traces
from ws_bridge.types import Json

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.1

Flush = Callable[[Sequence[Backlog]], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class MirrorTiming:
    """How often the store is written to, and how much it is waited for, in seconds and bytes."""

    flush: float = 0.025
    renew: float = 5.0  # a silent response's lease
    backlog: int = 256 * 2**20  # bytes kept for a store that is away
    lease: float = 15.0
    end_waits: float = 10.0  # an end, for a store that is away


class FlushSignal:
    """Whether there is something to write, and whether it is urgent."""

    def __init__(self) -> None:
        self.has_work = False  # as the event, but without a call
        self._has_work = asyncio.Event()
        self._is_urgent = asyncio.Event()

    def add(self, *, at_once: bool = False) -> None:
        """There is something to write."""
        self.has_work = True
        self._has_work.set()
        if at_once:
            self._is_urgent.set()

    async def wait(self, longest: float | None, tick: float) -> None:
        """Wait for work, and the rest of a tick unless it is urgent; ``longest`` seconds at most.

        The signal is clear then.
        """
        try:
            async with asyncio.timeout(longest):
                await self._has_work.wait()
        except TimeoutError:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(tick):
                await self._is_urgent.wait()
        self.has_work = False
        self._has_work.clear()
        self._is_urgent.clear()


class Mirror:
    """Writes the streams it tracks. ``run`` is the flusher's task; its owner awaits it."""

    def __init__(
        self, store: Store, timing: MirrorTiming, clock: Clock, traces: Traces | None = None
    ) -> None:
        self._store = store
        self._timing = timing
        self._clock = clock
        self._flush: Flush = self._write_all
        if traces is not None:
            self._flush = partial(self._trace_flush, traces)
        self._tracked: dict[str, Backlog] = {}
        self._behind: dict[str, Backlog] = {}  # of these, what the store lacks something of
        self._uncertain: dict[str, Record] = {}  # creations that were cancelled on their way
        self._to_delete: dict[str, Record] = {}  # refused, and perhaps in the store nevertheless
        self._signal = FlushSignal()
        self._renewed_at = 0.0
        self.degraded = 0  # responses that began without the store
        self.cuts = 0  # gaps that were declared
        self.unconfirmed = 0  # ends that were published without the store
        self.contradicted = 0  # of these the store has another

    # One response

    async def create(
        self,
        record: Record,
        events: Sequence[Event],
        stream: Stream,
        listener: MirrorListener,
        *,
        is_promise: bool = False,
        trace: TraceContext | None = None,
    ) -> HeldLease:
        """Make the response known with its first events, and track its stream.

        A store that is away is no error: the response continues, and is written when the store is
        back. A background response, or what must be found again by its key, is nothing but a
        promise: for it ``StoreUnavailable`` is raised.
        """
        is_promise = is_promise or record.background
        backlog = Backlog(record, Lease(record.id, 1), stream, listener, trace)
        backlog.renewed_at = self._clock.monotonic()
        try:
            backlog.lease = await self._answered(self._store.create(record, events))
            backlog.mark_created(events)
        except (StoreUnavailable, TimeoutError):
            if is_promise:
                self._delete_later(record)
                raise StoreUnavailable from None
            self.degraded += 1
            log.warning("store_degraded id=%s", record.id)
        except asyncio.CancelledError:
            if is_promise:  # its client has left before it had the id
                self._delete_later(record)
            else:
                self._uncertain[record.id] = record
            raise
        self._uncertain.pop(record.id, None)
        self._track(backlog)
        return backlog.held

    def resume(
        self,
        claim: Claim,
        stream: Stream,
        listener: MirrorListener,
        *,
        trace: TraceContext | None = None,
    ) -> HeldLease:
        """Track the stream of a response that was claimed; the events in it are stored."""
        backlog = Backlog(claim.record, claim.lease, stream, listener, trace)
        backlog.renewed_at = self._clock.monotonic()
        backlog.mark_created(stream.events)
        self._track(backlog)
        return backlog.held

    def notify_appended(self, response_id: str) -> None:
        """The stream has grown: the next flush writes it. Not needed while it ``is_noted``."""
        if (backlog := self._tracked.get(response_id)) is not None:
            self._behind[response_id] = backlog
            backlog.held.is_noted = not backlog.is_followed
            if backlog.is_followed or not self._signal.has_work:
                self._signal.add(at_once=backlog.is_followed)

    def mark_followed(self, response_id: str) -> None:
        """A reader of the store follows the response: its events are written at once."""
        if (backlog := self._tracked.get(response_id)) is not None:
            backlog.is_followed = True
            self.notify_appended(response_id)

    def set_upstream_id(self, response_id: str, upstream_id: str) -> None:
        """Store the provider's id of a background response with the next write."""
        if (backlog := self._tracked.get(response_id)) is not None:
            backlog.upstream_id = upstream_id
            self.notify_appended(response_id)

    def replace_record(self, record: Record) -> None:
        """Store the record in the place of the one that the response began with."""
        if (backlog := self._tracked.get(record.id)) is not None:
            backlog.replace_record(record)
            self.notify_appended(record.id)

    async def confirm_lease(self, response_id: str) -> None:
        """Ask the store once, if it can be reached; a response that it refuses is not tracked."""
        if (backlog := self._tracked.get(response_id)) is not None:
            with contextlib.suppress(StoreUnavailable, TimeoutError):
                await self._answered(self._flush([backlog]))
            backlog.asked_at = self._clock.monotonic()
            self._note_lease(backlog)

    async def append_opening(self, response_id: str, opening: Sequence[Event]) -> None:
        """Let the store know the first events first; a store that is away gets them later."""
        if (backlog := self._tracked.get(response_id)) is not None:
            backlog.ahead = opening
            with contextlib.suppress(StoreUnavailable, TimeoutError):
                await self._answered(self._flush([backlog]))
            backlog.ahead = ()

    async def append_end(
        self,
        response_id: str,
        end: Sequence[Event],
        side_data: Json | None = None,
        item_ids: Sequence[str] = (),
    ) -> bool:
        """Let the store know the end first, and what goes with it; false if it has another one.

        A store that is away is waited for, ``MirrorTiming.end_waits`` seconds of the time in which
        this process runs. Then the end may be published, and is written when the store is back.
        """
        if (backlog := self._tracked.get(response_id)) is None:
            return False
        backlog.ahead, backlog.side_data, backlog.item_ids = end, side_data, item_ids
        with contextlib.suppress(StoreUnavailable, TimeoutError):
            await self._answered(self._flush([backlog]))
        if self._is_tracked(backlog):
            self.notify_appended(response_id)
            self._signal.add(at_once=True)
            await wait_until_settled(
                backlog.settled,
                self._clock,
                lambda: backlog.renewed_at,
                longest=self._timing.end_waits,
                lease=self._timing.lease,
            )
        if self._is_tracked(backlog):
            backlog.is_unconfirmed = True
            self.unconfirmed += 1
            log.warning("end_unconfirmed id=%s", response_id)
        return not backlog.is_taken_over

    async def release(self, response_id: str) -> bool:
        """Give a running response back to the store, for another server; false if that fails."""
        if (backlog := self._tracked.get(response_id)) is None or not backlog.is_created:
            return False
        try:
            await self._answered(self._flush([backlog]))
            if not self.tracks(response_id) or backlog.is_behind:
                return False
            await self._answered(self._store.release(backlog.lease))
        except (StoreUnavailable, TimeoutError):
            return False
        self._forget(backlog)
        return True

    def tracks(self, response_id: str, owner: str | None = None) -> bool:
        """Whether the (owner's) response runs here, or is still on its way to the store."""
        backlog = self._tracked.get(response_id)
        return backlog is not None and owner in (None, backlog.record.owner)

    def discard(self, response_id: str) -> None:
        """Track the stream no more, and leave nothing in the store: no client has the id."""
        if (record := self._uncertain.pop(response_id, None)) is not None:
            self._delete_later(record)
        if (backlog := self._tracked.get(response_id)) is not None:
            self._forget(backlog)
            self._delete_later(backlog.record)

    # All of them

    async def run(self) -> None:
        """Flush on every tick, at once where it is urgent; runs until cancelled."""
        while True:
            longest = self._timing.renew if self._tracked else None
            await self._signal.wait(longest, self._timing.flush)
            try:
                if await self._write_round(self._due()):
                    continue
                self._cut_to_bound()
            except Exception:  # the edge of the task: one response must not end all mirroring
                log.exception("mirror_crashed")
            self._signal.add()
            await self._clock.sleep(RETRY_SECONDS)

    async def drain(self) -> None:
        """Write everything that is left, once."""
        if not await self._write_round(list(self._tracked.values())):
            log.warning("mirror_incomplete responses=%d", len(self._tracked))

    def force_ends(self) -> None:
        """Let no end of what runs now wait for a store that is away."""
        for backlog in self._tracked.values():
            backlog.settled.set()

    def lag(self) -> int:
        """How many events the store is behind."""
        return sum(len(backlog.missing()) for backlog in self._behind.values())

    async def _write_round(self, backlogs: Sequence[Backlog]) -> bool:
        """Write these, and delete what was refused; false if the store did not take it all."""
        try:
            await self._flush(backlogs)
            for response_id, record in list(self._to_delete.items()):
                await self._store.delete(response_id, record.owner)
                self._to_delete.pop(response_id, None)
        except StoreUnavailable:
            return False
        return True

    def _due(self) -> list[Backlog]:
        """What the store lacks something of, and whose lease is to be renewed."""
        now = self._clock.monotonic()
        due = self._behind
        for backlog in due.values():
            backlog.held.is_noted = False
        if now - self._renewed_at >= self._timing.renew / 4:
            self._renewed_at = now
            silent = now - self._timing.renew
            due = due | {key: one for key, one in self._tracked.items() if one.renewed_at <= silent}
        return list(due.values())

    async def _trace_flush(self, traces: Traces, backlogs: Sequence[Backlog]) -> None:
        """As ``_write_all``, in a span that is linked to the creates whose events are written."""
        behind = [one.trace for one in backlogs if one.trace is not None and one.is_behind]
        links = [trace for trace in behind if trace.is_sampled]
        if not links:
            return await self._write_all(backlogs)
        responses = {"ws_bridge.responses": len(links)}
        span, error = traces.begin("mirror flush", "internal", responses, links=links), ""
        try:
            await self._write_all(backlogs)
        except BaseException as failure:
            error = type(failure).__name__
            raise
        finally:
            span.end({}, error)

    async def _write_all(self, backlogs: Sequence[Backlog]) -> None:
        """Write what the store lacks, and renew the leases. Raises ``StoreUnavailable``.

        A response that cannot be created, now or again, holds up no other.
        """
        await self._write([backlog for backlog in backlogs if backlog.is_created])
        missing = [one for one in backlogs if not one.is_created and self._is_tracked(one)]
        errors = [error for error in await asyncio.gather(*map(self._restore, missing)) if error]
        await self._write([backlog for backlog in missing if backlog.is_created])
        if errors:
            raise errors[0]

    async def _restore(self, backlog: Backlog) -> StoreUnavailable | None:
        lease = backlog.lease
        try:
            # With events: a record without any would be a response that cannot be read.
            await self._store.create(backlog.record, backlog.opening(), lease.fence)
        except StoreUnavailable as error:
            return error
        backlog.is_created = backlog.is_created or backlog.lease == lease
        self._note_lease(backlog)
        return None

    async def _write(self, backlogs: Sequence[Backlog]) -> None:
        backlogs = [backlog for backlog in backlogs if self._is_tracked(backlog)]
        writes = [backlog.next_write() for backlog in backlogs]
        asked_at = self._clock.monotonic()
        receipts = await self._store.append(writes) if writes else ()
        for backlog, write, receipt in zip(backlogs, writes, receipts, strict=True):
            # Of two writes at once, the other may have been the last, or under a newer lease.
            if self._is_tracked(backlog) and backlog.lease == write.lease:
                backlog.renewed_at = asked_at
                self._apply(receipt, backlog, write.events)
                self._note_lease(backlog)

    def _note_lease(self, backlog: Backlog) -> None:
        """Until when the lease is held: the store has confirmed it, or was asked in vain."""
        is_held = backlog.is_created and self._is_tracked(backlog)
        since = max(backlog.renewed_at, backlog.asked_at) if is_held else math.inf
        backlog.held.valid_until = since + self._timing.lease

    def _apply(self, receipt: Receipt, backlog: Backlog, events: Sequence[Event]) -> None:
        """Note what became of a write of these events."""
        backlog.is_followed = receipt.is_followed
        backlog.held.is_noted = backlog.held.is_noted and not receipt.is_followed
        if receipt.verdict in (Verdict.APPENDED, Verdict.DUPLICATE):
            if events:
                backlog.mark_written(events[-1].number)
            is_end = bool(events) and events[-1].is_terminal
            if is_end or (backlog.is_over and not backlog.is_behind):
                self._forget(backlog)
            elif receipt.is_cancelled:
                backlog.listener.cancelled()
        elif receipt.verdict is Verdict.GAP:  # it has lost some: write again from there
            backlog.rewind(receipt.last_number)
        elif receipt.verdict is Verdict.GONE:
            log.warning("store_lost id=%s: it is written again", backlog.record.id)
            backlog.mark_lost()
        else:  # ended or claimed by others: what still comes is not stored
            self._forget(backlog)
            self.contradicted += backlog.is_unconfirmed
            backlog.mark_taken_over()
        if backlog.is_created and not backlog.is_behind:
            self._behind.pop(backlog.record.id, None)
            backlog.held.is_noted = False
        elif self._is_tracked(backlog):
            self._behind[backlog.record.id] = backlog
            self._signal.add()

    async def _answered(self, step: Coroutine[Any, Any, StepResult]) -> StepResult:
        """The step's outcome, waited for as long as the store answers. Raises ``TimeoutError``."""
        return await wait_while_answering(self._store.answer_count, step)

    def _track(self, backlog: Backlog) -> None:
        self._tracked[backlog.record.id] = backlog
        self._note_lease(backlog)
        self.notify_appended(backlog.record.id)

    def _is_tracked(self, backlog: Backlog) -> bool:
        return self._tracked.get(backlog.record.id) is backlog

    def _forget(self, backlog: Backlog) -> None:
        self._tracked.pop(backlog.record.id, None)
        self._behind.pop(backlog.record.id, None)
        self._note_lease(backlog)
        backlog.settled.set()

    def _delete_later(self, record: Record) -> None:
        self._to_delete[record.id] = record
        self._signal.add()

    def _cut_to_bound(self) -> None:
        """Keep no more for the store than the bound."""
        cut, dropped = shorten(list(self._behind.values()), self._timing.backlog)
        self.cuts += len(cut)
        for backlog in dropped:
            self._forget(backlog)
