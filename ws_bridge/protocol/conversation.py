"""Conversations: a growing list of items that many responses share.

Rule 1: an item keeps who made it: what only its maker can read goes back to its maker only.
Rule 2: every item is listed under an id that no other has there: its own or one from here. Models
get it as it came.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ws_bridge.errors import InvalidRequest
from ws_bridge.protocol.history import CALLS, OUTPUTS, Turn, input_items, with_makers
from ws_bridge.protocol.request import check_depth, check_item, typed
from ws_bridge.types import Item, Json

MOST_ITEMS = 20  # of one request
STATED = CALLS | OUTPUTS  # clients leave their status out, and do not read them without


@dataclass(frozen=True, slots=True)
class ConversationEntry:
    """One item as it came, and what the conversation knows of it."""

    id: str
    item: Item
    maker: str | None = None  # None: the client wrote it
    response: str | None = None  # whose input or output it was; None: it was added by itself
    spare: str = field(default="", compare=False)  # an id from here, in case its own is taken

    def listed(self) -> Item:
        """The item as the API lists it."""
        named = self.item | {"id": self.id}
        if str(named.get("type")) in STATED and named.get("status") is None:
            named["status"] = "completed"
        return named if self.maker else input_items("", [named])[0]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as a reader finds it."""

    id: str
    owner: str
    created_at: int
    metadata: Json
    entries: tuple[ConversationEntry, ...] = field(default=())
    size: int = field(default=0, compare=False)  # bytes that its items take in the store

    def body(self) -> Json:
        """The conversation object of the API: its items are asked for separately."""
        return {
            "id": self.id,
            "object": "conversation",
            "created_at": self.created_at,
            "metadata": self.metadata,
        }

    def with_entries(self, entries: Iterable[ConversationEntry]) -> tuple[Conversation, list[str]]:
        """The conversation with more items, and the ids that they have in it.

        Adding an item again changes nothing and gives the same id.
        """
        kept = {one.id: one for one in self.entries}
        ids: list[str] = []
        for entry in entries:
            name, spare = entry.id, entry.spare or entry.id
            if name in kept or spare in kept:  # else it is new, as nearly all are
                forms = {one: replace(entry, id=one) for one in (name, spare)}
                same = [one for one, form in forms.items() if one in kept and kept[one] == form]
                name = same[0] if same else spare if name in kept else name
                entry = forms[name]  # noqa: PLW2901 - under the name that it has here
            kept[name] = entry
            ids.append(name)
        return replace(self, entries=tuple(kept.values())), ids

    def before(self, response_id: str) -> Conversation:
        """The conversation as it was when a response added its items."""
        added = (place for place, one in enumerate(self.entries) if one.response == response_id)
        return replace(self, entries=self.entries[: next(added, None)])

    def turn(self) -> Turn | None:
        """The items as the chain that a response goes on from; None if there are none."""
        turn: Turn | None = None
        asked: list[Item] = []
        output: list[Item] = []
        maker = ""
        for place, entry in enumerate(self.entries):
            if output and entry.maker != maker:
                turn = Turn(f"{self.id}_{place}", tuple(asked), tuple(output), maker, turn)
                asked, output = [], []
            if entry.maker is None:
                asked.append(entry.item)
            else:
                maker = entry.maker
                output.append(entry.item)
        if asked or output:
            turn = Turn(self.id, tuple(asked), tuple(output), maker, turn)
        return turn


def new_conversation_id() -> str:
    """An id that cannot be guessed: 192 random bits."""
    return "conv_" + secrets.token_hex(24)


def entries_of(items: Sequence[Item], makers: Sequence[str] = ()) -> tuple[ConversationEntry, ...]:
    """Items of the client's on their way into a conversation; ``makers`` as of a `Turn`."""
    return _made_by(_named(items, secrets.token_hex(16)), makers)


def entries_of_response(
    response_id: str,
    asked: Iterable[Item],
    output: Iterable[Item],
    maker: str,
    input_makers: Sequence[str] = (),
) -> tuple[ConversationEntry, ...]:
    """A finished response on its way into a conversation; the same call gives the same ids.

    What it was asked has the ids that `GET …/input_items` lists.
    """
    given = _made_by(_named(asked, response_id, response=response_id), input_makers)
    made = _named(output, f"{response_id}_out", response=response_id, maker=maker)
    return given + made


def _named(items: Iterable[Item], stem: str, **known: str) -> tuple[ConversationEntry, ...]:
    items = list(items)
    bare = input_items(stem, ({"type": str(item.get("type"))} for item in items))
    pairs = ((item, one["id"]) for item, one in zip(items, bare, strict=True))
    return tuple(
        ConversationEntry(_own_id(item) or key, item, spare=key, **known) for item, key in pairs
    )


def _made_by(
    entries: tuple[ConversationEntry, ...], makers: Sequence[str]
) -> tuple[ConversationEntry, ...]:
    if not makers:
        return entries
    made = with_makers([entry.item for entry in entries], makers)
    pairs = zip(entries, made, strict=True)
    return tuple(replace(entry, maker=maker) for entry, (maker, _) in pairs)


def _own_id(item: Item) -> str:
    own = item.get("id")
    return own if isinstance(own, str) else ""


def read_items(value: Any, *, required: bool) -> Sequence[Item]:
    """The ``items`` of a request. Raises ``InvalidRequest``."""
    if value is None and not required:
        return ()
    if not isinstance(value, list) or (required and not value):
        raise InvalidRequest("'items' must be a list of items.", param="items")
    if len(value) > MOST_ITEMS:
        raise InvalidRequest(f"'items' may hold at most {MOST_ITEMS} items.", param="items")
    check_depth({"items": value})
    return [_read_item(item, f"items[{index}]") for index, item in enumerate(value)]


def _read_item(item: Any, where: str) -> Item:
    if not isinstance(item, dict):
        raise InvalidRequest(f"Invalid value for '{where}': expected an object.", param="items")
    given = typed(item)
    try:
        check_item(given, where)
    except InvalidRequest as invalid:
        raise InvalidRequest(invalid.message, param="items") from None
    return given


def read_metadata(value: Any) -> Json:
    """The ``metadata`` of a request. Raises ``InvalidRequest``."""
    if value is None:
        return {}
    pairs = value.items() if isinstance(value, dict) else [(None, None)]
    if len(pairs) > 16 or not all(_fits(key, 64) and _fits(text, 512) for key, text in pairs):
        raise InvalidRequest(
            "'metadata' may hold 16 pairs of strings, keys of 64 characters, values of 512.",
            param="metadata",
        )
    return dict(pairs)


def _fits(value: Any, most: int) -> bool:
    return isinstance(value, str) and len(value) <= most


def conversation_id(value: str | Json | None) -> str | None:
    """The id that a create's ``conversation`` names. Raises ``InvalidRequest``."""
    if value is None or isinstance(value, str):
        return value
    named = value.get("id")
    if not isinstance(named, str):
        raise InvalidRequest("'conversation' must be an id.", param="conversation")
    return named
