"""One response on its way to the store: which of its events the store lacks.

The events stay in the job's stream; a backlog is a position in it. Only when the store is away for
so long that memory gets short, a backlog is cut: one snapshot replaces the events that were not
written yet, and declares the gap (``gap``).
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ws_bridge.protocol.events import IN_PROGRESS, Draft, Event
from ws_bridge.protocol.reducer import Reducer
from ws_bridge.protocol.side_data import side_data_size
from ws_bridge.store.base import Lease, Record, Write
from ws_bridge.stream import Stream
from ws_bridge.tracing import TraceContext
from ws_bridge.types import Json

log = logging.getLogger(__name__)
REWRITTEN_BYTES = 8 * 2**20  # of a log, at its end: one call to the store, which others wait for


@dataclass(frozen=True, slots=True)
class MirrorListener:
    """What the mirror calls when the store has news for the response's writer."""

    cancelled: Callable[[], None]  # a client wants the response's end
    taken_over: Callable[[], None]  # the store refuses this writer from now on


@dataclass(slots=True, eq=False)
class HeldLease:
    """What the mirror tells a response's writer, who looks at it before and after each event."""

    valid_until: float = math.inf  # until then the store need not be asked; monotonic, seconds
    is_noted: bool = False  # the next flush writes the response anyway


