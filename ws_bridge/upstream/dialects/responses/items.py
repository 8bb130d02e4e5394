"""The output items of one response while it grows: which item, part and text an event means (pure).

Rule 1: an item has one id and one index from its first event on, a part one place, whatever the
provider's events call them.
Rule 2: an event names its item by id, else by index; where it names none that is known, it means
the last open item that can have such an event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ws_bridge.protocol.output.builder import mint_id
from ws_bridge.protocol.output.half_characters import HalfCharacters, whole
from ws_bridge.protocol.output.items import ITEMS, UNKNOWN
from ws_bridge.protocol.output.received import is_item
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.responses.kinds import LISTS, MADE_UP, TextKind, type_of

# What a provider may make again for its final object: a seal of the same thought, a name for it.
RENEWED = frozenset({"id", "encrypted_content"})
Mint = Callable[[str], str]


class GrowingText:
    """The text of a part or an item: its deltas, and what its end made of them."""

    def __init__(self, kind: TextKind, begun: Any = "") -> None:
        self.kind = kind
        self.begun = begun  # what its item had when it was added: some have all of it
        self.pieces: list[str] = []
        self.is_done = False
        self._halves = HalfCharacters()
        self._final: str | None = None

    @property
    def text(self) -> str:
        """All of it so far."""
        return "".join(self.pieces) if self._final is None else self._final

    def take(self, delta: str) -> str:
        """The delta in whole characters; "" while half of one waits."""
        taken = self._halves.join(delta)
        self.pieces.append(taken)
        return taken

    def finish(self, final: Any) -> str:
        """End it with the text that the provider's end has; what the deltas lack of it.

        An end without a text ends what the deltas have.
        """
        rest = self._halves.flush()
        so_far = "".join(self.pieces) + rest
        self.is_done = True
        if not isinstance(final, str) or not final:
            self._final = so_far
            return rest
        self._final = whole(final)
        if self._final == self.begun:
            return rest
        return rest + (self._final[len(so_far) :] if self._final.startswith(so_far) else "")


class OpenPart:
    """One part of an item's content or summary."""

    def __init__(self, part: Json, number: int, text: GrowingText | None) -> None:
        self.number = number  # its place in the item's list
        self.text = text  # None: a type of part that has no text events
        self.is_done = False
        self.is_announced = True  # part events were sent
        self.annotations: list[Any] = []
        self._part = part

    @property
    def type(self) -> str:
        """The part's type."""
        return str(self._part.get("type", ""))

    def is_open(self, kind: str = "", growing: bool = False) -> bool:
        """Whether it is not done, nor its text if that is asked; ``kind``: and of that type."""
        is_growing = not growing or self.text is None or not self.text.is_done
        return not self.is_done and is_growing and kind in ("", self.type)

    def whole(self, given: Any = None) -> Json:
        """The part as it is now; ``given`` is the provider's own form of it."""
        part: Json = given if isinstance(given, dict) else self._part
        missing: Json = {}
        if self.text is not None and not part.get(self.text.kind.name):
            missing[self.text.kind.name] = self.text.text
        if self.annotations and not part.get("annotations"):
            missing["annotations"] = self.annotations
        if any(part.get(name) != value for name, value in missing.items()):
            return {**part, **missing}
        return part


class OpenItem:
    """One output item, from its first event to its done."""

    def __init__(self, item: Json, index: int, *, is_made_up: bool) -> None:
        self.id: str = item["id"]
        self.type: str = item.get("type", "")
        self.index = index
        self.is_made_up = is_made_up  # the provider has not added it
        self.has_wire_name = False  # an id or an index of the provider's
        self.item = item
        self.done: Json | None = None
        self.has_own_id = not is_made_up  # the provider calls it so, from its first event on
        self.parts: dict[str, list[OpenPart]] = {name: [] for name in LISTS.values()}
        self.text: GrowingText | None = None  # its own: arguments, input, code
        self._places: dict[tuple[str, int], OpenPart] = {}  # by the provider's index

    @property
    def is_open(self) -> bool:
        """Whether it is not done."""
        return self.done is None

    @property
    def at(self) -> Json:
        """How its events name it."""
        return {"item_id": self.id, "output_index": self.index}

    def suits(self, types: frozenset[str]) -> bool:
        """Whether it can have the events of items of these types."""
        return not types or self.type in types or self.type not in ITEMS

    def is_final_form(self, given: Any) -> bool:
        """Whether it is what the provider's final object may have for this item.

        That may seal it again, and name it otherwise, if its events agreed on a name.
        """
        if given == self.done:
            return True
        if not is_item(given) or not given.get("id") or self.done is None:
            return False
        same = dict.fromkeys(RENEWED & given.keys() & self.done.keys())
        is_named = self.has_own_id or given["id"] == self.id
        return is_named and bool({**given, **same} == {**self.done, **same})

    def own_text(self, kind: TextKind) -> GrowingText:
        """Its own text."""
        if self.text is None:
            self.text = GrowingText(kind, self.item.get(kind.name))
        return self.text

    def add_part(self, number: str, part: Json, text: TextKind | None, wire: Any) -> OpenPart:
        """A new part at the end of its list; ``wire`` is the index that the provider gives it."""
        parts = self.parts[LISTS[number]]
        added = OpenPart(part, len(parts), GrowingText(text) if text is not None else None)
        parts.append(added)
        self._places[number, wire if type(wire) is int else added.number] = added
        return added

    def find_part(
        self, number: str, wire: Any, part: str = "", *, growing: bool = False
    ) -> OpenPart | None:
        """The open part that an event means; ``growing``: one whose text is not done either."""
        place = self._places.get((number, wire)) if type(wire) is int else None
        parts = (place, *reversed(self.parts[LISTS[number]]))
        return next((p for p in parts if p is not None and p.is_open(part, growing)), None)

    def is_second(self, number: str, wire: Any) -> bool:
        """Whether a part at the provider's index was added already, and is open."""
        place = self._places.get((number, wire)) if type(wire) is int else None
        return place is not None and not place.is_done


