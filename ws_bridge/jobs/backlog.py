"""One response on its way to the store: what the store lacks of it.

The events stay in the job's stream; a feed is a position in it. Only when the store is away for so
long that memory gets short, a feed is cut short: one snapshot takes the place of what was not
written yet, and says so (``gap``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ws_bridge.protocol.events import IN_PROGRESS, Draft, Event
from ws_bridge.protocol.reducer import Reducer
from ws_bridge.store.base import Lease, Record, Write
from ws_bridge.stream import Stream

log = logging.getLogger(__name__)
REWRITTEN_BYTES = 8 * 2**20  # of a log, at its end: one call to the store, which others wait for


@dataclass(frozen=True, slots=True)
class MirrorListener:
    """What the mirror calls when the store has news for the response's writer."""

    cancelled: Callable[[], None]  # a client wants the response's end
    taken_over: Callable[[], None]  # the store refuses this writer from now on


@dataclass(slots=True, eq=False)
class Backlog:
    """A response and how far the store knows it."""

    record: Record
    lease: Lease
    stream: Stream
    listener: MirrorListener
    is_created: bool = False
    is_taken: bool = False  # by another server, or deleted
    position: int = 0  # the number from which on the store lacks the stream's events
    is_followed: bool = False
    renewed_at: float = 0.0  # when the last write that was answered was sent; monotonic, seconds
    asked_at: float = 0.0  # when it was last in doubt, and the store was asked
    ending: Sequence[Event] = ()  # what the store is to know before the stream has it
    settled: asyncio.Event = field(
        default_factory=asyncio.Event
    )  # set: nobody has to wait any more
    is_unconfirmed: bool = False  # the end was told, and the store has not answered
    upstream_id: str = ""
    is_corrected: bool = False  # the store has the record as it was before it was known who answers
    instead: list[Event] = field(default_factory=list)  # of what was cut: the snapshot
    kept_bytes: int = 0  # as measured last
    _weighed: int = -1  # up to which number
    _was_over: bool = False

    def lacking(self) -> list[Event]:
        """What the store lacks, in order."""
        return [*self.instead, *self.stream.after(self.position - 1)]

    @property
    def is_behind(self) -> bool:
        """Whether the store lacks anything."""
        events = self.ending or self.stream.events
        return bool(self.instead) or (bool(events) and events[-1].number >= self.position)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.stream.is_closed

    def is_in_doubt(self, then: float) -> bool:
        """Whether the store has not confirmed the lease since, nor was asked in vain."""
        return self.is_created and max(self.renewed_at, self.asked_at) <= then

    def take_away(self) -> None:
        """The store refuses this writer: what is told from now on is nobody's."""
        self.is_taken = True
        if self.is_unconfirmed:
            log.warning("end_contradicted id=%s: the store has another", self.record.id)
        self.listener.taken_over()

    def write(self) -> Write:
        """What is to be written now; with the end all of it, so that it is packed tightly."""
        said = self.stream.events
        ahead = [event for event in self.ending if not said or event.number > said[-1].number]
        events = [*self.lacking(), *ahead]
        is_small = self.stream.size <= REWRITTEN_BYTES
        if events and events[-1].is_terminal and said and said[0].number == 0 and is_small:
            return Write(self.lease, [*said, *ahead], False, self.upstream_id, self._record(events))
        return Write(self.lease, events, bool(self.instead), self.upstream_id, self._record(events))

    def remember(self, upstream_id: str, record: Record | None) -> None:
        """Keep what is known only now: the provider's id, and who answers."""
        self.upstream_id = upstream_id or self.upstream_id
        if record is not None and record != self.record:
            self.record, self.is_corrected = record, True

    def _record(self, events: Sequence[Event]) -> Record | None:
        """The record anew, where somebody is going to need who answered."""
        is_needed = self.upstream_id or (events and events[-1].is_terminal)
        return self.record if self.is_corrected and is_needed else None

    def created(self, events: Sequence[Event]) -> None:
        """The store knows the response, with these events."""
        self.is_created = True
        if events:
            self.written(events[-1].number)

    def opening(self) -> list[Event]:
        """What a record that is written late begins with: all so far, but for gap and end."""
        if self.instead or self.position:
            return []
        return [event for event in self.stream.events if not event.is_terminal]

    def written(self, last: int) -> None:
        """The store has everything up to this number."""
        self.position = max(self.position, last + 1)
        self.instead = [event for event in self.instead if event.number > last]
        self._weigh_anew()

    def rewind(self, last: int) -> None:
        """The store has nothing after this number: what comes then goes there again, if it can."""
        said = self.stream.events
        if said and said[0].number <= last + 1:
            self.position = last + 1
            self.instead = []
            self._weigh_anew()

    def lost(self) -> None:
        """The store knows nothing of the response any more: all of it goes there again."""
        self.is_created = False
        self.lease = Lease(self.lease.id, self.lease.fence + 1)
        self.rewind(-1)

    def measure(self) -> int:
        """How many bytes are kept for the store; only what is new is counted.

        Of a running response what is lacking, of one that is over all: nobody else needs it.
        """
        if self.is_over and not self._was_over:
            self._was_over = True
            self._weigh_anew()
        known = -1 if self.is_over else self.position - 1
        for event in self.stream.after(max(self._weighed, known)):
            self.kept_bytes += len(event.text)
            self._weighed = event.number
        return self.kept_bytes

    def cut(self) -> bool:
        """Put one snapshot in the place of all that the store lacks, but for the end.

        False if there was nothing to be cut. What is over keeps only what is lacking then.
        """
        is_cut = self._put_snapshot()
        if self.is_over:  # nobody reads the stream from its beginning any more: let go of it
            lacking = self.stream.after(self.position - 1)
            self.stream = Stream()
            self.stream.append(lacking)
            self.stream.close()
        self._weigh_anew()
        self.measure()
        return is_cut

    def _put_snapshot(self) -> bool:
        lacking = [event for event in self.lacking() if not event.is_terminal]
        if len(lacking) < 2:
            return False
        until = lacking[-1].number
        response = Reducer().fold(e for e in self.stream.events if e.number <= until).response()
        lane = lacking[-1].json().get("stream_id")
        known = self.instead[0].json()["gap"]["after"] if self.instead else self.position - 1
        gap = {"after": known, "until": until}
        snapshot = Draft(IN_PROGRESS, {"response": response, "gap": gap})
        self.instead = [Event.of(snapshot, until, lane)]
        self.position = until + 1
        return True

    def _weigh_anew(self) -> None:
        self.kept_bytes = sum(len(event.text) for event in self.instead)
        self._weighed = -1


def shorten(feeds: Sequence[Backlog], most: int) -> tuple[list[Backlog], list[Backlog]]:
    """Cut feeds until no more than so many bytes are kept: first what is over, the largest first.

    Returns what was cut, and what cannot be kept even so: only of what is over.
    """
    kept = sum(feed.measure() for feed in feeds)
    cut, dropped = [], []
    order = sorted(feeds, key=lambda feed: (not feed.is_over, -feed.kept_bytes))
    for feed in order:
        if kept > most:
            kept -= feed.kept_bytes
            if feed.cut():
                cut.append(feed)
                log.warning("mirror_cut id=%s", feed.record.id)
            kept += feed.kept_bytes
    for feed in order:
        if kept > most and feed.is_over:
            kept -= feed.kept_bytes
            dropped.append(feed)
            log.error("mirror_dropped id=%s: it will never be stored", feed.record.id)
    return cut, dropped
