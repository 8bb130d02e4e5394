"""A provider's Responses events → drafts of a legal structure (pure); of HTTP and of WebSockets.

Providers leave events out, change the ids of their items, count indices wrongly and cut characters
in two. Clients get one id and one index for an item, each part and text opened before it is used
and closed once, and a final output that is what its events were.

Rule 1: an event that is right keeps the provider's bytes; nearly every delta is checked by a few
lookups. Response objects are made whole by the bridge, so their events have no bytes.
Rule 2: what is missing is made from what the provider has sent and never contradicts its last word:
a finished text that continues the deltas is completed, any other one stands as it is.
Rule 3: the order of items is that of their first events.
Rule 4: an unknown event of the response passes; what is not of the response at all does not.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import COMPLETED, FAILED, INCOMPLETE, LIFECYCLE, TERMINAL, Draft
from ws_bridge.protocol.output.builder import mint_id
from ws_bridge.protocol.output.half_characters import all_whole
from ws_bridge.protocol.output.items import (
    ADDED,
    ANNOTATION,
    DONE,
    ITEMS,
    PARTS,
    annotation_added,
    item_added,
    part_added,
)
from ws_bridge.protocol.output.received import is_item, items_of
from ws_bridge.protocol.reducer import STATES
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.responses.endings import (
    built,
    delta_of,
    filled,
    is_at,
    own_text_end,
    part_end,
    placed,
    text_end,
)
from ws_bridge.upstream.dialects.responses.items import (
    GrowingText,
    Mint,
    OpenItem,
    OpenItems,
    OpenPart,
)
from ws_bridge.upstream.dialects.responses.kinds import (
    LISTS,
    MADE_UP,
    MESSAGE,
    PART_EVENTS,
    TEXTS,
    WITH_PARTS,
    WITHOUT_PART,
    TextKind,
    in_official_words,
    owner_of,
    type_of,
)
from ws_bridge.upstream.errors import CANCELLED
from ws_bridge.upstream.provider_errors import error_of, has_error

ERROR = "error"
CANCELLED_EVENT = "response.cancelled"
# What the object of an end may call itself, against its event: then the object is right.
ENDS = {"incomplete": INCOMPLETE, "failed": FAILED, "cancelled": CANCELLED_EVENT}
ANY: frozenset[str] = frozenset()


class Normaliser:
    """The normaliser of one response; ``take`` gets each of its events in order.

    ``text`` of a draft that goes in is the provider's own event, b"" where its bytes cannot be
    passed on: a key stands there twice, or half of a character.
    """

    def __init__(self, mint: Mint = mint_id) -> None:
        self._items = OpenItems(mint)
        self._waiting: list[Draft] = []  # events of items that are not known yet
        # The last delta, if nothing of it had to be put right: the next one of its text is as good.
        self._kind = self._number = ""
        self._item_id: Any = None
        self._index: Any = None
        self._place: Any = None
        self._pieces: list[str] = []

    def take(self, draft: Draft) -> Sequence[Draft]:
        """The drafts of one event. Raises ``UpstreamError`` for the provider's errors and ends."""
        kind, fields, text = draft
        if (
            kind == self._kind
            and fields.get("item_id") == self._item_id
            and fields.get("output_index") == self._index
            and fields.get(self._number) == self._place
            and text
            and type(delta := fields.get("delta")) is str
        ):
            self._pieces.append(delta)
            return (draft,)
        self._kind = ""
        return list(self._read(draft))

    def _read(self, draft: Draft) -> Iterator[Draft]:
        kind, fields, text = draft
        if kind in (ERROR, FAILED):
            raise error_of(None, fields)
        if kind == CANCELLED_EVENT:
            raise UpstreamError(CANCELLED)
        if not kind.startswith("response."):
            if has_error(fields):
                raise error_of(None, fields)
            return
        delta = fields.get("delta")
        if not text:
            fields = all_whole(fields)
            draft = Draft(kind, fields)
        if kind in TERMINAL:
            yield from self._end(kind, fields)
        elif kind in LIFECYCLE:
            yield Draft(kind, fields)
        else:
            yield from self._inside(draft, delta)

    def _inside(self, draft: Draft, delta: Any) -> Iterator[Draft]:
        """An event of an item; ``delta`` may end in half of a character."""
        kind, fields = draft.type, draft.fields
        stem, _, what = kind.rpartition(".")
        if kind == ADDED:
            yield from self._added(draft)
        elif kind == DONE:
            yield from self._done(draft)
        elif stem in TEXTS and what == "delta":
            yield from self._text_delta(draft, TEXTS[stem], delta)
        elif stem in TEXTS and what == "done":
            yield from self._text_done(draft, TEXTS[stem])
        elif stem in PART_EVENTS:
            yield from self._part_added(draft) if what == "added" else self._part_done(draft)
        elif kind == ANNOTATION:
            yield from self._annotation(draft)
        elif "item_id" in fields or "output_index" in fields or kind in STATES:
            yield from self._other(draft)
        else:
            yield draft

    # Items

    def _added(self, draft: Draft) -> Iterator[Draft]:
        item, index = draft.fields.get("item"), draft.fields.get("output_index")
        if not isinstance(item, dict) or not is_item(item):
            return
        if self._items.has_begun(item, index):
            return
        added = self._items.add(in_official_words(item), index)
        if added.item is item and type(index) is int and index == added.index:
            yield draft
        else:
            fields = draft.fields | {"output_index": added.index, "item": added.item}
            yield Draft(ADDED, fields)
        yield from self._those_that_wait()

    def _those_that_wait(self) -> Iterator[Draft]:
        waiting, self._waiting = self._waiting, []
        for draft in waiting:
            yield from self._read(draft)

    def _done(self, draft: Draft) -> Iterator[Draft]:
        given, index = draft.fields.get("item"), draft.fields.get("output_index")
        if isinstance(given, dict) and is_item(given):
            yield from self._finish(draft, given, self._items.find_finished(given, index))

    def _finish(self, draft: Draft, given: Json, item: OpenItem | None) -> Iterator[Draft]:
        """The end of an item, or all of one that was not added; nothing if it is done."""
        if item is None:
            kind = ITEMS.get(type_of(given))
            blank = {key: value for key, value in kind.blank if key in given} if kind else {}
            index = draft.fields.get("output_index")
            item = self._items.add(in_official_words(given | blank), index)
            yield item_added(item.item, item.index)
            yield from self._those_that_wait()
        elif not item.is_open:
            return
        yield from self._closed(item, given)
        done = filled(item, given)
        item.done = done if done.get("id") == item.id else {**done, "id": item.id}
        item.has_own_id = item.has_own_id and item.done is done
        if item.done is given and is_at(draft.fields, {"output_index": item.index}):
            yield draft
        else:
            yield Draft(DONE, draft.fields | {"output_index": item.index, "item": item.done})

    def _closed(self, item: OpenItem, given: Json) -> Iterator[Draft]:
        """The ends of parts and texts that are open when their item is done."""
        for number, name in LISTS.items():
            parts = given.get(name)
            finals: list[Json] = parts if isinstance(parts, list) else []
            for part in (one for one in item.parts[name] if not one.is_done):
                final = finals[part.number] if part.number < len(finals) else {}
                is_same = final.get("type") == part.type
                yield from part_end(item, number, part, final if is_same else {})
            if item.type in MESSAGE and name == "content":
                for final in finals[len(item.parts[name]) :]:
                    yield from self._whole_part(item, number, final)
        if item.text is not None and not item.text.is_done:
            yield from own_text_end(item, item.text, given.get(item.text.kind.name))

    def _whole_part(self, item: OpenItem, number: str, final: Json) -> Iterator[Draft]:
        """A part that no event was about before its item was done."""
        kind = PARTS.get(type_of(final))
        if kind is None or kind.number != number:
            part = item.add_part(number, final, None, None)
            at = item.at | {number: part.number}
            yield Draft("response.content_part.added", at | {"part": final})
        else:
            part = item.add_part(number, kind.blank, TEXTS[kind.text_events], None)
            at = item.at | {number: part.number}
            yield part_added(kind, at)
        notes = final.get("annotations")
        for place, note in enumerate(notes if isinstance(notes, list) else ()):
            yield annotation_added(at, place, note)
        yield from part_end(item, number, part, final)

    # Parts and texts

    def _part_added(self, draft: Draft) -> Iterator[Draft]:
        fields = draft.fields
        number, usual = PART_EVENTS[draft.type.rpartition(".")[0]]
        given = fields.get("part")
        part = given if isinstance(given, dict) else {}
        item = yield from self._owner(draft, WITH_PARTS, starts=owner_of(type_of(part, usual)))
        if item is None or item.is_second(number, fields.get(number)):
            return
        if item.type == "reasoning" and number == "content_index":
            usual = "reasoning_text"
        kind = PARTS.get(type_of(part, usual))
        blank = part or PARTS[usual].blank
        text = TEXTS[kind.text_events] if kind is not None else None
        added = item.add_part(number, blank, text, fields.get(number))
        at = item.at | {number: added.number}
        yield placed(draft, at | {"part": blank})

    def _part_done(self, draft: Draft) -> Iterator[Draft]:
        number, _ = PART_EVENTS[draft.type.rpartition(".")[0]]
        given = draft.fields.get("part")
        final: Json = given if isinstance(given, dict) else {}
        kind = str(final.get("type", ""))
        item = yield from self._owner(draft, WITH_PARTS, starts=_made_by_end(draft, owner_of(kind)))
        if item is None:
            return
        part = item.find_part(number, draft.fields.get(number), kind)
        if part is None:
            if item.is_open and kind in PARTS and not item.parts[LISTS[number]]:
                yield from self._whole_part(item, number, final)
            return
        if part.text is not None and not part.text.is_done:
            yield from text_end(item, number, part, final)
        part.is_done = True
        yield placed(draft, item.at | {number: part.number, "part": part.whole(final or None)})

    def _text_delta(self, draft: Draft, kind: TextKind, delta: Any) -> Iterator[Draft]:
        item = yield from self._owner(draft, kind.items, starts=next(iter(kind.items)))
        if item is None or not isinstance(delta, str):
            return
        if not kind.part:
            yield from self._delta(draft, item.own_text(kind), item.at, delta)
            return
        wire = draft.fields.get(kind.number)
        part = item.find_part(kind.number, wire, kind.part, growing=True)
        if part is None:
            part = yield from self._part_of(item, kind, wire)
        if part.text is not None:
            yield from self._delta(draft, part.text, item.at | {kind.number: part.number}, delta)

    def _text_done(self, draft: Draft, kind: TextKind) -> Iterator[Draft]:
        starts = _made_by_end(draft, next(iter(kind.items)))
        item = yield from self._owner(draft, kind.items, starts=starts)
        if item is None:
            return
        if not kind.part:
            yield from _text_finished(draft, item.own_text(kind), item.at)
            return
        wire = draft.fields.get(kind.number)
        part = item.find_part(kind.number, wire, kind.part, growing=True)
        if part is None and not item.parts[LISTS[kind.number]]:
            part = yield from self._part_of(item, kind, wire)
        if part is not None and part.text is not None:
            yield from _text_finished(draft, part.text, item.at | {kind.number: part.number})

    def _part_of(
        self, item: OpenItem, kind: TextKind, wire: Any
    ) -> Generator[Draft, None, OpenPart]:
        """A part that the provider has not added, for a text in it."""
        shape = PARTS[kind.part]
        part = item.add_part(kind.number, shape.blank, kind, wire)
        part.is_announced = kind.part not in WITHOUT_PART or item.is_made_up
        if part.is_announced:
            yield part_added(shape, item.at | {kind.number: part.number})
        return part

    def _delta(self, draft: Draft, text: GrowingText, at: Json, delta: Any) -> Iterator[Draft]:
        if text.is_done:
            return
        taken = text.take(delta)
        if taken != delta:
            if taken:
                yield Draft(draft.type, draft.fields | at | {"delta": taken})
            return
        sent = placed(draft, at)
        yield sent
        if sent is draft:
            self._kind, self._pieces = draft.type, text.pieces
            self._item_id, self._index = at["item_id"], at["output_index"]
            self._number = text.kind.number or "output_index"
            self._place = at[self._number]

    def _annotation(self, draft: Draft) -> Iterator[Draft]:
        fields = draft.fields
        item = yield from self._owner(draft, MESSAGE, starts="message")
        if item is None:
            return
        kind = TEXTS["response.output_text"]
        part = item.find_part(kind.number, fields.get(kind.number), kind.part)
        if part is None:
            part = yield from self._part_of(item, kind, fields.get(kind.number))
        place = len(part.annotations)
        part.annotations.append(fields.get("annotation"))
        at = item.at | {kind.number: part.number, "annotation_index": place}
        yield placed(draft, at)

    def _other(self, draft: Draft) -> Iterator[Draft]:
        """A state of an item, or an event that is not known here."""
        kind, fields = draft.type, draft.fields
        types = frozenset({kind.split(".")[1]}) if kind in STATES else ANY
        item = self._items.find(fields.get("item_id"), fields.get("output_index"), types)
        if item is None:
            self._waiting.append(draft)
        elif item.is_open or kind not in STATES:
            at = {name: value for name, value in item.at.items() if name in fields or types}
            yield placed(draft, at)

    def _owner(
        self, draft: Draft, types: frozenset[str], *, starts: str
    ) -> Generator[Draft, None, OpenItem | None]:
        """The open item of an event of its parts or texts; None: it is late, or has to wait.

        ``starts``: the type of the item that is made where the provider has added none.
        """
        item_id, index = draft.fields.get("item_id"), draft.fields.get("output_index")
        wanted = frozenset({starts}) if starts else types
        is_end = draft.type.endswith(".done")
        owners = WITH_PARTS if types.issubset(WITH_PARTS) else types
        is_delta = bool(starts) and not is_end
        item = self._items.find(item_id, index, wanted, owners=owners, is_delta=is_delta)
        if item is None and starts in MADE_UP:
            item = self._items.make_up(starts, item_id, index)
            yield item_added(item.item, item.index)
        elif item is None:
            self._waiting.append(draft)
        return item if item is not None and item.is_open else None

    # The end

    def _end(self, kind: str, fields: Json) -> Iterator[Draft]:
        """The terminal event, after the ends of all that is open."""
        given = fields.get("response")
        response: Json = given if isinstance(given, dict) else {}
        kind = ENDS.get(str(response.get("status")), kind)
        if kind == FAILED:
            raise error_of(None, response)
        if kind == CANCELLED_EVENT:
            raise UpstreamError(CANCELLED)
        output = items_of(response.get("output"))
        forms = self._items.match(output)
        for form, known in forms:
            yield from self._finish(Draft(DONE, {}), form, known)
        items = self._items.items
        for item in items:
            if item.is_open:
                form = built(item, is_complete=kind == COMPLETED)
                yield from self._finish(Draft(DONE, {}), form, item)
        # The provider's own output stands, if it has these items in this order.
        is_final = [known for _, known in forms] == items and response.get("output") == output
        if not is_final or not all(item.is_final_form(form) for form, item in forms if item):
            response = response | {"output": [item.done for item in items]}
        yield Draft(kind, fields | {"response": response} if response is not given else fields)


def _made_by_end(draft: Draft, kind: str) -> str:
    """The type of item that a part's or text's end makes; "": an end that names none is late."""
    return kind if {"item_id", "output_index"} & draft.fields.keys() else ""


def _text_finished(draft: Draft, text: GrowingText, at: Json) -> Iterator[Draft]:
    """The end of a text, after what its deltas lack; nothing if it is done."""
    if text.is_done:
        return
    if rest := text.finish(draft.fields.get(text.kind.name)):
        yield delta_of(text.kind, at, rest)
    yield placed(draft, at | {text.kind.name: text.text})