@dataclass(slots=True, eq=False)
class Backlog:
    """A response and how far the store knows it."""

    record: Record
    lease: Lease
    stream: Stream
    listener: MirrorListener
    trace: TraceContext | None = None  # of the create's span
    is_created: bool = False
    is_taken_over: bool = False  # by another server, or deleted
    position: int = 0  # the number from which on the store lacks the stream's events
    is_followed: bool = False  # a reader of the store waits for each event
    renewed_at: float = 0.0  # when the last write that was answered was sent; monotonic, seconds
    asked_at: float = 0.0  # when the store was last asked because the lease was uncertain
    ahead: Sequence[Event] = ()  # what the store is to know before the stream has it
    settled: asyncio.Event = field(default_factory=asyncio.Event)  # set: the end waits no longer
    is_unconfirmed: bool = False  # the end is published, and the store has not answered
    held: HeldLease = field(default_factory=HeldLease)
    upstream_id: str = ""
    is_record_replaced: bool = False  # since the store got it
    side_data: Json | None = None  # goes with the end
    item_ids: Sequence[str] = ()  # too: by which the store is to find the response
    gap: list[Event] = field(default_factory=list)  # the snapshot that replaces what was cut
    kept_bytes: int = 0  # as measured last
    _measured_until: int = -1  # the number of the last event in it
    _was_over: bool = False

    def missing(self) -> list[Event]:
        """What the store lacks, in order."""
        return [*self.gap, *self.stream.after(self.position - 1)]

    @property
    def is_behind(self) -> bool:
        """Whether the store lacks anything."""
        events = self.ahead or self.stream.events
        return bool(self.gap) or (bool(events) and events[-1].number >= self.position)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.stream.is_closed

    def mark_taken_over(self) -> None:
        """The store refuses this writer: what is published from now on is stored nowhere."""
        self.is_taken_over = True
        if self.is_unconfirmed:
            log.warning("end_contradicted id=%s: the store has another", self.record.id)
        self.listener.taken_over()

    def next_write(self) -> Write:
        """What is to be written now; with the end all of it, so that it is packed tightly."""
        known = self.stream.events
        ahead = [event for event in self.ahead if not known or event.number > known[-1].number]
        events = [*self.missing(), *ahead]
        is_end = bool(events) and events[-1].is_terminal
        is_needed = self.is_record_replaced and (is_end or bool(self.upstream_id))
        record = self.record if is_needed else None  # of the target that answers
        is_small = self.stream.size <= REWRITTEN_BYTES
        if is_end and known and known[0].number == 0 and is_small:
            return self._write([*known, *ahead], record)
        return self._write(events, record, has_gap=bool(self.gap))

    def _write(
        self, events: Sequence[Event], record: Record | None, *, has_gap: bool = False
    ) -> Write:
        return Write(
            *(self.lease, events, has_gap, self.upstream_id, record, self.side_data),
            *(self.record.owner, self.item_ids),
        )

    def replace_record(self, record: Record) -> None:
        """Keep a record that differs from the store's: another target answers."""
        if record != self.record:
            self.record, self.is_record_replaced = record, True

    def mark_created(self, events: Sequence[Event]) -> None:
        """The store knows the response, with these events."""
        self.is_created = True
        if events:
            self.mark_written(events[-1].number)

    def opening(self) -> list[Event]:
        """What a record that is written late begins with: all so far, but for gap and end."""
        if self.gap or self.position:
            return []
        return [event for event in self.stream.events if not event.is_terminal]

    def mark_written(self, last: int) -> None:
        """The store has everything up to this number."""
        self.position = max(self.position, last + 1)
        self.gap = [event for event in self.gap if event.number > last]
        self._reset_measure()

    def rewind(self, last: int) -> None:
        """The store has nothing after this number: what comes then is written again, if it can."""
        events = self.stream.events
        if events and events[0].number <= last + 1:
            self.position = last + 1
            self.gap = []
            self._reset_measure()

    def mark_lost(self) -> None:
        """The store does not know the response any more: all of it is written again."""
        self.is_created = False
        self.lease = Lease(self.lease.id, self.lease.fence + 1)
        self.rewind(-1)

    def measure(self) -> int:
        """How many bytes are kept for the store; only what is new is counted.

        Of a running response this is what the store lacks, of one that is over all of it: only the
        store still needs it.
        """
        if self.is_over and not self._was_over:
            self._was_over = True
            self._reset_measure()
        known = -1 if self.is_over else self.position - 1
        for event in self.stream.after(max(self._measured_until, known)):
            self.kept_bytes += len(event.text)
            self._measured_until = event.number
        return self.kept_bytes

    def cut(self) -> bool:
        """Replace all that the store lacks, but for the end, by one snapshot.

        False if there was nothing to be cut. A response that is over keeps only what is missing.
        """
        is_cut = self._put_snapshot()
        if self.is_over:  # the stream has no reader any more that begins at its first event
            missing = self.stream.after(self.position - 1)
            self.stream = Stream()
            self.stream.append(missing)
            self.stream.close()
        self._reset_measure()
        self.measure()
        return is_cut

    def _put_snapshot(self) -> bool:
        missing = [event for event in self.missing() if not event.is_terminal]
        if len(missing) < 2:
            return False
        until = missing[-1].number
        response = Reducer().fold(e for e in self.stream.events if e.number <= until).response()
        lane = missing[-1].json().get("stream_id")
        known = self.gap[0].json()["gap"]["after"] if self.gap else self.position - 1
        gap = {"after": known, "until": until}
        snapshot = Draft(IN_PROGRESS, {"response": response, "gap": gap})
        self.gap = [Event.of(snapshot, until, lane)]
        self.position = until + 1
        return True

    def _reset_measure(self) -> None:
        self.kept_bytes = sum(len(event.text) for event in self.gap)
        self.kept_bytes += side_data_size(self.side_data)
        self._measured_until = -1


def shorten(backlogs: Sequence[Backlog], most: int) -> tuple[list[Backlog], list[Backlog]]:
    """Cut until no more than ``most`` bytes are kept: first what is over, the largest first.

    Returns what was cut, and what cannot be kept even so: only of what is over.
    """
    kept = sum(backlog.measure() for backlog in backlogs)
    cut, dropped = [], []
    order = sorted(backlogs, key=lambda backlog: (not backlog.is_over, -backlog.kept_bytes))
    for backlog in order:
        if kept > most:
            kept -= backlog.kept_bytes
            if backlog.cut():
                cut.append(backlog)
                log.warning("mirror_cut id=%s", backlog.record.id)
            kept += backlog.kept_bytes
    for backlog in order:
        if kept > most and backlog.is_over:
            kept -= backlog.kept_bytes
            dropped.append(backlog)
            log.error("mirror_dropped id=%s: it will never be stored", backlog.record.id)
    return cut, dropped
