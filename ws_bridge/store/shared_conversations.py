"""Conversations in Redis: a hash and a list for each, every step one script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from ws_bridge.protocol.conversation import Conversation, Entry
from ws_bridge.store.layout import PREFIX, is_id, partition_of
from ws_bridge.store.packing import pack, unpack
from ws_bridge.store.scripts import CONVERSE, Scripts

Json = dict[str, Any]


class SharedConversations:
    """``Conversations`` of many processes."""

    def __init__(self, scripts: Scripts, ttl_seconds: float) -> None:
        self._scripts = scripts
        self._ttl_ms = int(ttl_seconds * 1000)

    async def create(self, conversation: Conversation) -> None:
        """See ``Conversations``."""
        await self._call(
            "create",
            conversation.id,
            conversation.owner,
            created_at=str(conversation.created_at),
            metadata=orjson.dumps(conversation.metadata),
            entries=conversation.entries,
        )

    async def get(self, conversation_id: str, owner: str) -> Conversation | None:
        """See ``Conversations``."""
        answer = await self._call("read", conversation_id, owner)
        if answer is None:
            return None
        created_at, metadata, kept = answer
        entries = tuple(_entry(payload) for payload in kept)
        return Conversation(
            conversation_id, owner, int(created_at), orjson.loads(metadata), entries
        )

    async def update(self, conversation_id: str, owner: str, metadata: Json) -> bool:
        """See ``Conversations``."""
        return bool(
            await self._call("update", conversation_id, owner, metadata=orjson.dumps(metadata))
        )

    async def add(
        self, conversation_id: str, owner: str, entries: Sequence[Entry]
    ) -> Sequence[str] | None:
        """See ``Conversations``."""
        names = await self._call("add", conversation_id, owner, entries=entries)
        return None if names is None else [orjson.loads(name) for name in names]

    async def remove(self, conversation_id: str, owner: str, item_id: str) -> bool:
        """See ``Conversations``."""
        return bool(await self._call("remove", conversation_id, owner, item_id=item_id))

    async def delete(self, conversation_id: str, owner: str) -> bool:
        """See ``Conversations``."""
        return bool(await self._call("delete", conversation_id, owner))

    async def _call(
        self,
        what: str,
        conversation_id: str,
        owner: str,
        *,
        created_at: str = "",
        metadata: bytes = b"",
        item_id: str = "",
        entries: Sequence[Entry] = (),
    ) -> Any:
        if not is_id(conversation_id):
            return None
        tag = f"{PREFIX}:{{p{partition_of(conversation_id)}}}"
        keys = (f"{tag}:c:{conversation_id}", f"{tag}:ci:{conversation_id}")
        items = (part for entry in entries for part in _parts(entry))
        return await self._scripts.call(
            CONVERSE,
            keys,
            *(what, owner, self._ttl_ms, created_at, metadata, _name(item_id)),
            *items,
        )


def _name(item_id: str) -> bytes:
    """An id, whatever is in it, on one line."""
    return orjson.dumps(item_id)


def _parts(entry: Entry) -> tuple[bytes, bytes, bytes]:
    """Name, spare name, payload."""
    payload = pack(orjson.dumps([entry.item, entry.maker, entry.response]))
    return _name(entry.id), _name(entry.spare or entry.id), payload


def _entry(kept: bytes) -> Entry:
    name, _, payload = kept.partition(b"\n")
    return Entry(orjson.loads(name), *orjson.loads(unpack(payload)))
