"""A strict check of one response's events, as parsed JSON, in order.

``check_events(events)`` returns every problem, [] if there are none:

* every event is valid for the openai types of its name, nothing coerced; no unknown names;
* numbers count from 0 without gaps; one response id, one lane; nothing optional is null;
* `created` first; exactly one terminal event, last (`created` and `in_progress` may be repeated);
* items are added with indices 0, 1, 2, ... and done in that order, each once, same type, id, call;
* an item's events lie between its added and its done, a part's between the part's;
* deltas, put together, are the `done` text, which is the text of the done part and of the item;
* the final output is the done items, as JSON; nothing stays open, unless the response failed or was
  interrupted.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from typing import Any

import pydantic
from openai.types.responses import ResponseStreamEvent

Json = dict[str, Any]

TERMINAL = ("response.completed", "response.incomplete", "response.failed")
OPENING = ("response.created", "response.queued", "response.in_progress")
NEVER_NULL = frozenset({"phase", "logprobs", "encrypted_content", "created_by", "stream_id"})
# The enum of the types is closed; providers have codes of their own, and clients take any word.
CODE = re.compile(r"[A-Za-z][\w.-]{0,99}")

# Texts: event stem → the field of its done event and of what holds it, and the field that says
# which part of the item holds it (None: the item itself).
TEXTS: dict[str, tuple[str, str | None]] = {
    "response.output_text": ("text", "content_index"),
    "response.refusal": ("refusal", "content_index"),
    "response.reasoning_text": ("text", "content_index"),
    "response.reasoning_summary_text": ("text", "summary_index"),
    "response.function_call_arguments": ("arguments", None),
    "response.mcp_call_arguments": ("arguments", None),
    "response.custom_tool_call_input": ("input", None),
    "response.code_interpreter_call_code": ("code", None),
}
# Parts: event stem → the item's list and the event's place in it.
PARTS: dict[str, tuple[str, str]] = {
    "response.content_part": ("content", "content_index"),
    "response.reasoning_summary_part": ("summary", "summary_index"),
}


def _sdk_types() -> dict[str, type[pydantic.BaseModel]]:
    types: dict[str, type[pydantic.BaseModel]] = {}
    for model in typing.get_args(typing.get_args(ResponseStreamEvent)[0]):
        for name in typing.get_args(model.model_fields["type"].annotation):
            types.setdefault(name, model)
    return types


SDK_TYPES = _sdk_types()


def check_events(events: list[Json]) -> list[str]:
    """Every problem of a complete stream."""
    if not events:
        return ["no events"]
    problems = [*_frame_problems(events)]
    ledger = Ledger()
    for event in events:
        found = type_problems(event)
        problems += found
        if not found:  # only of a valid event can more be said
            ledger.take(event)
            if event["type"] in TERMINAL:
                ledger.end(event["type"], event["response"])
    return problems + ledger.problems


def type_problems(event: Json) -> list[str]:
    """What the openai type of one event does not allow."""
    kind = str(event.get("type"))
    nulls = [f"{kind}: {where} is null" for where in _nulls(event, "")]
    model = SDK_TYPES.get(kind)
    if model is None:
        return [f"unknown type {kind}", *nulls]
    try:
        model.model_validate(with_known_code(event), strict=True)
    except pydantic.ValidationError as invalid:
        where = [(".".join(map(str, error["loc"])), error["type"]) for error in invalid.errors()]
        return [f"strict {kind}: {where[:4]}", *nulls]
    return nulls


def with_known_code(event: Json) -> Json:
    response = event.get("response")
    error = response.get("error") if isinstance(response, dict) else None
    if not isinstance(error, dict) or not CODE.fullmatch(str(error.get("code"))):
        return event
    return event | {"response": response | {"error": error | {"code": "server_error"}}}


def _nulls(value: Any, where: str) -> Iterator[str]:
    """Where a field that is absent or a value is null."""
    if isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _nulls(entry, f"{where}[{index}]")
    elif isinstance(value, dict):
        for key, entry in value.items():
            if entry is None and key in NEVER_NULL:
                yield f"{where}.{key}"
            yield from _nulls(entry, f"{where}.{key}")


def _frame_problems(events: list[Json]) -> Iterator[str]:
    if [event.get("sequence_number") for event in events] != list(range(len(events))):
        yield "sequence_number does not count from 0"
    if events[0]["type"] != "response.created" or events[-1]["type"] not in TERMINAL:
        yield "does not begin with created, or does not end with a terminal event"
    if sum(event["type"] in TERMINAL for event in events) != 1:
        yield "not exactly one terminal event"
    for event in events:
        if event["type"] in OPENING + TERMINAL and not isinstance(event.get("response"), dict):
            yield f"{event['type']} without a response"
    ids = {(event.get("response") or {}).get("id") for event in events if "response" in event}
    if len(ids) != 1:
        yield f"response ids {ids}"
    lanes = {event.get("stream_id") for event in events}
    if len(lanes) != 1:
        yield f"lanes {lanes}"


class Text:
    """A text between its first delta and its done."""

    def __init__(self) -> None:
        self.deltas = ""
        self.tokens: list[str] = []
        self.done: str | None = None


class Item:
    """An item between its added and its done."""

    def __init__(self, added: Json) -> None:
        self.added = added
        self.texts: dict[tuple[str, int | None], Text] = {}
        self.open_parts: set[tuple[str, int]] = set()
        self.parts: dict[tuple[str, int], Json] = {}  # done
        self.annotations: dict[tuple[int, int], Json] = {}
        self.done: Json | None = None

    def identity(self, item: Json) -> tuple[Any, ...]:
        return item.get("type"), item.get("id"), item.get("call_id")


class Ledger:
    """Follows the items of one response."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.items: list[Item] = []
        self.done_count = 0

    def take(self, event: Json) -> None:
        kind = event["type"]
        if kind == "response.output_item.added":
            self._added(event)
        elif kind == "response.output_item.done":
            self._done(event)
        elif kind not in OPENING + TERMINAL and "output_index" in event:
            item = self._item(event)
            if item is not None:
                self._inside(item, event)

    def _problem(self, event: Json, what: str) -> None:
        number, kind = event.get("sequence_number"), event["type"]
        self.problems.append(f"#{number} {kind}: {what}")

    def _added(self, event: Json) -> None:
        if event["output_index"] != len(self.items):
            self._problem(event, f"index {event['output_index']}, not {len(self.items)}")
        if any(item.added.get("id") == event["item"].get("id") for item in self.items):
            self._problem(event, "an id for the second time")
        self.items.append(Item(event["item"]))

    def _item(self, event: Json) -> Item | None:
        index = event["output_index"]
        if not 0 <= index < len(self.items):
            self._problem(event, "before added")
            return None
        item = self.items[index]
        if item.done is not None:
            self._problem(event, "after done")
        if "item_id" in event and event["item_id"] != item.added.get("id"):
            self._problem(event, f"another item's id {event['item_id']}")
        return item

    def _done(self, event: Json) -> None:
        item = self._item(event)
        if item is None:
            return
        if event["output_index"] != self.done_count:
            self._problem(event, f"out of order, {self.done_count} was to be done")
        self.done_count += 1
        item.done = event["item"]
        if item.identity(item.added) != item.identity(event["item"]):
            self._problem(event, "type, id or call_id changed")
        if item.open_parts:
            self._problem(event, f"open parts {item.open_parts}")
        self._check_texts(item, event)
        self._check_parts(item, event)

    def _check_texts(self, item: Item, event: Json) -> None:
        for (stem, number), text in item.texts.items():
            name, place = TEXTS[stem]
            if text.done is None:
                self._problem(event, f"no {stem}.done")
            elif place is None and event["item"].get(name) != text.done:
                self._problem(event, f"{name} is not that of {stem}.done")
            elif number is not None and self._held(item, place, number).get(name) != text.done:
                self._problem(event, f"part {number} has another text than {stem}.done")

    def _held(self, item: Item, place: str | None, number: int) -> Json:
        name = "summary" if place == "summary_index" else "content"
        parts = (item.done or {}).get(name) or []
        return parts[number] if number < len(parts) else {}

    def _check_parts(self, item: Item, event: Json) -> None:
        for name in ("content", "summary"):
            said = {number: part for (of, number), part in item.parts.items() if of == name}
            final = event["item"].get(name)
            if isinstance(final, list) and final != [said.get(n) for n in range(len(final))]:
                self._problem(event, f"{name} is not the done parts")
            if said and len(said) != len(final or []):
                self._problem(event, f"{name} lacks a done part")

    def _inside(self, item: Item, event: Json) -> None:
        stem, _, what = event["type"].rpartition(".")
        if stem in PARTS:
            self._part(item, event, stem, what)
        elif stem in TEXTS:
            self._text(item, event, stem, what)
        elif event["type"] == "response.output_text.annotation.added":
            self._annotation(item, event)

    def _part(self, item: Item, event: Json, stem: str, what: str) -> None:
        name, place = PARTS[stem]
        key = name, event[place]
        if what == "added":
            known = [number for of, number in {*item.open_parts, *item.parts} if of == name]
            if event[place] != len(known):
                self._problem(event, f"part {event[place]}, not {len(known)}")
            item.open_parts.add(key)
            return
        if key not in item.open_parts:
            self._problem(event, "a part that is not open")
        item.open_parts.discard(key)
        item.parts[key] = event["part"]
        for number, annotation in sorted(item.annotations.items(), key=lambda pair: pair[0]):
            if number[0] == event[place] and name == "content":
                final = event["part"].get("annotations") or []
                if number[1] >= len(final) or final[number[1]] != annotation:
                    self._problem(event, f"annotation {number[1]} is not the one that was added")

    def _text(self, item: Item, event: Json, stem: str, what: str) -> None:
        name, place = TEXTS[stem]
        number = event[place] if place else None
        if place and (place.removesuffix("_index"), number) not in item.open_parts:
            self._problem(event, "outside of its part")
        text = item.texts.setdefault((stem, number), Text())
        if text.done is not None:
            self._problem(event, "after its text was done")
        tokens = [entry["token"] for entry in event.get("logprobs") or []]
        if what == "delta":
            text.deltas += event["delta"]
            text.tokens += tokens
            return
        text.done = event[name]
        if text.deltas != event[name]:
            self._problem(event, f"deltas say {text.deltas!r}, done says {event[name]!r}")
        if text.tokens and text.tokens != tokens:
            self._problem(event, f"logprobs of the deltas {text.tokens}, of done {tokens}")

    def _annotation(self, item: Item, event: Json) -> None:
        part = event["content_index"]
        if ("content", part) not in item.open_parts:
            self._problem(event, "outside of its part")
        expected = sum(of == part for of, _ in item.annotations)
        if event["annotation_index"] != expected:
            self._problem(event, f"annotation {event['annotation_index']}, not {expected}")
        item.annotations[part, event["annotation_index"]] = event.get("annotation")

    def end(self, kind: str, response: Json) -> None:
        """Compare with the terminal event's response."""
        if kind == "response.failed":
            return
        details = response.get("incomplete_details") or {}
        if self.done_count != len(self.items) and details.get("reason") != "interrupted":
            self.problems.append("items stay open")
        if response.get("output") != [item.done for item in self.items if item.done is not None]:
            self.problems.append("the final output is not the done items")
