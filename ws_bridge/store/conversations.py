"""The seam to the stores of conversations, and the one of a single process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import orjson

from ws_bridge.errors import ConversationFull, StoreUnavailable
from ws_bridge.protocol.conversation import Conversation, ConversationEntry
from ws_bridge.store.base import Owners
from ws_bridge.types import Json

OVERHEAD = 512  # bytes, of a conversation and of each item in it
PART_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class ConversationLimits:
    """How much one conversation may hold."""

    bytes: int = 32 * 2**20
    items: int = 10_000

    def check(self, size: int, count: int) -> None:
        """Raise ``ConversationFull`` if ``size`` bytes or ``count`` items are too many."""
        if size > self.bytes or count > self.items:
            raise self.exceeded()

    def exceeded(self) -> ConversationFull:
        """The error of a conversation that would hold more."""
        return ConversationFull(self.bytes, self.items)


DEFAULT_LIMITS = ConversationLimits()


@dataclass(frozen=True, slots=True)
class Part:
    """Some items of a conversation that come after each other."""

    entries: Sequence[ConversationEntry]
    has_more: bool  # there are more behind them
    size: int  # bytes, about


def positions(length: int, start: int | None, *, newest_first: bool) -> range:
    """The positions of ``length`` items that a page from ``start`` on, or from an end, can have."""
    if newest_first:
        return range(length - 1 if start is None else min(start, length - 1), -1, -1)
    return range(start or 0, length)


class Conversations(Protocol):
    """Where conversations are kept. Every method may raise ``StoreUnavailable``.

    A conversation that is unknown, deleted, expired or another owner's is None or False. Every
    other call takes effect completely or not at all, and renews the conversation's time to live.
    """

    limits: ConversationLimits  # how much one may hold; they may change

    async def create(self, conversation: Conversation) -> None:
        """Store a new one; an id that is taken changes nothing. Raises ``ConversationFull``."""
        ...

    async def head(self, conversation_id: str, owner: str) -> Conversation | None:
        """The conversation without its items."""
        ...

    async def get(self, conversation_id: str, owner: str) -> Conversation | None:
        """The conversation with all its items at one instant."""
        ...

    async def page(
        self,
        conversation_id: str,
        owner: str,
        *,
        start: int | None,
        count: int,
        newest_first: bool,
    ) -> Part | None:
        """At most ``count`` items from the position ``start`` on.

        It ends with the item that makes it larger than ``PART_BYTES``. Positions count from the
        oldest item, from 0 on. Without ``start`` it begins at the oldest or the newest item.
        """
        ...

    async def find(self, conversation_id: str, owner: str, item_id: str) -> int | None:
        """The position of an item, or None."""
        ...

    async def update(self, conversation_id: str, owner: str, metadata: Json) -> bool:
        """Replace the metadata."""
        ...

    async def add(
        self, conversation_id: str, owner: str, entries: Sequence[ConversationEntry]
    ) -> Sequence[str] | None:
        """Append items in order, except those that the conversation has; returns all their ids.

        An item whose own id is taken gets its spare one. Raises ``ConversationFull`` if the
        conversation would hold too much with them, and ``StoreUnavailable`` if the store has no
        room: then no item was added.
        """
        ...

    async def remove(self, conversation_id: str, owner: str, item_id: str) -> bool:
        """Remove an item. False if the conversation does not have it."""
        ...

    async def delete(self, conversation_id: str, owner: str) -> bool:
        """Delete the conversation and its items."""
        ...


class MemoryConversations:
    """``Conversations`` of one process; ``now`` is in seconds.

    Over ``max_bytes`` those that were not used for longest are dropped. A call that would make one
    conversation alone larger raises ``StoreUnavailable``.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        ttl_seconds: float,
        now: Callable[[], float],
        owners: Owners | None = None,
        limits: ConversationLimits = DEFAULT_LIMITS,
    ) -> None:
        self.limits = limits
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
            self._extend(replace(conversation, entries=()), conversation.entries)

    async def head(self, conversation_id: str, owner: str) -> Conversation | None:
        """See ``Conversations``."""
        conversation = await self.get(conversation_id, owner)
        return replace(conversation, entries=()) if conversation else None

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
        conversation = await self.get(conversation_id, owner)
        if conversation is None:
            return None
        rest = positions(len(conversation.entries), start, newest_first=newest_first)
        taken: Sequence[ConversationEntry] = [conversation.entries[at] for at in rest[:count]]
        if conversation.size > PART_BYTES:
            taken = fitting(taken, (_size([entry]) for entry in taken))
        return Part(taken, len(taken) < len(rest), min(conversation.size, _size(taken)))

    async def find(self, conversation_id: str, owner: str, item_id: str) -> int | None:
        """See ``Conversations``."""
        conversation = await self.get(conversation_id, owner)
        entries = conversation.entries if conversation else ()
        return next((place for place, one in enumerate(entries) if one.id == item_id), None)

    async def update(self, conversation_id: str, owner: str, metadata: Json) -> bool:
        """See ``Conversations``."""
        conversation = await self.get(conversation_id, owner)
        if conversation is not None:
            self._put(replace(conversation, metadata=metadata))
        return conversation is not None

    async def add(
        self, conversation_id: str, owner: str, entries: Sequence[ConversationEntry]
    ) -> Sequence[str] | None:
        """See ``Conversations``."""
        conversation = await self.get(conversation_id, owner)
        if conversation is None:
            return None
        return self._extend(conversation, entries)

    async def remove(self, conversation_id: str, owner: str, item_id: str) -> bool:
        """See ``Conversations``."""
        conversation = await self.get(conversation_id, owner)
        if conversation is None:
            return False
        left = tuple(entry for entry in conversation.entries if entry.id != item_id)
        gone = [entry for entry in conversation.entries if entry.id == item_id]
        self._put(replace(conversation, entries=left, size=conversation.size - _size(gone)))
        return bool(gone)

    async def delete(self, conversation_id: str, owner: str) -> bool:
        """See ``Conversations``."""
        conversation = await self.get(conversation_id, owner)
        if conversation is not None:
            self._drop(conversation_id)
        return conversation is not None

    def _extend(
        self, conversation: Conversation, entries: Sequence[ConversationEntry]
    ) -> Sequence[str]:
        longer, ids = conversation.with_entries(entries)
        new = longer.entries[len(conversation.entries) :]
        size = conversation.size + _size(new)
        if new:
            self.limits.check(size, len(longer.entries))
        self._put(replace(longer, size=size))
        return ids

    def _put(self, conversation: Conversation) -> None:
        self._expire()
        size = len(orjson.dumps(conversation.metadata)) + OVERHEAD + conversation.size
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


def fitting(
    entries: Sequence[ConversationEntry], sizes: Iterable[int]
) -> Sequence[ConversationEntry]:
    """As many as a part has, of entries of these sizes."""
    total = 0
    for count, size in enumerate(sizes, start=1):
        total += size
        if total > PART_BYTES:
            return entries[:count]
    return entries


def _size(entries: Sequence[ConversationEntry]) -> int:
    """About how many bytes the items take in memory."""
    return len(orjson.dumps([entry.item for entry in entries])) + OVERHEAD * len(entries)
