"""Looks up the items that an input names by their ids."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from ws_bridge.pacing import HEAVY_BYTES, aside
from ws_bridge.protocol.history import Turn
from ws_bridge.protocol.json_limits import weigh
from ws_bridge.protocol.output.received import items_of
from ws_bridge.protocol.references import (
    Made,
    ResolvedInput,
    check_size,
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

AT_ONCE = 16  # items that are looked up in the store together: each may be in a large response
Found = TypeVar("Found")
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
        size = 0
        while missing := sorted(wanted - found.keys())[:AT_ONCE]:
            stored = await self._stored(missing, wanted - found.keys(), owner)
            made = [item for item, _ in stored.values()]
            size += await aside(partial(weigh, made), size=HEAVY_BYTES)
            check_size(size)
            found |= stored
        return await aside(lambda: resolved(items, found), values=len(items))

    async def _stored(
        self, names: Sequence[str], wanted: frozenset[str], owner: str
    ) -> dict[str, Made]:
        """The items of these names, with all others of the wanted that their responses have."""
        ids = await _at_once(self._response_of(name, owner) for name in names)
        kept = await _at_once(self._store.get(one, owner) for one in dict.fromkeys(ids) if one)
        ended = [_turn_of(one) for one in kept if one is not None and one.is_terminal]
        found = {name: made for turn in ended for name, made in found_in(turn, wanted).items()}
        for name in names:
            if name not in found:
                raise item_not_found(name)
        return found

    async def _response_of(self, name: str, owner: str) -> str:
        return response_of(name) or await self._store.find_item(name, owner)


async def _at_once(calls: Iterable[Coroutine[Any, Any, Found]]) -> list[Found]:
    """What the calls return, in order; all of them have ended. Raises the first one's error."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return [answer for answer in answers if not isinstance(answer, BaseException)]


def _turn_of(snapshot: Snapshot) -> Turn:
    record, output = snapshot.record, tuple(items_of(snapshot.response.get("output")))
    makers = record.input_makers
    return Turn(record.id, record.input, output, record.maker, input_makers=makers)
