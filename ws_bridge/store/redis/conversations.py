"""Conversations in Redis: a hash, a list and an index for each, every step one short script."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import orjson

from ws_bridge.errors import StoreUnavailable
from ws_bridge.pacing import aside
from ws_bridge.protocol.conversation import Conversation, ConversationEntry
from ws_bridge.store.base import Owners, Unreadable
from ws_bridge.store.conversations import (
    DEFAULT_LIMITS,
    OVERHEAD,
    PART_BYTES,
    ConversationLimits,
    Part,
    positions,
)
from ws_bridge.store.redis.codec import CODEC, ENCRYPTED, Codec, parse_json
from ws_bridge.store.redis.keys import conversation_keys, is_id
from ws_bridge.store.redis.scripts import CONVERSE, Scripts
from ws_bridge.types import Json

log = logging.getLogger(__name__)


STEP_ENTRIES = 128  # that one step reads, at most
MAX_TRIES = 8  # to read a conversation from which items are removed meanwhile
UNFOLDS = 64  # what most repeats itself becomes even more
OLDEST_FIRST, NEWEST_FIRST = 1, -1


@dataclass(frozen=True, slots=True)
class ConversationPage:
    """What one step has read of a conversation."""

    head: Conversation  # without items
    length: int  # items of the conversation
    removed: int  # so far: it counts up
    entries: Sequence[bytes]


class RedisConversations:
    """``Conversations`` of many processes. One that cannot be decoded is unknown."""

    def __init__(
        self,
        scripts: Scripts,
        ttl_seconds: float,
        codec: Codec = CODEC,
        owners: Owners | None = None,
        limits: ConversationLimits = DEFAULT_LIMITS,
    ) -> None:
        self._scripts = scripts
        self._codec = codec
        self._owners = owners or Owners()
        self._ttl_ms = int(ttl_seconds * 1000)
        self.limits = limits

    async def create(self, conversation: Conversation) -> None:
        """See ``Conversations``."""
        await self._call(
            "create",
            conversation.id,
            conversation.owner,
            created_at=str(conversation.created_at),
            metadata=conversation.metadata,
            entries=conversation.entries,
        )

    async def head(self, conversation_id: str, owner: str) -> Conversation | None:
        """See ``Conversations``."""
        page = await self._page(conversation_id, owner, 0, max_entries=0)
        return page.head if page else None

    async def get(self, conversation_id: str, owner: str) -> Conversation | None:
        """See ``Conversations``: page after page, as it was when the first one was read."""
        for _ in range(MAX_TRIES):
            page = first = await self._page(conversation_id, owner, 0)
            if page is None or first is None:
                return None
            kept = list(page.entries)
            while page is not None and page.entries and len(kept) < first.length:
                page = await self._page(conversation_id, owner, len(kept))
                if page is None:
                    return None
                if page.removed != first.removed or page.length < first.length:
                    break  # the positions have changed
                kept += page.entries
            if len(kept) >= first.length:
                read = await self._read(kept[: first.length], conversation_id)
                return None if read is None else replace(first.head, entries=tuple(read[0]))
        raise StoreUnavailable

    async def page(
        self,
        conversation_id: str,
        owner: str,
        *,
        start: int | None,
        count: int,
        newest_first: bool,
    ) -> Part | None:
        """See ``Conversations``."""
        step = NEWEST_FIRST if newest_first else OLDEST_FIRST
        kept: list[bytes] = []
        place, length, size = start, 0, 0
        while len(kept) < count and size <= PART_BYTES and (place is None or place >= 0):
            max_entries = count - len(kept)
            page = await self._page(
                conversation_id, owner, place, max_entries=max_entries, step=step
            )
            if page is None:
                return None
            length = page.length
            if not page.entries:
                break
            begin = positions(length, place, newest_first=newest_first).start
            place = begin + step * len(page.entries)
            kept += page.entries
            size += sum(map(len, page.entries))
        read = await self._read(kept, conversation_id, most=PART_BYTES)
        if read is None:
            return None
        entries, size = read
        rest = positions(length, start, newest_first=newest_first)
        return Part(entries, len(entries) < len(rest), size)

    async def find(self, conversation_id: str, owner: str, item_id: str) -> int | None:
        """See ``Conversations``."""
        rest, found = 0, -1
        while found < 0 <= rest:
            answer = await self._call("find", conversation_id, owner, name=item_id, start=rest)
            if answer is None:
                return None
            found, rest = answer
        return found if found >= 0 else None

    async def update(self, conversation_id: str, owner: str, metadata: Json) -> bool:
        """See ``Conversations``."""
        return bool(await self._call("update", conversation_id, owner, metadata=metadata))

    async def add(
        self, conversation_id: str, owner: str, entries: Sequence[ConversationEntry]
    ) -> Sequence[str] | None:
        """See ``Conversations``."""
        names = await self._call("add", conversation_id, owner, entries=entries)
        return None if names is None else [orjson.loads(name) for name in names]

    async def remove(self, conversation_id: str, owner: str, item_id: str) -> bool:
        """See ``Conversations``; of one name there may be two items, by an earlier release."""
        is_removed = False
        while (place := await self.find(conversation_id, owner, item_id)) is not None:
            answer = await self._call("remove", conversation_id, owner, name=item_id, start=place)
            is_removed = is_removed or bool(answer)
        return is_removed

    async def delete(self, conversation_id: str, owner: str) -> bool:
        """See ``Conversations``."""
        return bool(await self._call("delete", conversation_id, owner))

    async def _page(
        self,
        conversation_id: str,
        owner: str,
        start: int | None,
        *,
        max_entries: int = STEP_ENTRIES,
        step: int = OLDEST_FIRST,
    ) -> ConversationPage | None:
        answer = await self._call(
            "page",
            conversation_id,
            owner,
            start=start,
            max_entries=min(max_entries, STEP_ENTRIES),
            step=step,
        )
        if answer is None:
            return None
        created_at, metadata, length, size, removed, entries = answer
        try:
            head = self._head(conversation_id, owner, created_at, metadata)
        except Unreadable as unreadable:
            log.error("read_broken id=%s reason=%s", conversation_id, unreadable)  # noqa: TRY400 - the reason is enough
            return None
        return ConversationPage(replace(head, size=size), length, removed, entries)

    async def _call(
        self,
        action: str,
        conversation_id: str,
        owner: str,
        *,
        created_at: str = "",
        metadata: Json | None = None,
        name: str = "",
        start: int | None = 0,
        max_entries: int = STEP_ENTRIES,
        step: int = OLDEST_FIRST,
        entries: Sequence[ConversationEntry] = (),
    ) -> Any:
        if not is_id(conversation_id):
            return None
        owners = (owner,) if action == "create" else self._owners.names(owner)
        meta, listed, _ = keys = conversation_keys(conversation_id)
        kept = b"" if metadata is None else self._encode_metadata(metadata, meta)
        arguments = (
            *(action, " ".join(owners), self._ttl_ms, created_at, kept, _name(name)),
            *("" if start is None else start, max_entries, step),
            *(self.limits.bytes, self.limits.items),
            *(await self._parts(entries, listed)),
        )
        answer = b"again"
        while answer == b"again":  # entries that an older release has added are counted first
            answer = await self._scripts.call(CONVERSE, keys, *arguments)
        if answer == b"full":
            raise self.limits.exceeded()
        return answer

    def _encode_metadata(self, metadata: Json, key: str) -> bytes:
        """As plain JSON, which older releases read, or encrypted."""
        plain = orjson.dumps(metadata)
        return self._codec.encode(plain, key) if self._codec.cipher.encrypts else plain

    async def _parts(
        self, entries: Sequence[ConversationEntry], key: str
    ) -> Sequence[bytes | int | str]:
        """The script's arguments for each entry: name, spare name, payload, size and digest."""
        plain = [orjson.dumps([one.item, one.maker, one.response]) for one in entries]
        names = [(_name(one.id), _name(one.spare or one.id)) for one in entries]

        def packed() -> Sequence[bytes | int | str]:
            parts: list[bytes | int | str] = []
            for pair, each in zip(names, plain, strict=True):
                payload = self._codec.encode(each, key)
                digest = hashlib.sha1(payload).hexdigest()  # noqa: S324 - the server's, for equality
                parts += [*pair, payload, len(each) + OVERHEAD, digest]
            return parts

        return await aside(packed, size=sum(map(len, plain)))

    def _head(
        self, conversation_id: str, owner: str, created_at: bytes | None, metadata: bytes | None
    ) -> Conversation:
        """The conversation without its items. Raises ``Unreadable``."""
        if metadata and metadata.startswith(ENCRYPTED):
            metadata = self._codec.decode(metadata, conversation_keys(conversation_id)[0])
        created = parse_json(created_at or b"")
        plain = parse_json(metadata) if metadata else {}
        if type(created) is not int or not isinstance(plain, dict):
            raise Unreadable("conversation")
        return Conversation(conversation_id, owner, created, plain)

    async def _read(
        self, kept: Sequence[bytes], conversation_id: str, most: float = inf
    ) -> tuple[Sequence[ConversationEntry], int] | None:
        """The items that were stored, and their size; None if one of them cannot be decoded.

        They end with the one that makes them larger than ``most``.
        """
        listed = conversation_keys(conversation_id)[1]

        def read() -> tuple[Sequence[ConversationEntry], int]:
            entries: list[ConversationEntry] = []
            size = 0
            for each in kept:
                if size > most:
                    break
                entry, more = self._entry(each, listed)
                entries.append(entry)
                size += more
            return entries, size

        try:
            return await aside(read, size=UNFOLDS * sum(map(len, kept)))
        except Unreadable as unreadable:
            log.error("read_broken id=%s reason=%s", conversation_id, unreadable)  # noqa: TRY400 - the reason is enough
            return None

    def _entry(self, kept: bytes, key: str) -> tuple[ConversationEntry, int]:
        """One stored item and its size. Values after the third are a newer release's.

        Raises ``Unreadable``.
        """
        line, _, payload = kept.partition(b"\n")
        plain = self._codec.decode(payload, key)
        name, values = parse_json(line), parse_json(plain)
        if not isinstance(values, list):
            raise Unreadable("item")
        item, maker, response = [*values, None, None, None][:3]
        is_known = isinstance(name, str) and isinstance(item, dict)
        if not is_known or not all(isinstance(one, str | None) for one in (maker, response)):
            raise Unreadable("item")
        return ConversationEntry(name, item, maker, response), len(plain)


def _name(item_id: str) -> bytes:
    """An id as JSON: one line, whatever characters it has."""
    return orjson.dumps(item_id)
