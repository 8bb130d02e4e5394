"""Overdue responses in Redis: found in the lease indexes, claimed, released.

Rule 1: damaged keys hold up no other response, and each is logged once. An index of another type is
rebuilt, a member that is no id is removed, and a record that no server can claim leaves its index.
A response that can be claimed and not be decoded gets readable values, so that it can be ended.
Rule 2: a value that is encrypted with a secret unknown to this server is not damaged: it is left as
it is, for a server that knows the secret.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from redis.exceptions import ResponseError

from ws_bridge.errors import StoreUnavailable
from ws_bridge.protocol.events import Event
from ws_bridge.store.base import MAX_ATTEMPTS, Claim, Lease, Owners, Record, Unreadable
from ws_bridge.store.redis import scripts as lua
from ws_bridge.store.redis.cipher import NotDecrypted
from ws_bridge.store.redis.codec import (
    ENCRYPTED,
    Codec,
    decode_makers,
    decode_payer,
    decode_record,
    encode_record,
)
from ws_bridge.store.redis.commands import PAGE_ENTRIES, Cursor, ResponsePage
from ws_bridge.store.redis.connect import UNAVAILABLE, Client
from ws_bridge.store.redis.keys import (
    is_id,
    keys_of,
    lease_index,
    lease_indexes,
    meta_prefix,
    partition_of,
)
from ws_bridge.store.redis.scripts import ScriptCall, Scripts

log = logging.getLogger(__name__)

MAX_FOUND = 20  # overdue responses of a partition in one search
INDEX_MS = 3_600_000  # a lease index lives, after its last entry; every write renews it
SCAN_COUNT = 1000  # keys of one step, for an index that is rebuilt

ReadPages = Callable[[Sequence[Cursor]], Awaitable[list[ResponsePage | None]]]


class OverdueResponses:
    """The overdue responses of one store. Every method may raise ``StoreUnavailable``."""

    def __init__(
        self,
        client: Client,
        scripts: Scripts,
        read_pages: ReadPages,
        *,
        codec: Codec,
        owners: Owners,
        worker: str,
        lease_ms: int,
    ) -> None:
        self._client = client
        self._scripts = scripts
        self._stored = scripts.stored_name
        self._read_pages = read_pages
        self._codec = codec
        self._owners = owners
        self._worker = worker
        self._lease_ms = lease_ms
        self._unindexed: set[int] = set()  # partitions whose index was damaged and is incomplete

    async def find(self) -> list[str]:
        """Some responses whose lease has run out, of every partition."""
        for partition in tuple(self._unindexed):
            await self._index_running(partition)
        calls = [ScriptCall(lua.OVERDUE, (index,), (MAX_FOUND,)) for index in lease_indexes()]
        found: list[str] = []
        for partition, answer in enumerate(await self._scripts.call_all(calls)):
            if isinstance(answer, list):
                found += await self._valid_ids(partition, answer)
            elif is_of_another_type(answer):
                await self._rebuild_index(partition)
        return found

    async def claim(self, response_id: str) -> Claim | None:
        """See ``Store``; a response that cannot be decoded may only be ended."""
        keys = keys_of(response_id)
        arguments = (response_id, self._worker, self._lease_ms, MAX_ATTEMPTS)
        [answer] = await self._scripts.call_all(
            [ScriptCall(lua.CLAIM, (keys.meta, keys.leases), arguments)]
        )
        if isinstance(answer, ResponseError):
            await self._set_aside(response_id, answer)
            return None
        code, fence, last, cancelled, upstream_id, owner, makers, payer = answer
        if code not in (1, -1):
            return None
        try:
            record, is_known = await self._read_record(response_id, owner.decode(), makers)
            key_name, entry = self._payer(response_id, payer)
            events, is_whole = await self._read_log(response_id, owner.decode(), last)
        except NotDecrypted:
            log.error("claim_not_decrypted id=%s: left to a server that can", response_id)  # noqa: TRY400 - no content
            return None
        return Claim(
            lease=Lease(response_id, fence),
            record=replace(record, key_name=key_name, entry=entry),
            events=events,
            is_cancelled=bool(cancelled),
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

    async def _valid_ids(self, partition: int, members: Sequence[bytes]) -> list[str]:
        """The members that may be responses of this partition; the others leave the index."""
        names = [member.decode(errors="replace") for member in members]
        ids = [name for name in names if is_id(name) and partition_of(name) == partition]
        strays = [one for one, name in zip(members, names, strict=True) if name not in ids]
        if strays:
            log.error("lease_index_strays key=%s count=%d", lease_index(partition), len(strays))
            await self._execute(self._client.zrem(self._stored(lease_index(partition)), *strays))
        return ids

    async def _rebuild_index(self, partition: int) -> None:
        """Replace a key that is no index by an index of the partition's running responses."""
        log.error("lease_index_broken key=%s: rebuilt", lease_index(partition))
        await self._execute(self._client.delete(self._stored(lease_index(partition))))
        self._unindexed.add(partition)
        await self._index_running(partition)

    async def _index_running(self, partition: int) -> None:
        """Add the running responses that are not in the index; the next search tries it again."""
        prefix = self._stored(meta_prefix(partition))
        try:
            async for meta in self._client.scan_iter(match=prefix + "*", count=SCAN_COUNT):
                response_id = meta.decode(errors="replace").removeprefix(prefix)
                if is_id(response_id):
                    await self._index(response_id)
        except UNAVAILABLE as failure:
            self._scripts.breaker.record_failure(failure)
            raise StoreUnavailable from None
        self._unindexed.discard(partition)

    async def _index(self, response_id: str) -> None:
        keys = keys_of(response_id)
        try:
            status, until = await self._client.hmget(self._stored(keys.meta), "st", "lx")
        except ResponseError:  # it is no record
            return
        if status == b"in_progress":
            # A damaged time counts as overdue: the record is looked at now, and set aside.
            score = float(until) if until is not None and until.isdigit() else 0.0
            index = self._stored(keys.leases)
            await self._client.zadd(index, {response_id: score}, nx=True)
            await self._client.pexpire(index, INDEX_MS)

    async def _set_aside(self, response_id: str, refusal: ResponseError) -> None:
        """Remove a record that no server can claim from its index; its keys expire."""
        index = self._stored(keys_of(response_id).leases)
        if await self._execute(self._client.type(index)) not in (b"zset", b"none"):
            await self._rebuild_index(partition_of(response_id))
            return
        log.error("record_broken id=%s reason=%s: set aside", response_id, refusal)
        await self._execute(self._client.zrem(index, response_id))

    async def _read_log(
        self, response_id: str, owner: str, last: int
    ) -> tuple[Sequence[Event], bool]:
        """The events of the log that can be decoded, and whether they reach its last number."""
        events: list[Event] = []
        while True:
            number = events[-1].number if events else -1
            [page] = await self._read_pages([Cursor(response_id, owner, number)])
            if page is None:  # it is logged; the log would stop readers too
                key = self._stored(keys_of(response_id).events)
                if await self._is_encrypted(key, number):
                    raise NotDecrypted
                await self._execute(self._client.delete(key))
                return (), last < 0
            events += page.events
            if (events[-1].number if events else -1) >= last:
                return events, True
            if not page.events:
                log.error("log_lost id=%s: it is ended", response_id)
                return events, False

    async def _is_encrypted(self, key: str, after: int) -> bool:
        """Whether a log has encrypted entries beyond a number."""
        try:
            found = await self._execute(
                self._client.xrange(key, f"({after + 1}-0", "+", count=PAGE_ENTRIES)
            )
        except ResponseError:  # it is no log
            return False
        return any(fields.get(b"e", b"")[:1] == ENCRYPTED for _, fields in found)

    async def _read_record(
        self, response_id: str, owner: str, makers: bytes
    ) -> tuple[Record, bool]:
        """The record and True, or one with only the id and the owner and False, stored instead."""
        keys, name = keys_of(response_id), self._owners.current_name(owner)
        key = keys.input
        try:
            value = await self._execute(self._client.get(self._stored(key))) or b""
            record = decode_record(value, self._codec, key)
            made = decode_makers(makers, self._codec, keys.makers)
            owner = self._owners.current_name(record.owner)
            return replace(record, owner=owner, input_makers=made), True
        except NotDecrypted:
            raise
        except (ResponseError, Unreadable) as damage:
            reason = type(damage).__name__
        log.error("record_lost id=%s reason=%s: it is ended", response_id, reason)
        record = Record(response_id, name, (), "")
        value = encode_record(record, self._codec, key)
        await self._execute(self._client.set(self._stored(key), value, px=INDEX_MS))
        await self._execute(self._client.hdel(self._stored(keys.meta), "im"))
        return record, False

    def _payer(self, response_id: str, value: bytes) -> tuple[str, str]:
        """What its usage is booked to; nothing, where that cannot be decoded."""
        try:
            return decode_payer(value, self._codec, keys_of(response_id).payer)
        except NotDecrypted:
            raise
        except Unreadable:
            log.error("payer_broken id=%s: its usage is not booked", response_id)  # noqa: TRY400 - no content
            return "", ""

    async def _execute(self, command: Awaitable[Any]) -> Any:
        """The answer to a plain command. Raises ``ResponseError`` for a refusal."""
        try:
            return await command
        except ResponseError:
            raise
        except UNAVAILABLE as failure:
            self._scripts.breaker.record_failure(failure)
            raise StoreUnavailable from None


def is_of_another_type(answer: Any) -> bool:
    """Whether the server refused a call because a key has another type than its name means."""
    return isinstance(answer, ResponseError) and str(answer).startswith("WRONGTYPE")
