"""Finished Responses objects → the events that a streaming model would have sent.

For a model that cannot stream, and for a provider's own background mode, which is polled.

Rule 1: what is replayed is said as it is: the `done` items are the terminal response's output.
Rule 2: an item nobody here knows is still added and done; only its inside stays unspoken.
Rule 3: optional means absent, never null (wire contract, rule 38).

The tables here say how a text inside an item is spoken; ``chat.py`` speaks by them too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ws_bridge.protocol.events import COMPLETED, CREATED, FAILED, IN_PROGRESS, INCOMPLETE, Draft

Json = dict[str, Any]
Item = dict[str, Any]

ADDED = "response.output_item.added"
DONE = "response.output_item.done"
ANNOTATION = "response.output_text.annotation.added"

TERMINAL_OF = {
    None: COMPLETED,  # some providers leave the status of a finished answer out
    "completed": COMPLETED,
    "incomplete": INCOMPLETE,
}
NOT_YET: Json = {
    "status": "in_progress",
    "output": [],
    "usage": None,
    "completed_at": None,
    "error": None,
    "incomplete_details": None,
}


@dataclass(frozen=True, slots=True)
class PartKind:
    """How one kind of part is spoken: its list in the item, its events, its text."""

    events: str  # of the part: + ".added", ".done"
    text_events: str  # of the text in it: + ".delta", ".done"
    text: str  # the text's name in the part and in the text's done event
    number: str  # the event field that is the part's place in the list
    empty: Json

    @property
    def blank(self) -> Json:
        """The part before its first delta, a copy of its own."""
        return {key: list(value) if value == [] else value for key, value in self.empty.items()}


def _part_kind(of: str, stem: str, name: str, **more: Any) -> PartKind:
    part = "reasoning_summary_part" if of == "summary" else "content_part"
    empty = {"type": name, more.get("text", "text"): "", **more.get("empty", {})}
    return PartKind(
        f"response.{part}", f"response.{stem}", more.get("text", "text"), f"{of}_index", empty
    )


PARTS: dict[str, PartKind] = {
    "output_text": _part_kind(
        "content", "output_text", "output_text", empty={"annotations": [], "logprobs": []}
    ),
    "refusal": _part_kind("content", "refusal", "refusal", text="refusal"),
    "reasoning_text": _part_kind("content", "reasoning_text", "reasoning_text"),
    "summary_text": _part_kind("summary", "reasoning_summary_text", "summary_text"),
}


@dataclass(frozen=True, slots=True)
class ItemKind:
    """How one type of item is spoken: its id, what it lacks when added, its states, its text."""

    prefix: str
    blank: tuple[tuple[str, Any], ...] = ()  # in `added`, for the keys the finished item has
    states: tuple[str, ...] = ()  # before the text
    text: tuple[str, str] | None = None  # the text's events, and its name in the item
    last_states: tuple[str, ...] = ()  # after the text
    ends: frozenset[str] = frozenset({"completed"})  # final states that are events


_STARTED = ("status", "in_progress")
ITEMS: dict[str, ItemKind] = {
    "message": ItemKind("msg", (_STARTED, ("content", []))),
    "reasoning": ItemKind("rs", (_STARTED, ("summary", []), ("content", []))),
    "function_call": ItemKind(
        "fc",
        (_STARTED, ("arguments", "")),
        text=("response.function_call_arguments", "arguments"),
    ),
    "custom_tool_call": ItemKind(
        "ctc", (_STARTED, ("input", "")), text=("response.custom_tool_call_input", "input")
    ),
    "mcp_call": ItemKind(
        "mcp",
        (_STARTED, ("arguments", ""), ("output", None), ("error", None)),
        ("in_progress",),
        ("response.mcp_call_arguments", "arguments"),
        ends=frozenset({"completed", "failed"}),
    ),
    "mcp_list_tools": ItemKind(
        "mcpl",
        (("tools", []), ("error", None)),
        ("in_progress",),
        ends=frozenset({"completed", "failed"}),
    ),
    "code_interpreter_call": ItemKind(
        "ci",
        (_STARTED, ("code", ""), ("outputs", None)),
        ("in_progress",),
        ("response.code_interpreter_call_code", "code"),
        ("interpreting",),
    ),
    "web_search_call": ItemKind("ws", (_STARTED,), ("in_progress", "searching")),
    "file_search_call": ItemKind("fs", (_STARTED, ("results", None)), ("in_progress", "searching")),
    "image_generation_call": ItemKind(
        "ig", (_STARTED, ("result", None)), ("in_progress", "generating")
    ),
}
UNKNOWN = ItemKind("item", (_STARTED,))

# Optional in the contract; providers and their libraries like to write null there.
NEVER_NULL = frozenset(
    {
        "caller",
        "content",
        "created_by",
        "encrypted_content",
        "logprobs",
        "namespace",
        "phase",
        "summary",
        "status",
    }
)
PART_LISTS = frozenset({"content", "summary"})
REQUIRED_LISTS = {"message": "content", "reasoning": "summary"}


def replay(response: Json) -> Iterator[Draft]:
    """The events of a finished response, the last one terminal; ``response`` is not changed."""
    yield from opening(response)
    yield from replay_items(response.get("output") or [], 0)
    yield terminal(response)


def opening(response: Json) -> Iterator[Draft]:
    """`created` and `in_progress` as they would have been."""
    for kind in (CREATED, IN_PROGRESS):
        yield Draft(kind, {"response": response | NOT_YET | {"output": []}})


def replay_items(items: Iterable[Item], start_index: int) -> Iterator[Draft]:
    """The events of finished items, the first of which is number ``start_index`` of its response.

    An item that is still being made must not be among them: it would be said to be done.
    """
    for index, item in enumerate(items, start_index):
        yield from _item(tidy(item, index), index)


def terminal(response: Json) -> Draft:
    """The last event, by the status: a cancelled response has failed (wire contract P3)."""
    kind = TERMINAL_OF.get(response.get("status"), FAILED)
    output = [tidy(item, index) for index, item in enumerate(response.get("output") or [])]
    return Draft(kind, {"response": response | {"output": output}})


def tidy(item: Item, index: int) -> Item:
    """The item with an id, and without the nulls that strict clients refuse.

    A missing id is made of the call id or the index: the same at every call.
    """
    tidied = {key: value for key, value in item.items() if value is not None or _nullable(key)}
    if not tidied.get("id"):
        prefix = ITEMS.get(item.get("type", ""), UNKNOWN).prefix
        tidied["id"] = f"{prefix}_{item.get('call_id') or index}"
    if needed := REQUIRED_LISTS.get(item.get("type", "")):
        tidied.setdefault(needed, [])
    for name in PART_LISTS & tidied.keys():
        if isinstance(tidied[name], list):
            tidied[name] = [_tidy_part(part) for part in tidied[name]]
    return tidied


def _nullable(key: str) -> bool:
    return key not in NEVER_NULL


def _tidy_part(part: Json) -> Json:
    kind = PARTS.get(part.get("type", ""))
    present = {key: value for key, value in part.items() if value is not None}
    return kind.blank | present if kind else part


# One item


def _item(item: Item, index: int) -> Iterator[Draft]:
    kind = ITEMS.get(item.get("type", ""), UNKNOWN)
    at = {"item_id": item["id"], "output_index": index}
    yield item_added(item | _blanks(item, kind), index)
    yield from _states(item, at, kind.states)
    for name in ("summary", "content"):
        for number, part in enumerate(item.get(name) or []):
            yield from _part(part, at, number)
    if kind.text is not None:
        yield from _text(item, at, *kind.text)
    yield from _states(item, at, kind.last_states)
    if (end := _end(item)) in kind.ends and (kind.states or kind.last_states):
        yield from _states(item, at, (end,))
    yield item_done(item, index)


def item_added(item: Item, index: int) -> Draft:
    """An item begins; ``item`` is what is known of it."""
    known = {key: value for key, value in item.items() if key != "encrypted_content"}
    return Draft(ADDED, {"output_index": index, "item": known})


def item_done(item: Item, index: int) -> Draft:
    """An item is finished."""
    return Draft(DONE, {"output_index": index, "item": item})


def _blanks(item: Item, kind: ItemKind) -> Json:
    return {key: list(value) if value == [] else value for key, value in kind.blank if key in item}


def _states(item: Item, at: Json, states: Iterable[str]) -> Iterator[Draft]:
    for state in states:
        yield Draft(f"response.{item['type']}.{state}", dict(at))


def _end(item: Item) -> str:
    """The state an item ended in; MCP items may tell it by their error alone."""
    if "status" in item:
        return str(item["status"])
    return "failed" if item.get("error") is not None else "completed"


def _text(item: Item, at: Json, events: str, name: str) -> Iterator[Draft]:
    text = item.get(name)
    if not isinstance(text, str):  # code is null where the provider keeps it to itself
        return
    if text:
        yield Draft(f"{events}.delta", at | {"delta": text})
    yield text_done(item, at)


def text_done(item: Item, at: Json) -> Draft:
    """The end of an item's own text: arguments, input, code. Function calls repeat their name."""
    spoken = ITEMS[item["type"]].text
    assert spoken is not None  # noqa: S101 - only items with a text come here
    events, name = spoken
    fields = at | {name: item[name]}
    if item["type"] == "function_call":
        fields["name"] = item.get("name", "")
    return Draft(f"{events}.done", fields)


