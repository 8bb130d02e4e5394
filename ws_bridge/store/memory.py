"""The store of one process: bounded by bytes and time, gone with its process.

Rule 1: over the bound the oldest finished responses go first; when only running ones are left, a
new response is refused, and nothing that runs is dropped.
Rule 2: expired is unknown.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

import orjson

from ws_bridge.errors import StoreUnavailable
from ws_bridge.protocol.events import Event
from ws_bridge.protocol.reducer import Reducer
from ws_bridge.store.base import Record, Snapshot, Verdict
from ws_bridge.stream import Stream


class Entry:
    """One stored response."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.log = Stream()
        self.reducer = Reducer()
        self.size = len(orjson.dumps(record.input))
        self.expires_at = float("inf")  # while it runs

    def snapshot(self) -> Snapshot:
        """The fold up to the last event; only what is new is folded."""
        self.reducer.fold(self.log.events[self.reducer.number + 1 :])
        return Snapshot(self.record, self.reducer.response(), self.reducer.number)


class MemoryStore:
    """A ``Store``. ``max_bytes`` counts events and inputs; ``ttl_seconds`` from the end on."""

    def __init__(self, *, max_bytes: int, ttl_seconds: float, now: Callable[[], float]) -> None:
        self._max_bytes = max_bytes
        self._ttl_seconds = ttl_seconds
        self._now = now
        self._bytes = 0
        self._running: dict[str, Entry] = {}
        self._finished: dict[str, Entry] = {}  # in the order in which they finished

    async def create(self, record: Record) -> None:
        """See ``Store``; refuses when the running responses alone fill the bound."""
        self._expire()
        if record.id in self._running or record.id in self._finished:
            return
        entry = Entry(record)
        self._make_room(entry.size)
        self._running[record.id] = entry
        self._bytes += entry.size

    async def append(self, response_id: str, events: Sequence[Event]) -> Verdict:
        """See ``Store``."""
        self._expire()
        entry = self._running.get(response_id) or self._finished.get(response_id)
        if entry is None:
            return Verdict.GONE
        known = len(entry.log.events)
        new = [event for event in events if event.number >= known]
        if not new:
            return Verdict.DUPLICATE
        if entry.log.is_closed:
            return Verdict.ENDED
        if [event.number for event in new] != list(range(known, known + len(new))):
            return Verdict.GAP
        entry.log.append(new)
        self._grow(entry, sum(len(event.text) for event in new))
        if new[-1].is_terminal:
            self._finish(entry)
        return Verdict.APPENDED

    async def get(self, response_id: str, owner: str) -> Snapshot | None:
        """See ``Store``."""
        entry = self._find(response_id, owner)
        return entry.snapshot() if entry else None

    async def read(
        self, response_id: str, owner: str, *, after: int = -1
    ) -> AsyncIterator[Sequence[Event]]:
        """See ``Store``."""
        entry = self._find(response_id, owner)
        if entry is not None:
            async for batch in entry.log.read(after):
                yield batch

    async def delete(self, response_id: str, owner: str) -> bool:
        """See ``Store``."""
        entry = self._find(response_id, owner)
        if entry is None:
            return False
        self._drop(entry)
        return True

    async def close(self) -> None:
        """Nothing is held open."""

    def _find(self, response_id: str, owner: str) -> Entry | None:
        self._expire()
        entry = self._running.get(response_id) or self._finished.get(response_id)
        return entry if entry and entry.record.owner == owner else None

    def _finish(self, entry: Entry) -> None:
        entry.log.close()
        entry.expires_at = self._now() + self._ttl_seconds
        self._finished[entry.record.id] = self._running.pop(entry.record.id)

    def _grow(self, entry: Entry, size: int) -> None:
        entry.size += size
        self._bytes += size
        self._evict(0)

    def _make_room(self, size: int) -> None:
        self._evict(size)
        if self._bytes + size > self._max_bytes:
            raise StoreUnavailable

    def _evict(self, size: int) -> None:
        while self._finished and self._bytes + size > self._max_bytes:
            self._drop(next(iter(self._finished.values())))

    def _expire(self) -> None:
        while self._finished:
            oldest = next(iter(self._finished.values()))
            if oldest.expires_at > self._now():
                break
            self._drop(oldest)

    def _drop(self, entry: Entry) -> None:
        response_id = entry.record.id
        entry.log.close()
        self._bytes -= entry.size
        self._running.pop(response_id, None)
        self._finished.pop(response_id, None)
