"""The store of many processes: a Redis or Valkey that all of them reach.

Rule 1: every step is one script, atomic over the keys of one response, which share a hash slot.
Rule 2: time is the server's; what is older than its lease is overdue on every machine alike.
Rule 3: every key expires.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

from ws_bridge.pacing import aside
from ws_bridge.protocol.events import Event
from ws_bridge.store.base import (
    Claim,
    Lease,
    Owners,
    Receipt,
    Record,
    Snapshot,
    Verdict,
    Write,
)
from ws_bridge.store.redis import scripts as lua
from ws_bridge.store.redis.codec import CODEC, Codec, bulk_of, pack_entries, pack_record
from ws_bridge.store.redis.commands import append_call, receipt_of
from ws_bridge.store.redis.connect import RedisAddress, connect
from ws_bridge.store.redis.health import StoreHealth
from ws_bridge.store.redis.hints import listen
from ws_bridge.store.redis.keys import CHANNELS, is_id, keys_of
from ws_bridge.store.redis.overdue import Overdue, StoredMeta
from ws_bridge.store.redis.pages import ALL, ResponsePage, read_call, unfolds_to, views_of
from ws_bridge.store.redis.scripts import ScriptCall, Scripts
from ws_bridge.store.redis.snapshots import RunningSnapshots
from ws_bridge.store.redis.subscriptions import (
    CANCELLED,
    FEW_ENTRIES,
    FOLLOW_SECONDS,
    FOLLOWED,
    LOST,
    Cursor,
    EventPage,
    Subscriptions,
)
from ws_bridge.store.redis.tasks import again_and_again

RUNNING_MS = STONE_MS = 3_600_000  # a running response, after its last write; a deleted one
TOGETHER = 128  # calls of one round trip


class RedisStore:
    """A ``Store``. ``now`` is monotonic; ``worker`` names this process, and no other ever."""

    def __init__(
        self,
        place: RedisAddress,
        *,
        ttl_seconds: float,
        lease_seconds: float,
        now: Callable[[], float],
        worker: str = "",
        codec: Codec = CODEC,
        owners: Owners | None = None,
    ) -> None:
        self.worker = worker or secrets.token_hex(8)
        self._place = place
        self._codec = codec
        self._owners = owners or Owners()
        self._ttl_ms = int(ttl_seconds * 1000)
        self._lease_ms = int(lease_seconds * 1000)
        self._client = connect(place)
        self.scripts = Scripts(self._client, now, lambda: self._presence.back())  # noqa: PLW0108 - it comes next
        self._presence = StoreHealth(self._client, self.scripts, lease_seconds, now, codec)
        self._overdue = Overdue(
            *(self._client, self.scripts, self._views),
            kept=StoredMeta(codec, self._owners),
            worker=self.worker,
            lease_ms=self._lease_ms,
        )
        self._folds = RunningSnapshots(now)
        self._heard: dict[str, Callable[[str], None]] = {}
        self._following = Subscriptions(self, self._hear)
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """See ``Store``: a server that is away is no error, one that is unfit is."""
        await self._presence.look()
        bodies = (self.scripts.pulse.run, self._following.run, self._presence.run)
        self._tasks = [asyncio.create_task(again_and_again(body)) for body in bodies]

    def is_available(self) -> bool:
        """See ``Store``."""
        return self._presence.is_known and self.scripts.breaker.is_well

    def answer_count(self) -> int:
        """See ``Store``."""
        return self.scripts.breaker.answers

    def shared_key(self) -> bytes:
        """See ``Store``."""
        return self._presence.key

    def set_callbacks(
        self, *, on_cancelled: Callable[[str], None], on_followed: Callable[[str], None]
    ) -> None:
        """See ``Store``."""
        self._heard = {CANCELLED: on_cancelled, FOLLOWED: on_followed}

    async def create(self, record: Record, events: Sequence[Event] = (), fence: int = 1) -> Lease:
        """See ``Store``."""
        keys = keys_of(record.id)
        successor = "" if record.request is None else "run" if record.may_run_again else "continue"
        last = events[-1].number if events else -1
        entries = pack_entries(events, self._codec, keys.events)
        packing = partial(pack_record, record, self._codec, keys.input)
        packed = await aside(packing, size=bulk_of(record))
        await self.scripts.call(
            lua.CREATE,
            (keys.meta, keys.events, keys.input, keys.leases),
            *(record.id, record.owner, self.worker, fence, self._lease_ms, self._running_ms),
            *(packed, successor, last, *(part for entry in entries for part in entry)),
        )
        return Lease(record.id, fence)

    async def append(self, writes: Sequence[Write]) -> Sequence[Receipt]:
        """See ``Store``."""
        receipts: list[Receipt] = []
        for start in range(0, len(writes), TOGETHER):
            receipts += await self._append(writes[start : start + TOGETHER])
        for index, (write, receipt) in enumerate(zip(writes, receipts, strict=True)):
            rest = [event for event in write.events if event.number > receipt.last_number]
            if (
                receipt.verdict is Verdict.GAP
                and rest
                and rest[0].number == receipt.last_number + 1
            ):
                again = Write(write.lease, rest, False, write.upstream_id, write.record)
                [receipts[index]] = await self._append([again])
        return receipts

    async def get(self, response_id: str, owner: str) -> Snapshot | None:
        """See ``Store``."""
        while is_id(response_id):
            known = self._folds.number(response_id)
            [view] = await self._views([Cursor(response_id, owner, known)], with_record=True)
            if view is None or view.record is None:
                self._folds.forget(response_id)
                return None
            snapshot = self._folds.fold(view)
            if snapshot is not None:
                return snapshot
        return None

    async def get_chain(self, response_id: str, owner: str) -> Sequence[Snapshot]:
        """See ``Store``: sixteen turns in a round trip."""
        chain: list[Snapshot] = []
        snapshot = await self.get(response_id, owner)
        while snapshot is not None:
            chain.append(snapshot)
            ancestors = [Cursor(key, owner, ALL) for key in snapshot.record.ancestors]
            views = await self._views(ancestors, with_record=True)
            snapshot = None
            for view in views:
                if view is None:
                    return chain
                turn = view.finished() or await self.get(view.cursor.id, owner)
                if turn is None:
                    return chain
                chain.append(turn)
            if views and chain[-1].record.previous_response_id is not None:
                snapshot = await self.get(chain[-1].record.previous_response_id, owner)
        return chain

    async def read(
        self, response_id: str, owner: str, *, after: int = -1
    ) -> AsyncIterator[Sequence[Event]]:
        """See ``Store``; of a response that a successor ended, the end is always told."""
        cursor = Cursor(response_id, owner, max(after, -1), FEW_ENTRIES)
        [page] = await self.pages([cursor])
        while page is not None and page.events:
            yield page.events
            if page.is_last:
                return
            cursor = cursor.beyond(page.events)
            page = await self._following.page(cursor)
        if page is not None and not page.is_last:
            async for batch in self._following.follow(cursor, page.last):
                yield batch

    async def cancel(self, response_id: str, owner: str) -> None:
        """See ``Store``."""
        keys = keys_of(response_id)
        await self.scripts.call(lua.CANCEL, (keys.meta,), self._names(owner), response_id, CHANNELS)

    async def delete(self, response_id: str, owner: str) -> bool:
        """See ``Store``."""
        keys = keys_of(response_id)
        names = (keys.meta, keys.events, keys.final, keys.input, keys.leases)
        arguments = (self._names(owner), response_id, STONE_MS, CHANNELS)
        answer = await self.scripts.call(lua.DELETE, names, *arguments)
        self._folds.forget(response_id)
        return bool(answer)

    async def find_overdue(self) -> Sequence[str]:
        """See ``Store``; none while the store has only just come back."""
        if not self._presence.may_claim():
            return ()
        return await self._overdue.find()

    async def claim(self, response_id: str) -> Claim | None:
        """See ``Store``; only where ``overdue`` would find something."""
        return await self._overdue.claim(response_id) if self._presence.may_claim() else None

    async def release(self, lease: Lease) -> None:
        """See ``Store``."""
        await self._overdue.release(lease)

    async def close(self) -> None:
        """See ``Store``."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.scripts.close()
        await self._client.aclose()

    # What is followed here reads through this (`following.Source`).

    async def pages(self, cursors: Sequence[Cursor]) -> Sequence[EventPage | None]:
        """See ``following.Source``."""
        views = await self._views(cursors)
        return [
            EventPage(view.events, view.is_last, view.last, view.is_taken) if view else None
            for view in views
        ]

    async def ask_for_hints(self, ids: Sequence[str]) -> Sequence[int]:
        """See ``following.Source``."""
        until = int(FOLLOW_SECONDS * 1000)
        told = ((key, (self.worker, until, key, CHANNELS)) for key in ids)
        calls = [ScriptCall(lua.FOLLOW, (keys_of(key).meta,), arguments) for key, arguments in told]
        answers = await self.scripts.call_all(calls)
        return [answer[0] if isinstance(answer, list) else LOST for answer in answers]

    def hints(self) -> AsyncIterator[tuple[str, str]]:
        """See ``following.Source``."""
        return listen(self._place, CHANNELS + self.worker)

    @property
    def _running_ms(self) -> int:
        return max(self._ttl_ms, RUNNING_MS)

    async def _append(self, writes: Sequence[Write]) -> list[Receipt]:
        times = (self._lease_ms, self._running_ms, self._ttl_ms)
        calls = [await append_call(write, self.worker, times, self._codec) for write in writes]
        return [receipt_of(answer) for answer in await self.scripts.call_all(calls)]

    async def _views(
        self, cursors: Sequence[Cursor], *, with_record: bool = False
    ) -> list[ResponsePage | None]:
        calls = [read_call(cursor, self._owners, with_record=with_record) for cursor in cursors]
        answers = await self.scripts.call_all(calls)
        read = partial(views_of, cursors, answers, self._codec, self._owners)
        return await aside(read, size=unfolds_to(answers))

    def _names(self, owner: str) -> str:
        return " ".join(self._owners.names(owner))

    def _hear(self, kind: str, response_id: str) -> None:
        if kind in self._heard:
            self._heard[kind](response_id)
