"""Conversations in Redis: a hash and a list for each, every step one script."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import orjson

from ws_bridge.protocol.conversation import Conversation, Entry
from ws_bridge.store.base import Owners, Unreadable
from ws_bridge.store.layout import PREFIX, is_id, partition_of
from ws_bridge.store.packing import CODEC, ENCRYPTED, Codec, parse_json, unpack_json
from ws_bridge.store.scripts import CONVERSE, Scripts

log = logging.getLogger(__name__)

Json = dict[str, Any]


class SharedConversations:
    """``Conversations`` of many processes."""

    def __init__(
        self,
        scripts: Scripts,
        ttl_seconds: float,
        codec: Codec = CODEC,
        owners: Owners | None = None,
    ) -> None:
        self._scripts = scripts
        self._codec = codec
        self._owners = owners or Owners()
        self._ttl_ms = int(ttl_seconds * 1000)

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

    async def get(self, conversation_id: str, owner: str) -> Conversation | None:
        """See ``Conversations``; what cannot be read is unknown."""
        answer = await self._call("read", conversation_id, owner)
        if answer is None:
            return None
        try:
            return self._conversation(conversation_id, owner, *answer)
        except Unreadable as unreadable:
            log.error("read_broken id=%s reason=%s", conversation_id, unreadable)  # noqa: TRY400 - the reason is all there is
            return None

    async def update(self, conversation_id: str, owner: str, metadata: Json) -> bool:
        """See ``Conversations``."""
        return bool(await self._call("update", conversation_id, owner, metadata=metadata))

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
        metadata: Json | None = None,
        item_id: str = "",
        entries: Sequence[Entry] = (),
    ) -> Any:
        if not is_id(conversation_id):
            return None
        names = (owner,) if what == "create" else self._owners.names(owner)
        meta, listed = keys = _keys(conversation_id)
        kept = b"" if metadata is None else self._pack_metadata(metadata, meta)
        items = (part for entry in entries for part in self._parts(entry, listed))
        return await self._scripts.call(
            CONVERSE,
            keys,
            *(what, " ".join(names), self._ttl_ms, created_at, kept, _name(item_id)),
            *items,
        )

    def _pack_metadata(self, metadata: Json, key: str) -> bytes:
        """As JSON, or encrypted: older releases take it for JSON."""
        plain = orjson.dumps(metadata)
        return self._codec.pack(plain, key) if self._codec.cipher.encrypts else plain

    def _parts(self, entry: Entry, key: str) -> tuple[bytes, bytes, bytes]:
        """Name, spare name, payload."""
        plain = orjson.dumps([entry.item, entry.maker, entry.response])
        return _name(entry.id), _name(entry.spare or entry.id), self._codec.pack(plain, key)

    def _conversation(
        self,
        conversation_id: str,
        owner: str,
        created_at: bytes | None,
        metadata: bytes | None,
        kept: Any,
    ) -> Conversation:
        """What the script has read. Raises ``Unreadable``."""
        meta, listed = _keys(conversation_id)
        if metadata and metadata.startswith(ENCRYPTED):
            metadata = self._codec.unpack(metadata, meta)
        began = parse_json(created_at or b"")
        told = parse_json(metadata) if metadata else {}
        if type(began) is not int or not isinstance(told, dict):
            raise Unreadable("conversation")
        entries = tuple(self._entry(payload, listed) for payload in kept)
        return Conversation(conversation_id, owner, began, told, entries)

    def _entry(self, kept: bytes, key: str) -> Entry:
        """An item as it is kept; values after the third are a newer release's, and stay there."""
        line, _, payload = kept.partition(b"\n")
        name, values = parse_json(line), unpack_json(payload, self._codec, key)
        if not isinstance(values, list):
            raise Unreadable("item")
        item, maker, response = [*values, None, None, None][:3]
        is_known = isinstance(name, str) and isinstance(item, dict)
        if not is_known or not all(isinstance(one, str | None) for one in (maker, response)):
            raise Unreadable("item")
        return Entry(name, item, maker, response)


def _keys(conversation_id: str) -> tuple[str, str]:
    tag = f"{PREFIX}:{{p{partition_of(conversation_id)}}}"
    return f"{tag}:c:{conversation_id}", f"{tag}:ci:{conversation_id}"


def _name(item_id: str) -> bytes:
    """An id, whatever is in it, on one line."""
    return orjson.dumps(item_id)