class OpenItems:
    """All items of one response, in the order of their indices."""

    def __init__(self, mint: Mint = mint_id) -> None:
        self._mint = mint
        self.items: list[OpenItem] = []
        self._by_id: dict[str, OpenItem] = {}
        self._by_index: dict[int, OpenItem] = {}  # the provider's

    def add(self, item: Json, wire_index: Any = None, *, is_made_up: bool = False) -> OpenItem:
        """A new item, with an id that no other item of the response has."""
        own = item.get("id")
        if not isinstance(own, str) or not own or any(own == other.id for other in self.items):
            prefix = ITEMS.get(type_of(item), UNKNOWN).prefix
            item = {**item, "id": self._mint(prefix)}
        added = OpenItem(item, len(self.items), is_made_up=is_made_up)
        added.has_own_id = item.get("id") == own and not is_made_up
        self.items.append(added)
        self._by_id[item["id"]] = added
        self._name(added, item.get("call_id"), None)  # some name an item without an id by its call
        self._name(added, own, wire_index)
        return added

    def _name(self, item: OpenItem, own: Any, wire_index: Any) -> None:
        """Find the item by these names of the provider's from now on."""
        if isinstance(own, str) and own:
            self._by_id[own] = item
            item.has_wire_name = True
        if type(wire_index) is int:
            self._by_index[wire_index] = item
            item.has_wire_name = True

    def make_up(self, kind: str, item_id: Any, wire_index: Any) -> OpenItem:
        """An item that the provider has not added, of one of the types ``MADE_UP``."""
        return self.add({**MADE_UP[kind], "id": item_id}, wire_index, is_made_up=True)

    def has_begun(self, item: Json, wire_index: Any) -> bool:
        """Whether an item that is added has begun already; it has these names from now on."""
        kind, own = item.get("type", ""), item.get("id")
        known = self.named(own) or self.placed(wire_index)
        if known is None:
            nameless = (i for i in self.items if i.is_made_up and not i.has_wire_name)
            known = next((i for i in nameless if i.is_open and i.type == kind), None)
        if known is None or not known.is_open or known.type != kind:
            return False
        if not known.is_made_up and known.id != own:
            return False
        known.is_made_up = False
        self._name(known, own, wire_index)
        return True

    def named(self, name: Any) -> OpenItem | None:
        """The item of an id, or of a call id."""
        return self._by_id.get(name) if isinstance(name, str) else None

    def placed(self, wire_index: Any) -> OpenItem | None:
        """The last item that the provider gave the index."""
        return self._by_index.get(wire_index) if type(wire_index) is int else None

    def find(
        self,
        item_id: Any,
        wire_index: Any,
        types: frozenset[str],
        *,
        owners: frozenset[str] = frozenset(),
        is_delta: bool = False,
    ) -> OpenItem | None:
        """The item that an event means (it may be done: the event is late); None: not known yet.

        ``types``: of the item that it means without an id; ``owners``: all that can have it.
        """
        if (named := self.named(item_id)) is not None and named.suits(owners):
            return named
        placed = self.placed(wire_index)
        if placed is not None and placed.suits(types) and (placed.is_open or not is_delta):
            return placed
        if isinstance(item_id, str) and placed is None and type(wire_index) is int:
            return None  # both are new
        last = self._last_open(types)
        return None if last is not None and last.is_made_up and item_id is not None else last

    def find_finished(self, item: Json, wire_index: Any) -> OpenItem | None:
        """The item that a finished form belongs to."""
        if (named := self._named_of(item)) is not None:
            return named
        placed = self.placed(wire_index)
        if placed is not None and _may_be_one(placed.item, item):
            return placed
        still_open = (one for one in self.items if one.is_open)
        return next((one for one in still_open if _may_be_one(one.item, item)), None)

    def match(self, output: list[Json]) -> list[tuple[Json, OpenItem | None]]:
        """The final forms of an answer with their items: by name, by place, then by order."""
        found: list[OpenItem | None] = [self._named_of(form) for form in output]
        for find in (self._placed_in, self._next_in):
            for place, form in enumerate(output):
                if found[place] is None:
                    taken = [id(item) for item in found]
                    candidates = (one for one in find(place) if id(one) not in taken)
                    found[place] = next((c for c in candidates if _may_be_one(c.item, form)), None)
        return list(zip(output, found, strict=True))

    def _named_of(self, form: Json) -> OpenItem | None:
        names = (self.named(form.get("id")), self.named(form.get("call_id")))
        kind = form.get("type", "")
        return next((one for one in names if one is not None and one.type == kind), None)

    def _placed_in(self, place: int) -> list[OpenItem]:
        placed = self.placed(place)
        return [placed] if placed is not None else []

    def _next_in(self, _place: int) -> list[OpenItem]:
        return self.items

    def _last_open(self, types: frozenset[str]) -> OpenItem | None:
        return next((i for i in reversed(self.items) if i.is_open and i.suits(types)), None)


def _may_be_one(added: Json, finished: Json) -> bool:
    """Whether two forms may be of one item: they have one type, and no other call ids."""
    ids = added.get("call_id"), finished.get("call_id")
    return added.get("type", "") == finished.get("type", "") and (None in ids or ids[0] == ids[1])
