"""One response on its way to the store: what the store lacks of it.

The events stay in the job's stream; a feed is a position in it. Only when the store is away for so
long that memory gets short, a feed is cut short: one snapshot takes the place of what was not
written yet, and says so (``gap``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ws_bridge.protocol.events import IN_PROGRESS, Draft, Event
from ws_bridge.protocol.reducer import Reducer
from ws_bridge.store.base import Lease, Record, Write
from ws_bridge.stream import Stream


@dataclass(slots=True, eq=False)
class Feed:
    """A response and how far the store knows it."""

    record: Record
    lease: Lease
    stream: Stream
    cancelled: Callable[[], None]  # somebody wants the response's end
    taken: Callable[[], None]  # the store refuses this writer from now on
    is_created: bool = False
    position: int = 0  # the number from which on the store lacks the stream's events
    is_followed: bool = False
    renewed_at: float = 0.0  # monotonic, seconds
    upstream_id: str = ""
    instead: list[Event] = field(default_factory=list)  # of what was cut: the snapshot
    lacking_bytes: int = 0
    _counted: int = -1

    def lacking(self) -> list[Event]:
        """What the store lacks, in order."""
        return [*self.instead, *self.stream.after(self.position - 1)]

    @property
    def is_behind(self) -> bool:
        """Whether the store lacks anything."""
        events = self.stream.events
        return bool(self.instead) or (bool(events) and events[-1].number >= self.position)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.stream.is_closed

    def write(self, ending: Sequence[Event] = ()) -> Write:
        """What is to be written now; with the end comes everything, so that it is packed tightly.

        ``ending`` is what the store is to know before the stream has it.
        """
        said = self.stream.events
        ahead = [event for event in ending if not said or event.number > said[-1].number]
        events = [*self.lacking(), *ahead]
        is_whole = not self.instead and said and said[0].number == 0
        if is_whole and events and events[-1].is_terminal:
            events = [*said, *ahead]
        return Write(self.lease, events, bool(self.instead), self.upstream_id)

    def written(self, last: int) -> None:
        """The store has everything up to this number."""
        self.position = max(self.position, last + 1)
        self.instead = [event for event in self.instead if event.number > last]
        self.lacking_bytes = 0
        self._counted = last

    def measure(self) -> int:
        """How many bytes the store lacks; only what is new is counted."""
        for event in self.stream.after(max(self._counted, self.position - 1)):
            self.lacking_bytes += len(event.text)
            self._counted = event.number
        return self.lacking_bytes

    def lost(self) -> None:
        """The store knows nothing of the response any more: all of it goes there again."""
        self.is_created = False
        self.lease = Lease(self.lease.id, self.lease.fence + 1)
        if self.stream.events and self.stream.events[0].number == 0:
            self.position = 0
            self.instead = []

    def cut(self) -> bool:
        """Put one snapshot in the place of all that the store lacks, but for the end."""
        lacking = [event for event in self.lacking() if not event.is_terminal]
        if len(lacking) < 2:
            return False
        until = lacking[-1].number
        response = Reducer().fold(e for e in self.stream.events if e.number <= until).response()
        lane = lacking[-1].json().get("stream_id")
        gap = {"after": self.position - 1, "until": until}
        snapshot = Draft(IN_PROGRESS, {"response": response, "gap": gap})
        self.instead = [Event.of(snapshot, until, lane)]
        self.position = until + 1
        if self.is_over:  # nobody reads the stream from its beginning any more: let go of it
            ended = self.stream.after(until)
            self.stream = Stream()
            self.stream.append(ended)
            self.stream.close()
        self.lacking_bytes = sum(len(event.text) for event in self.lacking())
        self._counted = max(self._counted, until)
        return True
