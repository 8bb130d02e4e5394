"""The events of output items and of the parts in them, as tables, and drafts made from them.

Rule 1: a new type of item or part is a line in a table (docs/protocol.md §3.1 and §3.3).
Rule 2: an item's `added` event has what is known before its first delta.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ws_bridge.protocol.events import Draft
from ws_bridge.types import Item, Json

ADDED = "response.output_item.added"
DONE = "response.output_item.done"
ANNOTATION = "response.output_text.annotation.added"


@dataclass(frozen=True, slots=True)
class PartKind:
    """One kind of part: its list in the item, its events, its text."""

    events: str  # of the part: + ".added", ".done"
    text_events: str  # of the text in it: + ".delta", ".done"
    text: str  # the text's name in the part and in the text's done event
    number: str  # the event field that is the part's place in the list
    empty: Json

    @property
    def blank(self) -> Json:
        """The part before its first delta, a copy of its own."""
        return {key: list(value) if value == [] else value for key, value in self.empty.items()}


_CONTENT, _SUMMARY = "response.content_part", "response.reasoning_summary_part"
PARTS: dict[str, PartKind] = {
    "output_text": PartKind(
        _CONTENT,
        "response.output_text",
        "text",
        "content_index",
        {"type": "output_text", "text": "", "annotations": [], "logprobs": []},
    ),
    "refusal": PartKind(
        _CONTENT,
        "response.refusal",
        "refusal",
        "content_index",
        {"type": "refusal", "refusal": ""},
    ),
    "reasoning_text": PartKind(
        _CONTENT,
        "response.reasoning_text",
        "text",
        "content_index",
        {"type": "reasoning_text", "text": ""},
    ),
    "summary_text": PartKind(
        _SUMMARY,
        "response.reasoning_summary_text",
        "text",
        "summary_index",
        {"type": "summary_text", "text": ""},
    ),
}


@dataclass(frozen=True, slots=True)
class ItemKind:
    """One type of item: its id prefix, its fields when added, its states, its text."""

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
    "apply_patch_call": ItemKind("apc", (_STARTED,)),
    "shell_call": ItemKind("sh", (_STARTED,)),
    "local_shell_call": ItemKind("lsh", (_STARTED,)),
    "apply_patch_call_output": ItemKind("apco"),  # these are added with the status that they end in
    "program_output": ItemKind("po"),
    "tool_search_call": ItemKind("tsc", (_STARTED,)),
    "web_search_call": ItemKind("ws", (_STARTED,), ("in_progress", "searching")),
    "file_search_call": ItemKind("fs", (_STARTED, ("results", None)), ("in_progress", "searching")),
    "image_generation_call": ItemKind(
        "ig", (_STARTED, ("result", None)), ("in_progress", "generating")
    ),
}
UNKNOWN = ItemKind("item", (_STARTED,))


def item_added(item: Item, index: int) -> Draft:
    """An item begins; ``item`` is what is known of it. Reasoning is sealed at its end only."""
    if item.get("type") == "reasoning":
        item = {key: value for key, value in item.items() if key != "encrypted_content"}
    return Draft(ADDED, {"output_index": index, "item": item})


def item_done(item: Item, index: int) -> Draft:
    """An item is finished."""
    return Draft(DONE, {"output_index": index, "item": item})


def item_states(item: Item, index: int, states: Iterable[str]) -> Iterator[Draft]:
    """The states that a hosted call goes through, one event each."""
    for state in states:
        yield Draft(
            f"response.{item['type']}.{state}", {"item_id": item["id"], "output_index": index}
        )


def text_done(item: Item, at: Json) -> Draft:
    """The end of an item's own text: arguments, input, code. Function calls repeat their name."""
    table_entry = ITEMS[item["type"]].text
    assert table_entry is not None  # noqa: S101 - only items with a text come here
    events, name = table_entry
    fields = at | {name: item[name]}
    if item["type"] == "function_call":
        fields["name"] = item.get("name", "")
    return Draft(f"{events}.done", fields)


def part_added(kind: PartKind, at: Json) -> Draft:
    """A part begins, empty."""
    return Draft(f"{kind.events}.added", at | {"part": kind.blank})


def annotation_added(at: Json, place: int, annotation: Json) -> Draft:
    """The annotation number ``place`` of a text part."""
    return Draft(ANNOTATION, at | {"annotation_index": place, "annotation": annotation})


def part_done(kind: PartKind, at: Json, part: Json) -> Iterator[Draft]:
    """A part ends: first its text, then the part."""
    done = at | {kind.text: part[kind.text]} | logprobs_of(part)
    yield Draft(f"{kind.text_events}.done", done)
    yield Draft(f"{kind.events}.done", at | {"part": part})


def logprobs_of(part: Json) -> Json:
    """Text events must have a list of log probabilities; no other event has them."""
    return {"logprobs": part.get("logprobs") or []} if part["type"] == "output_text" else {}
