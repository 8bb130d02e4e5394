"""Conversations: a growing list of items that many responses share.

Rule 1: an item keeps who made it: what only its maker can read goes back to its maker only.
Rule 2: every item has an id; one that came without gets one.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ws_bridge.errors import InvalidRequest
from ws_bridge.protocol.history import Turn, input_items

Json = dict[str, Any]
Item = dict[str, Any]

ID = re.compile(r"[0-9A-Za-z_.-]{1,128}")
MOST_ITEMS = 20  # of one request


@dataclass(frozen=True, slots=True)
class Entry:
    """One item and whose it is; None is the client's."""

    item: Item
    maker: str | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as a reader finds it."""

    id: str
    owner: str
    created_at: int
    metadata: Json
    entries: tuple[Entry, ...] = field(default=())

    def body(self) -> Json:
        """The conversation object of the API: its items are asked for separately."""
        return {
            "id": self.id,
            "object": "conversation",
            "created_at": self.created_at,
            "metadata": self.metadata,
        }

    def turn(self) -> Turn | None:
        """The items as the chain that a response goes on from; None if there are none."""
        turn: Turn | None = None
        asked: list[Item] = []
        said: list[Item] = []
        maker = ""
        for entry in self.entries:
            if said and entry.maker != maker:
                turn = Turn(self.id, tuple(asked), tuple(said), maker, turn)
                asked, said = [], []
            if entry.maker is None:
                asked.append(entry.item)
            else:
                maker = entry.maker
                said.append(entry.item)
        if asked or said:
            turn = Turn(self.id, tuple(asked), tuple(said), maker, turn)
        return turn


def new_conversation_id() -> str:
    """An id nobody can guess: 192 random bits."""
    return "conv_" + secrets.token_hex(24)


def entries_of(items: Iterable[Item], maker: str | None = None) -> tuple[Entry, ...]:
    """Items on their way into a conversation, each with an id."""
    named = (item if _is_id(item.get("id")) else item | {"id": None} for item in items)
    listed = input_items(secrets.token_hex(16), named)
    return tuple(Entry(item, maker) for item in listed)


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and ID.fullmatch(value) is not None


def read_items(value: Any, *, required: bool) -> Sequence[Item]:
    """The ``items`` of a request. Raises ``InvalidRequest``."""
    if value is None and not required:
        return ()
    if not isinstance(value, list) or (required and not value):
        raise InvalidRequest("'items' must be a list of items.", param="items")
    if len(value) > MOST_ITEMS:
        raise InvalidRequest(f"'items' may hold at most {MOST_ITEMS} items.", param="items")
    for index, item in enumerate(value):
        if not isinstance(item, dict) or not isinstance(item.get("type", "message"), str):
            raise InvalidRequest(f"Invalid value for 'items[{index}]'.", param="items")
    return [item if "type" in item else {**item, "type": "message"} for item in value]


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
