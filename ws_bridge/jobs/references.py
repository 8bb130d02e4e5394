"""Looks up the items that an input names by their ids."""

from __future__ import annotations

from collections.abc import Mapping

from ws_bridge.pacing import aside
from ws_bridge.protocol.history import Turn
from ws_bridge.protocol.output.received import items_of
from ws_bridge.protocol.references import (
    Made,
    ResolvedInput,
    found_in,
    found_in_conversation,
    item_not_found,
    resolved,
    response_of,
)
from ws_bridge.protocol.request import referenced
from ws_bridge.store.base import Snapshot, Store
from ws_bridge.store.conversations import Conversations
from ws_bridge.types import Item

NO_ITEMS: Mapping[str, Made] = {}


class ItemReferences:
    """Finds items in what is known of a create already, in its conversation, then in the store."""

    def __init__(self, store: Store, conversations: Conversations) -> None:
        self._store = store
        self._conversations = conversations

    async def resolve(
        self,
        items: tuple[Item, ...],
        owner: str,
        *,
        parent: Turn | None = None,
        known: Mapping[str, Made] = NO_ITEMS,
        conversation: str | None = None,
    ) -> ResolvedInput:
        """The input with the items in the places of their references.

        ``known``: items that the client's connection has. Raises ``InvalidRequest`` for an item
        that is unknown or another owner's, and ``StoreUnavailable``.
        """
        wanted = referenced(items)
        if not wanted:
            return ResolvedInput(items)
        found = {name: known[name] for name in wanted & known.keys()}
        for turn in parent.lineage() if parent else ():
            found |= found_in(turn, wanted)
        if conversation is not None and wanted - found.keys():
            kept = await self._conversations.get(conversation, owner)
            found |= found_in_conversation(kept, wanted) if kept else {}
        for name in sorted(wanted - found.keys()):
            if name not in found:
                found |= await self._stored(name, wanted, owner)
        return await aside(lambda: resolved(items, found), values=len(items))

    async def _stored(self, name: str, wanted: frozenset[str], owner: str) -> dict[str, Made]:
        """The item, with all others that its response has."""
        response_id = response_of(name) or await self._store.find_item(name, owner)
        snapshot = await self._store.get(response_id, owner) if response_id else None
        found = found_in(_turn_of(snapshot), wanted) if snapshot and snapshot.is_terminal else {}
        if name not in found:
            raise item_not_found(name)
        return found


def _turn_of(snapshot: Snapshot) -> Turn:
    record, output = snapshot.record, tuple(items_of(snapshot.response.get("output")))
    makers = record.input_makers
    return Turn(record.id, record.input, output, record.maker, input_makers=makers)
