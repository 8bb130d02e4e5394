"""The store of one process: bounded by bytes and time, and lost with its process.

Rule 1: over the bound the responses that ended first are dropped. When only running ones are left,
a new response is refused; a running response is never dropped.
Rule 2: an expired response is unknown.
Rule 3: leases and fences hold as in every store, though no other server can claim here.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import orjson

from ws_bridge.errors import StoreUnavailable
from ws_bridge.pacing import HEAVY_BYTES, aside
from ws_bridge.protocol.events import LIFECYCLE, Event
from ws_bridge.protocol.json_limits import weigh
from ws_bridge.protocol.reducer import Reducer
from ws_bridge.protocol.side_data import side_data_size
from ws_bridge.store.base import (
    KEY_BYTES,
    KEY_SECONDS,
    MAX_ATTEMPTS,
    Claim,
    KeyHold,
    Lease,
    Owners,
    Receipt,
    Record,
    Snapshot,
    Verdict,
    Write,
)
from ws_bridge.store.ledger import Booking, DayUsage
from ws_bridge.store.memory_ledger import MemoryLedger
from ws_bridge.stream import Stream
from ws_bridge.types import Json

FOREVER = float("inf")
INDEXED_BYTES = 256  # about, of one item's id
TOMBSTONE_SECONDS = 3600.0  # the id of a deleted response is known: longer than its writer may run
MAX_TOMBSTONES = 100_000  # some 20 MB of ids
MAX_KEYS = 100_000  # idempotency keys, some 60 MB; of more the oldest are forgotten


class StoredResponse:
    """One stored response."""

    def __init__(self, record: Record, fence: int) -> None:
        self.record = record
        self.fence = fence
        self.log = Stream()
        self.reducer = Reducer()
        self.size = len(orjson.dumps([record.input, record.request]))
        self.lease_until = FOREVER
        self.expires_at = FOREVER  # while it runs
        self.is_cancelled = False
        self.upstream_id = ""
        self.side_data: Json | None = None
        self.item_ids: Sequence[str] = ()

    @property
    def last_number(self) -> int:
        """The log's last number."""
        return self.log.events[-1].number if self.log.events else -1

    async def snapshot(self, *, is_overdue: bool) -> Snapshot:
        """The response up to its last event: its end, or what is new is folded, piece by piece."""
        end, folded = self.log.events[-1:], self.reducer
        if end and end[0].is_terminal:
            folded = await aside(partial(Reducer().fold, end), size=len(end[0].text))
        else:
            for place, piece in enumerate(in_pieces(self.log.after(folded.number))):
                if place:
                    await asyncio.sleep(0)
                folded.fold(piece)  # another reader may have folded some of it meanwhile
        return Snapshot(self.record, folded.response(), folded.number, is_overdue)


