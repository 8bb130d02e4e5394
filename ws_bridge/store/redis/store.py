"""The store of many processes: a Redis or Valkey that all of them reach.

Rule 1: every step is one script, atomic over the keys of one response, which share a hash slot.
Rule 2: time is the server's: a lease is overdue for all machines at the same instant.
Rule 3: every key expires.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from redis.exceptions import ResponseError

from ws_bridge.errors import StoreUnavailable
from ws_bridge.pacing import aside
from ws_bridge.protocol.events import Event
from ws_bridge.protocol.output.received import items_of
from ws_bridge.protocol.references import ids_to_index
from ws_bridge.store.base import (
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
from ws_bridge.store.ledger import Booking, DayUsage, day_of
from ws_bridge.store.redis import scripts as lua
from ws_bridge.store.redis.codec import (
    CODEC,
    Codec,
    encode_entries,
    encode_makers,
    encode_payer,
    encode_record,
    record_size,
)
from ws_bridge.store.redis.commands import (
    END_OF_LOG,
    FIRST_PAGE_ENTRIES,
    Cursor,
    ResponsePage,
    append_call,
    decode_pages,
    decode_receipt,
    decoded_size,
    forget_calls,
    index_calls,
    read_call,
)
from ws_bridge.store.redis.connect import RedisAddress, connect
from ws_bridge.store.redis.health import StoreHealth
from ws_bridge.store.redis.idempotency import IdempotencyKeys
from ws_bridge.store.redis.keys import CHANNEL_PREFIX, is_id, item_key, keys_of
from ws_bridge.store.redis.ledger import RedisLedger
from ws_bridge.store.redis.overdue import OverdueResponses
from ws_bridge.store.redis.scripts import OnAnswered, ScriptCall, Scripts
from ws_bridge.store.redis.snapshots import RunningSnapshots
from ws_bridge.store.redis.subscriptions import (
    CANCELLED,
    FOLLOW_SECONDS,
    FOLLOWED,
    UNKNOWN,
    Hint,
    Subscriptions,
    receive_hints,
)

log = logging.getLogger(__name__)

RUNNING_MS = 3_600_000  # a running response lives, after its last write
TOMBSTONE_MS = 3_600_000  # the id of a deleted response is known
BATCH = 128  # writes of one round trip
PAUSE_SECONDS = 1.0  # before a crashed task starts again


class Logs:
    """The logs and records of one store as pages: the ``PageSource`` of its subscriptions."""

    def __init__(
        self, scripts: Scripts, address: RedisAddress, worker: str, codec: Codec, owners: Owners
    ) -> None:
        self._scripts = scripts
        self._address = address
        self._worker = worker
        self._codec = codec
        self._owners = owners

    async def read_pages(
        self,
        cursors: Sequence[Cursor],
        *,
        with_record: bool = False,
        with_side_data: bool = False,
    ) -> list[ResponsePage | None]:
        """See ``PageSource``; for the flags see ``read_call``."""
        flags = {"with_record": with_record, "with_side_data": with_side_data}
        calls = [read_call(cursor, self._owners, **flags) for cursor in cursors]
        answers = await self._scripts.call_all(calls)
        decode = partial(decode_pages, cursors, answers, self._codec, self._owners)
        return await aside(decode, size=decoded_size(answers))

    async def request_hints(self, ids: Sequence[str]) -> Sequence[int]:
        """See ``PageSource``."""
        until = int(FOLLOW_SECONDS * 1000)
        calls = [
            ScriptCall(lua.FOLLOW, (keys_of(key).meta,), (self._worker, until, key, CHANNEL_PREFIX))
            for key in ids
        ]
        answers = await self._scripts.call_all(calls)
        return [answer[0] if isinstance(answer, list) else UNKNOWN for answer in answers]

    def hints(self) -> AsyncIterator[Hint]:
        """See ``PageSource``."""
        channel = self._scripts.stored_name(CHANNEL_PREFIX + self._worker)
        return receive_hints(self._address, channel)


class RedisStore:
    """A ``Store``. ``now`` is monotonic; ``worker`` names this process, and never another one.

    ``wall`` tells the days of the ledger, in seconds since the epoch.

    ``prefix`` goes before every stored name. ``on_answered`` is called with the name of a script
    and the seconds of its round trip.
    """

    def __init__(
        self,
        address: RedisAddress,
        *,
        ttl_seconds: float,
        lease_seconds: float,
        now: Callable[[], float],
        worker: str = "",
        codec: Codec = CODEC,
        owners: Owners | None = None,
        prefix: str = "",
        on_answered: OnAnswered = lambda *_: None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.worker = worker or secrets.token_hex(8)
        self._codec = codec
        self._owners = owners or Owners()
        self._ttl_ms = int(ttl_seconds * 1000)
        self._lease_ms = int(lease_seconds * 1000)
        self._client = connect(address)
        self.scripts = Scripts(self._client, now, self._on_recovered, prefix, on_answered)
        self._health = StoreHealth(self._client, self.scripts, lease_seconds, now, codec)
        self._logs = Logs(self.scripts, address, self.worker, codec, self._owners)
        self._overdue = OverdueResponses(
            *(self._client, self.scripts, self._logs.read_pages),
            codec=codec,
            owners=self._owners,
            worker=self.worker,
            lease_ms=self._lease_ms,
        )
        self._wall = wall
        self._ledger = RedisLedger(self.scripts, self.worker, wall)
        self._idempotency = IdempotencyKeys(self.scripts, codec, self._owners)
        self._snapshots = RunningSnapshots(now)
        self._callbacks: dict[str, Callable[[str], None]] = {}
        self._subscriptions = Subscriptions(self._logs, self._on_hint)
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """See ``Store``: a server that is away is no error, one that does not fit is."""
        await self._health.check()
        if self._health.is_checked:
            with contextlib.suppress(StoreUnavailable):
                await self._ledger.begin()
        parts = (self.scripts.standstill, self._subscriptions, self._health, self._ledger)
        bodies: list[Callable[[], Awaitable[None]]] = [part.run for part in parts]
        self._tasks = [asyncio.create_task(run_for_ever(body)) for body in bodies]

    def is_available(self) -> bool:
        """See ``Store``."""
        return self._health.is_checked and self.scripts.breaker.is_healthy

    def was_reached(self) -> bool:
        """See ``Store``."""
        return self._health.is_checked

    def answer_count(self) -> int:
        """See ``Store``."""
        return self.scripts.breaker.answer_count

    def shared_key(self) -> bytes:
        """See ``Store``."""
        return self._health.shared_key

    def set_callbacks(
        self, *, on_cancelled: Callable[[str], None], on_followed: Callable[[str], None]
    ) -> None:
        """See ``Store``."""
        self._callbacks = {CANCELLED: on_cancelled, FOLLOWED: on_followed}

    async def create(self, record: Record, events: Sequence[Event] = (), fence: int = 1) -> Lease:
        """See ``Store``."""
        keys = keys_of(record.id)
        successor = "" if record.request is None else "run" if record.may_run_again else "continue"
        last = events[-1].number if events else -1
        entries = encode_entries(events, self._codec, keys.events)
        encode = partial(encode_record, record, self._codec, keys.input)
        encoded = await aside(encode, size=record_size(record))
        await self.scripts.call(
            lua.CREATE,
            (keys.meta, keys.events, keys.input, keys.leases),
            *(record.id, record.owner, self.worker, fence, self._lease_ms, self._running_ms),
            *(encoded, successor, encode_makers(record, self._codec, keys.makers)),
            *(encode_payer(record, self._codec, keys.payer), last),
            *(part for entry in entries for part in entry),
        )
        return Lease(record.id, fence)

    async def append(self, writes: Sequence[Write]) -> Sequence[Receipt]:
        """See ``Store``."""
        receipts: list[Receipt] = []
        for start in range(0, len(writes), BATCH):
            receipts += await self._append(writes[start : start + BATCH])
        for index, (write, receipt) in enumerate(zip(writes, receipts, strict=True)):
            rest = [event for event in write.events if event.number > receipt.last_number]
            if (
                receipt.verdict is Verdict.GAP
                and rest
                and rest[0].number == receipt.last_number + 1
            ):
                again = replace(write, events=rest, has_gap=False)
                [receipts[index]] = await self._append([again])
        return receipts

    async def get(self, response_id: str, owner: str) -> Snapshot | None:
        """See ``Store``."""
        return await self._get(response_id, owner, with_side_data=False)

    async def _get(self, response_id: str, owner: str, *, with_side_data: bool) -> Snapshot | None:
        while is_id(response_id):
            folded = self._snapshots.last_number(response_id)
            [page] = await self._logs.read_pages(
                [Cursor(response_id, owner, folded)],
                with_record=True,
                with_side_data=with_side_data,
            )
            if page is None or page.record is None:
                self._snapshots.forget(response_id)
                return None
            snapshot = self._snapshots.fold(page)
            if snapshot is not None:
                return snapshot
        return None

    async def get_chain(self, response_id: str, owner: str) -> Sequence[Snapshot]:
        """See ``Store``: ``MAX_ANCESTORS`` turns in a round trip."""
        chain: list[Snapshot] = []
        snapshot = await self._get(response_id, owner, with_side_data=True)
        while snapshot is not None:
            chain.append(snapshot)
            ancestors = [Cursor(key, owner, END_OF_LOG) for key in snapshot.record.ancestors]
            pages = await self._logs.read_pages(ancestors, with_record=True, with_side_data=True)
            snapshot = None
            for page in pages:
                if page is None:
                    return chain
                turn = page.final_snapshot() or await self.get(page.cursor.id, owner)
                if turn is None:
                    return chain
                chain.append(turn)
            if pages and chain[-1].record.previous_response_id is not None:
                previous = chain[-1].record.previous_response_id
                snapshot = await self._get(previous, owner, with_side_data=True)
        return chain

    async def find_item(self, item_id: str, owner: str) -> str:
        """See ``Store``."""
        keys = [item_key(item_id, name) for name in self._owners.names(owner)]
        calls = [ScriptCall(lua.INDEX, (key,), ()) for key in keys]
        found = (one for one in await self.scripts.call_all(calls) if isinstance(one, bytes))
        return next(found, b"").decode()

    async def acquire_key(self, key: str, owner: str, hold: KeyHold) -> KeyHold:
        """See ``Store``."""
        return await self._idempotency.acquire(key, owner, hold)

    async def find_key(self, key: str, owner: str) -> KeyHold | None:
        """See ``Store``."""
        return await self._idempotency.find(key, owner)

    async def release_key(self, key: str, owner: str, hold: KeyHold) -> None:
        """See ``Store``."""
        await self._idempotency.release(key, owner, hold)

    async def read(
        self, response_id: str, owner: str, *, after: int = -1
    ) -> AsyncIterator[Sequence[Event]]:
        """See ``Store``; of a response that a successor ended, every reader gets the end."""
        cursor = Cursor(response_id, owner, max(after, -1), FIRST_PAGE_ENTRIES)
        [page] = await self._logs.read_pages([cursor])
        while page is not None and page.events:
            yield page.events
            if page.is_last:
                return
            cursor = cursor.advance(page.events)
            page = await self._subscriptions.read_page(cursor)
        if page is not None and not page.is_last:
            async for batch in self._subscriptions.follow(cursor, page.last_number):
                yield batch

    async def cancel(self, response_id: str, owner: str) -> None:
        """See ``Store``."""
        arguments = (self._names(owner), response_id, CHANNEL_PREFIX)
        await self.scripts.call(lua.CANCEL, (keys_of(response_id).meta,), *arguments)

    async def delete(self, response_id: str, owner: str) -> bool:
        """See ``Store``."""
        keys = keys_of(response_id)
        names = (keys.meta, keys.events, keys.final, keys.input, keys.leases)
        arguments = (self._names(owner), response_id, TOMBSTONE_MS, CHANNEL_PREFIX)
        kept = await self.get(response_id, owner)
        item_ids = ids_to_index(items_of(kept.response.get("output"))) if kept else ()
        answer = await self.scripts.call(lua.DELETE, names, *arguments)
        if answer and item_ids:
            forget = forget_calls(response_id, item_ids, self._owners.names(owner))
            await self.scripts.call_all(forget)
        self._snapshots.forget(response_id)
        return bool(answer)

    async def find_overdue(self) -> Sequence[str]:
        """See ``Store``; none until the owners could renew their leases after an outage."""
        if not self._health.may_claim():
            return ()
        return await self._overdue.find()

    async def claim(self, response_id: str) -> Claim | None:
        """See ``Store``; None while ``find_overdue`` finds none after an outage."""
        return await self._overdue.claim(response_id) if self._health.may_claim() else None

    async def release(self, lease: Lease) -> None:
        """See ``Store``."""
        await self._overdue.release(lease)

    async def book(self, number: int, bookings: Sequence[Booking]) -> None:
        """See ``Store``."""
        await self._ledger.book(number, bookings)

    async def read_usage(self, days: int, key: str | None = None) -> Sequence[DayUsage]:
        """See ``Store``."""
        return await self._ledger.read_usage(days, key)

    async def read_spent(self, days: int, keys: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
        """See ``Store``."""
        return await self._ledger.read_spent(days, keys)

    async def close(self) -> None:
        """See ``Store``."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.scripts.close()
        await self._client.aclose()

    @property
    def _running_ms(self) -> int:
        return max(self._ttl_ms, RUNNING_MS)

    async def _append(self, writes: Sequence[Write]) -> list[Receipt]:
        times = (self._lease_ms, self._running_ms, self._ttl_ms)
        given, day = (self.worker, times, self._codec), day_of(self._wall())
        calls = [await append_call(write, *given, day) for write in writes]
        index = [call for write in writes for call in index_calls(write, self._ttl_ms)]
        answers = await self.scripts.call_all([*index, *calls])
        errors = [answer for answer in answers[: len(index)] if isinstance(answer, ResponseError)]
        if errors:  # the responses are stored all the same
            log.error("index_refused reason=%s", errors[0])
        return [decode_receipt(answer) for answer in answers[len(index) :]]

    def _names(self, owner: str) -> str:
        return " ".join(self._owners.names(owner))

    def _on_recovered(self) -> None:
        self._health.recovered()

    def _on_hint(self, kind: str, response_id: str) -> None:
        if kind in self._callbacks:
            self._callbacks[kind](response_id)


async def run_for_ever(body: Callable[[], Awaitable[None]]) -> None:
    """Run a task of the store; after a crash it starts again, or a bug would silence the store."""
    while True:
        try:
            return await body()
        except Exception:  # the edge of the task
            log.exception("store_task_crashed")
            await asyncio.sleep(PAUSE_SECONDS)
