"""The seam to where conversations are kept, and its store of one process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import orjson

from ws_bridge.errors import StoreUnavailable
from ws_bridge.protocol.conversation import Conversation, Entry
from ws_bridge.store.base import Owners

Json = dict[str, Any]

OVERHEAD = 512  # bytes, of a conversation and of each item in it


class Conversations(Protocol):
    """Where conversations are kept. Unknown, foreign, deleted and expired are None or False.

    Every method may raise ``StoreUnavailable``.
    """

    async def create(self, conversation: Conversation) -> None:
        """Keep a new one."""
        ...

    async def get(self, conversation_id: str, owner: str) -> Conversation | None:
        """The conversation with all its items; asking keeps it for another while."""
        ...

    async def update(self, conversation_id: str, owner: str, metadata: Json) -> bool:
        """Replace the metadata."""
        ...

    async def add(
        self, conversation_id: str, owner: str, entries: Sequence[Entry]
    ) -> Sequence[str] | None:
        """Append items, in order, all at once, but for those that are there already.

        Returns the ids they have there: the spare one, where an item's own is taken. Raises
        ``StoreUnavailable`` if there is no room for them.
        """
        ...

    async def remove(self, conversation_id: str, owner: str, item_id: str) -> bool:
        """Take one item out."""
        ...

    async def delete(self, conversation_id: str, owner: str) -> bool:
        """Forget it."""
        ...


class MemoryConversations:
    """``Conversations`` of one process, bounded by bytes and time: the least used go first.

    One that alone would be over the bound grows no further.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        ttl_seconds: float,
        now: Callable[[], float],
        owners: Owners | None = None,
    ) -> None:
        self._max_bytes = max_bytes
        self._ttl_seconds = ttl_seconds
        self._now = now
        self._owners = owners or Owners()
        self._bytes = 0
        # By id: the conversation, its size, when it expires; the least used first.
        self._kept: OrderedDict[str, tuple[Conversation, int, float]] = OrderedDict()

    async def create(self, conversation: Conversation) -> None:
        """See ``Conversations``."""
        if conversation.id not in self._kept:
            self._put(replace(conversation, entries=()).plus(conversation.entries)[0])

    async def get(self, conversation_id: str, owner: str) -> Conversation | None:
        """See ``Conversations``."""
        self._expire()
        kept = self._kept.get(conversation_id)
        if kept is None or kept[0].owner not in self._owners.names(owner):
            return None
        conversation, size, _ = kept
        self._kept[conversation_id] = (conversation, size, self._now() + self._ttl_seconds)
        self._kept.move_to_end(conversation_id)
        return conversation

    async def update(self, conversation_id: str, owner: str, metadata: Json) -> bool:
        """See ``Conversations``."""
        conversation = await self.get(conversation_id, owner)
        if conversation is not None:
            self._put(replace(conversation, metadata=metadata))
        return conversation is not None

    async def add(
        self, conversation_id: str, owner: str, entries: Sequence[Entry]
    ) -> Sequence[str] | None:
        """See ``Conversations``."""
        conversation = await self.get(conversation_id, owner)
        if conversation is None:
            return None
        conversation, ids = conversation.plus(entries)
        self._put(conversation)
        return ids

    async def remove(self, conversation_id: str, owner: str, item_id: str) -> bool:
        """See ``Conversations``."""
        conversation = await self.get(conversation_id, owner)
        if conversation is None:
            return False
        left = tuple(entry for entry in conversation.entries if entry.id != item_id)
        self._put(replace(conversation, entries=left))
        return len(left) < len(conversation.entries)

    async def delete(self, conversation_id: str, owner: str) -> bool:
        """See ``Conversations``."""
        conversation = await self.get(conversation_id, owner)
        if conversation is not None:
            self._drop(conversation_id)
        return conversation is not None

    def _put(self, conversation: Conversation) -> None:
        self._expire()
        items = [entry.item for entry in conversation.entries]
        size = len(orjson.dumps([conversation.metadata, items])) + OVERHEAD * (1 + len(items))
        if size > self._max_bytes:
            raise StoreUnavailable
        self._drop(conversation.id)
        self._kept[conversation.id] = (conversation, size, self._now() + self._ttl_seconds)
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def _expire(self) -> None:
        while self._kept:
            oldest, (_, _, expires_at) = next(iter(self._kept.items()))
            if expires_at > self._now():
                break
            self._drop(oldest)

    def _drop(self, conversation_id: str) -> None:
        kept = self._kept.pop(conversation_id, None)
        if kept is not None:
            self._bytes -= kept[1]