class MemoryStore:
    """A ``Store``. ``now`` is in seconds.

    ``max_bytes`` bounds all events, creates and side data. ``ttl_seconds`` count from a response's
    end. Only the id of a deleted response is kept.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        ttl_seconds: float,
        now: Callable[[], float],
        lease_seconds: float = FOREVER,
        owners: Owners | None = None,
    ) -> None:
        self._max_bytes = max_bytes
        self._ttl_seconds = ttl_seconds
        self._now = now
        self._lease_seconds = lease_seconds
        self._owners = owners or Owners()
        self._bytes = 0
        self._running: dict[str, StoredResponse] = {}
        self._finished: dict[str, StoredResponse] = {}  # in the order in which they finished
        self._tombstones: dict[str, float] = {}  # by id: until when; the oldest first
        self._items: dict[tuple[str, str], str] = {}  # (owner, item) → the response that has it
        # (owner, idempotency key) → what it stands for, until when; the oldest first
        self._keys: dict[tuple[str, str], tuple[KeyHold, float]] = {}
        self._on_cancelled: Callable[[str], None] | None = None
        self._key = secrets.token_bytes(KEY_BYTES)
        self._ledger = MemoryLedger(now)

    async def open(self) -> None:
        """See ``Store``: there is nothing to connect to."""

    def is_available(self) -> bool:
        """See ``Store``: always."""
        return True

    def was_reached(self) -> bool:
        """See ``Store``: always."""
        return True

    def answer_count(self) -> int:
        """See ``Store``: every call is answered at once."""
        return 0

    def shared_key(self) -> bytes:
        """See ``Store``."""
        return self._key

    def set_callbacks(
        self,
        *,
        on_cancelled: Callable[[str], None],
        on_followed: Callable[[str], None],  # noqa: ARG002 - readers get every append at once
    ) -> None:
        """See ``Store``."""
        self._on_cancelled = on_cancelled

    async def create(self, record: Record, events: Sequence[Event] = (), fence: int = 1) -> Lease:
        """See ``Store``; ``StoreUnavailable`` if the running responses alone fill the bound."""
        lease = Lease(record.id, fence)
        size = weigh(record.input, HEAVY_BYTES)
        entry = await aside(partial(StoredResponse, record, fence), size=size)
        self._expire()
        if not any(record.id in each for each in (self._running, self._finished, self._tombstones)):
            self._make_room(entry.size)
            self._running[record.id] = entry
            self._bytes += entry.size
            await self.append([Write(lease, events)])
        return lease

    async def append(self, writes: Sequence[Write]) -> Sequence[Receipt]:
        """See ``Store``."""
        self._expire()
        return [self._append(write) for write in writes]

    async def get(self, response_id: str, owner: str) -> Snapshot | None:
        """See ``Store``."""
        entry = self._find(response_id, owner)
        return await entry.snapshot(is_overdue=self._is_overdue(entry)) if entry else None

    async def get_chain(self, response_id: str, owner: str) -> Sequence[Snapshot]:
        """See ``Store``."""
        found: list[StoredResponse] = []  # at one instant
        wanted: str | None = response_id
        while wanted is not None and (entry := self._find(wanted, owner)) is not None:
            found.append(entry)
            wanted = entry.record.previous_response_id
        chain = [await entry.snapshot(is_overdue=self._is_overdue(entry)) for entry in found]
        pairs = zip(chain, found, strict=True)
        return [replace(snapshot, side_data=entry.side_data) for snapshot, entry in pairs]

    async def find_item(self, item_id: str, owner: str) -> str:
        """See ``Store``."""
        self._expire()
        return self._items.get((self._owners.current_name(owner), item_id), "")

    async def acquire_key(self, key: str, owner: str, hold: KeyHold) -> KeyHold:
        """See ``Store``; of very many keys the oldest are forgotten."""
        self._expire()
        place = self._owners.current_name(owner), key
        known = self._keys.get(place)
        if known is not None and known[0].response_id != hold.response_id:
            return known[0]
        self._keys.pop(place, None)  # the order is that of time
        self._keys[place] = hold, self._now() + KEY_SECONDS
        return hold

    async def find_key(self, key: str, owner: str) -> KeyHold | None:
        """See ``Store``."""
        self._expire()
        known = self._keys.get((self._owners.current_name(owner), key))
        return known[0] if known else None

    async def release_key(self, key: str, owner: str, hold: KeyHold) -> None:
        """See ``Store``."""
        if await self.find_key(key, owner) == hold:
            del self._keys[self._owners.current_name(owner), key]

    async def read(
        self, response_id: str, owner: str, *, after: int = -1
    ) -> AsyncIterator[Sequence[Event]]:
        """See ``Store``."""
        entry = self._find(response_id, owner)
        if entry is not None:
            async for batch in entry.log.read(after):
                yield batch

    async def cancel(self, response_id: str, owner: str) -> None:
        """See ``Store``."""
        entry = self._find(response_id, owner)
        if entry is not None and not entry.log.is_closed:
            entry.is_cancelled = True
            if self._on_cancelled is not None:
                self._on_cancelled(response_id)

    async def delete(self, response_id: str, owner: str) -> bool:
        """See ``Store``."""
        entry = self._find(response_id, owner)
        if entry is None:
            return False
        self._delete(entry)
        return True

    async def find_overdue(self) -> Sequence[str]:
        """See ``Store``."""
        return [
            response_id for response_id, entry in self._running.items() if self._is_overdue(entry)
        ]

    async def claim(self, response_id: str) -> Claim | None:
        """See ``Store``."""
        entry = self._running.get(response_id)
        if entry is None or not self._is_overdue(entry):
            return None
        entry.fence += 1
        entry.lease_until = self._now() + self._lease_seconds
        return Claim(
            lease=Lease(response_id, entry.fence),
            record=entry.record,
            events=tuple(entry.log.events),
            is_cancelled=entry.is_cancelled,
            may_run=_may_run(entry),
            upstream_id=entry.upstream_id,
        )

    async def release(self, lease: Lease) -> None:
        """See ``Store``."""
        entry = self._running.get(lease.id)
        if entry is not None and entry.fence == lease.fence:
            entry.lease_until = self._now()

    async def book(self, number: int, bookings: Sequence[Booking]) -> None:
        """See ``Store``."""
        self._ledger.book(number, bookings)

    async def read_usage(self, days: int, key: str | None = None) -> Sequence[DayUsage]:
        """See ``Store``."""
        return self._ledger.read(days, key)

    async def read_spent(self, days: int, keys: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
        """See ``Store``."""
        return self._ledger.spent(days, keys)

    async def close(self) -> None:
        """See ``Store``: nothing is open."""

    def _append(self, write: Write) -> Receipt:
        if write.lease.id in self._tombstones:
            return Receipt(Verdict.FENCED)
        entry = self._running.get(write.lease.id) or self._finished.get(write.lease.id)
        if entry is None:
            return Receipt(Verdict.GONE)
        if entry.fence > write.lease.fence:
            return Receipt(Verdict.FENCED, entry.last_number)
        entry.fence = write.lease.fence
        if not entry.log.is_closed:
            entry.record = write.record or entry.record
        verdict = self._extend(entry, write)
        if not entry.log.is_closed:
            entry.lease_until = self._now() + self._lease_seconds
            entry.upstream_id = write.upstream_id or entry.upstream_id
        return Receipt(verdict, entry.last_number, entry.is_cancelled)

    def _extend(self, entry: StoredResponse, write: Write) -> Verdict:
        known = entry.last_number + 1
        new = [event for event in write.events if event.number >= known]
        if not new:
            return Verdict.DUPLICATE
        if entry.log.is_closed:
            return Verdict.ENDED
        first = new[0].number if write.has_gap else known
        if [event.number for event in new] != list(range(first, first + len(new))):
            return Verdict.GAP
        entry.log.append(new)
        entry.side_data = write.final_side_data
        self._grow(entry, sum(len(event.text) for event in new) + side_data_size(entry.side_data))
        if new[-1].is_terminal:
            self._ledger.add([write.booking] if write.booking else ())
            self._index(entry, write.final_item_ids)
            self._finish(entry)
        return Verdict.APPENDED

    def _index(self, entry: StoredResponse, item_ids: Sequence[str]) -> None:
        entry.item_ids = item_ids
        owner = self._owners.current_name(entry.record.owner)
        self._items |= {(owner, item_id): entry.record.id for item_id in item_ids}
        self._grow(entry, INDEXED_BYTES * len(item_ids))

    def _find(self, response_id: str, owner: str) -> StoredResponse | None:
        self._expire()
        entry = self._running.get(response_id) or self._finished.get(response_id)
        visible = entry and entry.record.owner in self._owners.names(owner)
        return entry if visible else None

    def _is_overdue(self, entry: StoredResponse) -> bool:
        return not entry.log.is_closed and entry.lease_until <= self._now()

    def _finish(self, entry: StoredResponse) -> None:
        entry.log.close()
        entry.expires_at = self._now() + self._ttl_seconds
        self._finished[entry.record.id] = self._running.pop(entry.record.id)

    def _grow(self, entry: StoredResponse, size: int) -> None:
        entry.size += size
        self._bytes += size
        self._evict(0)

    def _make_room(self, size: int) -> None:
        self._evict(size)
        if self._bytes + size > self._max_bytes:
            raise StoreUnavailable

    def _evict(self, size: int) -> None:
        while self._finished and self._bytes + size > self._max_bytes:
            self._forget(next(iter(self._finished.values())))

    def _expire(self) -> None:
        while self._finished:
            oldest = next(iter(self._finished.values()))
            if oldest.expires_at > self._now():
                break
            self._forget(oldest)
        while self._tombstones:
            deleted, until = next(iter(self._tombstones.items()))
            if until > self._now() and len(self._tombstones) <= MAX_TOMBSTONES:
                break
            del self._tombstones[deleted]
        while self._keys:
            place, (_, until) = next(iter(self._keys.items()))
            if until > self._now() and len(self._keys) <= MAX_KEYS:
                break
            del self._keys[place]

    def _delete(self, entry: StoredResponse) -> None:
        """Delete, and refuse its writer for as long as it may still write."""
        self._forget(entry)
        self._tombstones[entry.record.id] = self._now() + TOMBSTONE_SECONDS

    def _forget(self, entry: StoredResponse) -> None:
        response_id = entry.record.id
        entry.log.close()
        self._bytes -= entry.size
        self._running.pop(response_id, None)
        self._finished.pop(response_id, None)
        owner = self._owners.current_name(entry.record.owner)
        for item_id in entry.item_ids:
            if self._items.get((owner, item_id)) == response_id:
                del self._items[owner, item_id]


def in_pieces(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """The events in order, in pieces that end with the event that makes them heavy."""
    start = size = 0
    for end, event in enumerate(events, start=1):
        size += len(event.text)
        if size >= HEAVY_BYTES or end == len(events):
            yield events[start:end]
            start, size = end, 0


def _may_run(entry: StoredResponse) -> bool:
    """Whether the response may be generated: no reader can have seen output, or it continues."""
    record = entry.record
    if record.request is None or entry.is_cancelled:
        return False
    is_visible = any(event.type not in LIFECYCLE for event in entry.log.events)
    is_new = record.may_run_again and not is_visible and entry.fence <= MAX_ATTEMPTS
    return is_new or bool(entry.upstream_id)
