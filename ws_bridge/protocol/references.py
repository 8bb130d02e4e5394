"""Items that a client names by their ids: an `item_reference` in an input (pure).

Rule 1: the item stands where its reference stood, and keeps its maker: what only that can read goes
back to it only.
Rule 2: the id of an item that the bridge has named has the id of its response in it, so that the
response can be looked up. A provider's own ids have not: stores keep which response has them.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ws_bridge.errors import InvalidRequest
from ws_bridge.protocol.conversation import Conversation
from ws_bridge.protocol.history import Turn, listed_id, with_makers
from ws_bridge.protocol.json_limits import weigh
from ws_bridge.protocol.request import REFERENCE
from ws_bridge.types import Item

# Bytes of memory of the named items, each as often as it is named: an item can be named by a few
# bytes, and all of it is copied, stored and sent.
MOST_BYTES = 64 * 2**20
# With random digits (an output's), or with a place (an input's, as `input_items` lists it).
_NAMED_HERE = re.compile(r"[a-z]+_([0-9a-f]{48})(?:[0-9a-f]{8}|_[0-9]{1,6})")

Made = tuple[Item, str]  # an item and its maker; "": the client wrote it


@dataclass(frozen=True, slots=True)
class ResolvedInput:
    """An input without references. ``makers`` is as `Turn.input_makers`."""

    items: tuple[Item, ...]
    makers: tuple[str, ...] = ()

    def weight(self) -> int:
        """Bytes of memory of the items that references named."""
        return weigh([item for maker, item in with_makers(self.items, self.makers) if maker])


def minting(response_id: str, mint: Callable[[str], str]) -> Callable[[str], str]:
    """How the items of a response get ids; ``mint`` makes those that need not be found."""
    stem = response_id.removeprefix("resp_")

    def mint_item_id(prefix: str) -> str:
        named = f"{prefix}_{stem}{secrets.token_hex(4)}"
        # A reasoning's has a form of its own (`mint_id`), and a call id is to be short.
        is_own = prefix in ("rs", "call") or not _NAMED_HERE.fullmatch(named)
        return mint(prefix) if is_own else named

    return mint_item_id


def response_of(item_id: str) -> str:
    """The response that the item's id names; "" if it names none."""
    named = _NAMED_HERE.fullmatch(item_id)
    return f"resp_{named[1]}" if named else ""


def ids_to_index(output: Iterable[Item]) -> tuple[str, ...]:
    """The ids of a response's output that do not name it."""
    ids = (item.get("id") for item in output)
    return tuple({i: None for i in ids if isinstance(i, str) and i and not response_of(i)})


def found_in(turn: Turn, wanted: Collection[str]) -> dict[str, Made]:
    """Those of the wanted items that the turn has."""
    found: dict[str, Made] = {}
    has_listed = any(response_of(one) == turn.id for one in wanted)
    for place, (maker, item) in enumerate(with_makers(turn.input, turn.input_makers)):
        own = item.get("id")
        name = listed_id(turn.id, place, item) if not own and has_listed else own
        if isinstance(name, str) and name in wanted:
            found[name] = item, maker or ""
    for item in turn.output:
        if isinstance(name := item.get("id"), str) and name in wanted:
            found[name] = item, turn.maker
    return found


def found_in_conversation(conversation: Conversation, wanted: Collection[str]) -> dict[str, Made]:
    """Those of the wanted items that the conversation has."""
    entries = (entry for entry in conversation.entries if entry.id in wanted)
    return {entry.id: (entry.item, entry.maker or "") for entry in entries}


def resolved(items: Sequence[Item], known: Mapping[str, Made]) -> ResolvedInput:
    """The input with the known items in their references' places.

    Raises ``InvalidRequest`` for an item that is not known, and where all would be too much.
    """
    made: list[Made] = []
    size = 0
    weights: dict[str, int] = {}
    for item in items:
        if item.get("type") != REFERENCE:
            made.append((item, ""))
            continue
        name = item["id"]
        if name not in known:
            raise item_not_found(name)
        made.append(known[name])
        if name not in weights:
            weights[name] = weigh([known[name][0]])
        size += weights[name]
        check_size(size)
    makers = tuple(maker for _, maker in made)
    return ResolvedInput(tuple(item for item, _ in made), makers if any(makers) else ())


def check_size(size: int) -> None:
    """Raise ``InvalidRequest`` if the named items take more than ``MOST_BYTES``."""
    if size > MOST_BYTES:
        raise InvalidRequest(
            f"The items that 'input' refers to take more than {MOST_BYTES} bytes.", param="input"
        )


def item_not_found(item_id: str) -> InvalidRequest:
    """The error of a reference to an item that is unknown, or another owner's."""
    return InvalidRequest(f"Item with id '{item_id[:128]}' not found.", param="input")