# One part of an item's content or summary


def _part(part: Json, at: Json, number: int) -> Iterator[Draft]:
    kind = PARTS.get(part.get("type", ""))
    if kind is None:
        at = at | {"content_index": number}
        yield Draft("response.content_part.added", at | {"part": part})
        yield Draft("response.content_part.done", at | {"part": part})
        return
    at = at | {kind.number: number}
    yield part_added(kind, at)
    if part[kind.text]:
        yield Draft(f"{kind.text_events}.delta", at | {"delta": part[kind.text]} | _logprobs(part))
    for place, annotation in enumerate(part.get("annotations") or []):
        yield annotation_added(at, place, annotation)
    yield from part_done(kind, at, part)


def part_added(kind: PartKind, at: Json) -> Draft:
    """A part begins, empty."""
    return Draft(f"{kind.events}.added", at | {"part": kind.blank})


def annotation_added(at: Json, place: int, annotation: Json) -> Draft:
    """The annotation number ``place`` of a text part."""
    return Draft(ANNOTATION, at | {"annotation_index": place, "annotation": annotation})


def part_done(kind: PartKind, at: Json, part: Json) -> Iterator[Draft]:
    """A part ends: first its text, then the part."""
    done = at | {kind.text: part[kind.text]} | _logprobs(part)
    yield Draft(f"{kind.text_events}.done", done)
    yield Draft(f"{kind.events}.done", at | {"part": part})


def _logprobs(part: Json) -> Json:
    """Text events must have a list of log probabilities; no other event has them."""
    return {"logprobs": part.get("logprobs") or []} if part["type"] == "output_text" else {}
