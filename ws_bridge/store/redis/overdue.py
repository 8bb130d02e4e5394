"""Overdue responses in Redis: found in the lease indexes, claimed, given back.

Rule 1: what others broke holds up nothing else. An index of another type is made anew, a member
that is no id is dropped, a record that nobody can claim leaves its index, and one that can be
claimed and not be read is made readable, so that it can be ended: one log line each.
Rule 2: what is encrypted with a secret that is not known here is not broken: it is left as it is,
for a server that knows it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from redis.exceptions import ResponseError

from ws_bridge.errors import StoreUnavailable
from ws_bridge.protocol.events import Event
from ws_bridge.store.base import MAX_ATTEMPTS, Claim, Lease, Owners, Record, Unreadable
from ws_bridge.store.redis import scripts as lua
from ws_bridge.store.redis.cipher import NotDecrypted
from ws_bridge.store.redis.codec import ENCRYPTED, Codec, pack_record, unpack_record
from ws_bridge.store.redis.connect import AWAY, Client
from ws_bridge.store.redis.keys import (
    is_id,
    keys_of,
    lease_index,
    lease_indexes,
    metas,
    partition_of,
)
from ws_bridge.store.redis.pages import ResponsePage
from ws_bridge.store.redis.scripts import ScriptCall, Scripts
from ws_bridge.store.redis.subscriptions import MOST_ENTRIES, Cursor

log = logging.getLogger(__name__)

AT_ONCE = 20  # of a partition
INDEX_MS = 3_600_000  # a lease index, after its last entry; renewed by every write
SCANNED = 1000  # keys of one step, for an index that is made anew

Views = Callable[[Sequence[Cursor]], Awaitable[list[ResponsePage | None]]]


@dataclass(frozen=True, slots=True)
class StoredMeta:
    """How values are kept, and under which names their owners."""

    codec: Codec
    owners: Owners


class Overdue:
    """The lease indexes of one store. Every method may raise ``StoreUnavailable``."""

    def __init__(
        self,
        client: Client,
        scripts: Scripts,
        views: Views,
        *,
        kept: StoredMeta,
        worker: str,
        lease_ms: int,
    ) -> None:
        self._client = client
        self._scripts = scripts
        self._views = views
        self._kept = kept
        self._worker = worker
        self._lease_ms = lease_ms
        self._unindexed: set[int] = set()  # partitions whose index was broken, and is not whole yet

    async def find(self) -> list[str]:
        """Some responses whose lease has run out, of every partition."""
        for partition in tuple(self._unindexed):
            await self._index_all(partition)
        calls = [ScriptCall(lua.OVERDUE, (index,), (AT_ONCE,)) for index in lease_indexes()]
        found: list[str] = []
        for partition, answer in enumerate(await self._scripts.call_all(calls)):
            if isinstance(answer, list):
                found += await self._ids(partition, answer)
            elif is_of_another_type(answer):
                await self._make_anew(partition)
        return found

    async def claim(self, response_id: str) -> Claim | None:
        """See ``Store``; of what cannot be read only the end may be written."""
        keys = keys_of(response_id)
        arguments = (response_id, self._worker, self._lease_ms, MAX_ATTEMPTS)
        [answer] = await self._scripts.call_all(
            [ScriptCall(lua.CLAIM, (keys.meta, keys.leases), arguments)]
        )
        if isinstance(answer, ResponseError):
            await self._set_aside(response_id, answer)
            return None
        code, fence, last, cancel, upstream_id, owner = answer
        if code not in (1, -1):
            return None
        try:
            record, is_known = await self._record(response_id, owner.decode())
            events, is_whole = await self._log(response_id, owner.decode(), last)
        except NotDecrypted:
            log.error("claim_not_decrypted id=%s: left to a server that can", response_id)  # noqa: TRY400 - no content
            return None
        return Claim(
            lease=Lease(response_id, fence),
            record=record,
            events=events,
            is_cancelled=bool(cancel),
            may_run=code == 1 and is_whole and is_known,
            upstream_id=upstream_id.decode(),
            lost_until=None if is_whole else last,
        )

    async def release(self, lease: Lease) -> None:
        """See ``Store``."""
        keys = keys_of(lease.id)
        await self._scripts.call(
            lua.RELEASE, (keys.meta, keys.leases), lease.id, self._worker, lease.fence
        )

    async def _ids(self, partition: int, members: Sequence[bytes]) -> list[str]:
        """Those that can be responses of this partition; what cannot is only in the way."""
        names = [member.decode(errors="replace") for member in members]
        ids = [name for name in names if is_id(name) and partition_of(name) == partition]
        strays = [one for one, name in zip(members, names, strict=True) if name not in ids]
        if strays:
            log.error("lease_index_strays key=%s count=%d", lease_index(partition), len(strays))
            await self._do(self._client.zrem(lease_index(partition), *strays))
        return ids

    async def _make_anew(self, partition: int) -> None:
        """Put a new index, of a partition's running responses, in the place of what is none."""
        log.error("lease_index_broken key=%s: made anew", lease_index(partition))
        await self._do(self._client.delete(lease_index(partition)))
        self._unindexed.add(partition)
        await self._index_all(partition)

    async def _index_all(self, partition: int) -> None:
        """Add what runs and has not added itself since; tried again by the next search."""
        begin = metas(partition)
        try:
            async for meta in self._client.scan_iter(match=begin + "*", count=SCANNED):
                response_id = meta.decode(errors="replace").removeprefix(begin)
                if is_id(response_id):
                    await self._index(response_id)
        except AWAY as failure:
            self._scripts.breaker.failed(failure)
            raise StoreUnavailable from None
        self._unindexed.discard(partition)

    async def _index(self, response_id: str) -> None:
        keys = keys_of(response_id)
        try:
            status, until = await self._client.hmget(keys.meta, "st", "lx")
        except ResponseError:  # it is no record
            return
        if status == b"in_progress":
            # What is no time is looked at now, and set aside.
            score = float(until) if until is not None and until.isdigit() else 0.0
            await self._client.zadd(keys.leases, {response_id: score}, nx=True)
            await self._client.pexpire(keys.leases, INDEX_MS)

    async def _set_aside(self, response_id: str, refusal: ResponseError) -> None:
        """Nobody can claim it: it leaves the index, and its keys expire."""
        keys = keys_of(response_id)
        if await self._do(self._client.type(keys.leases)) not in (b"zset", b"none"):
            await self._make_anew(partition_of(response_id))
            return
        log.error("record_broken id=%s reason=%s: set aside", response_id, refusal)
        await self._do(self._client.zrem(keys.leases, response_id))

    async def _log(self, response_id: str, owner: str, last: int) -> tuple[Sequence[Event], bool]:
        """What can be read of the log, and whether that is all up to its last number."""
        events: list[Event] = []
        while True:
            number = events[-1].number if events else -1
            [view] = await self._views([Cursor(response_id, owner, number)])
            if view is None:  # it was said why; readers would stumble over it too
                if await self._is_encrypted(keys_of(response_id).events, number):
                    raise NotDecrypted
                await self._do(self._client.delete(keys_of(response_id).events))
                return (), last < 0
            events += view.events
            if (events[-1].number if events else -1) >= last:
                return events, True
            if not view.events:
                log.error("log_lost id=%s: it is ended", response_id)
                return events, False

    async def _is_encrypted(self, key: str, after: int) -> bool:
        """Whether a log has entries, beyond a number, that only a secret opens."""
        try:
            found = await self._do(
                self._client.xrange(key, f"({after + 1}-0", "+", count=MOST_ENTRIES)
            )
        except ResponseError:  # it is no log
            return False
        return any(fields.get(b"e", b"")[:1] == ENCRYPTED for _, fields in found)

    async def _record(self, response_id: str, owner: str) -> tuple[Record, bool]:
        """The record, or one that says as little as is known, and whether it is the record."""
        key, codec = keys_of(response_id).input, self._kept.codec
        name = self._kept.owners.current_name(owner)
        try:
            record = unpack_record(await self._do(self._client.get(key)) or b"", codec, key)
            return replace(record, owner=self._kept.owners.current_name(record.owner)), True
        except NotDecrypted:
            raise
        except (ResponseError, Unreadable) as broken:
            reason = type(broken).__name__
        log.error("record_lost id=%s reason=%s: it is ended", response_id, reason)
        record = Record(response_id, name, (), "")
        await self._do(self._client.set(key, pack_record(record, codec, key), px=INDEX_MS))
        return record, False

    async def _do(self, command: Awaitable[Any]) -> Any:
        """The answer to a plain command. Raises ``ResponseError`` for a refusal."""
        try:
            return await command
        except ResponseError:
            raise
        except AWAY as failure:
            self._scripts.breaker.failed(failure)
            raise StoreUnavailable from None


def is_of_another_type(answer: Any) -> bool:
    """Whether a key was not what its name says."""
    return isinstance(answer, ResponseError) and str(answer).startswith("WRONGTYPE")
