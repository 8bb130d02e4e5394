"""What the events of a Responses stream are about, as tables (pure): texts, parts, statuses.

A new kind of text, part or item is a line in ``protocol.output.items`` or here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ws_bridge.protocol.output.items import ITEMS, PARTS
from ws_bridge.types import Json

LISTS = {"content_index": "content", "summary_index": "summary"}
MESSAGE = frozenset({"message"})
REASONING = frozenset({"reasoning"})
WITH_PARTS = MESSAGE | REASONING
# Of these an item can be made from its first delta; all others need a name or an id of the wire.
MADE_UP: Mapping[str, Json] = {
    "message": {"type": "message", "status": "in_progress", "role": "assistant", "content": []},
    "reasoning": {"type": "reasoning", "status": "in_progress", "summary": []},
}
OWNERS = {
    "output_text": MESSAGE,
    "refusal": MESSAGE,
    "reasoning_text": REASONING,
    "summary_text": REASONING,
}
# Raw reasoning is streamed without part events by some providers; clients read it all the same.
WITHOUT_PART = frozenset({"reasoning_text"})
# OpenAI itself leaves out this text's `done`: the item's own follows at once and has the text.
WITHOUT_DONE = frozenset({"response.custom_tool_call_input"})


@dataclass(frozen=True, slots=True)
class TextKind:
    """A text that grows by deltas: in a part, or in the item itself."""

    stem: str  # of its events
    name: str  # in the done event, and in what holds it
    items: frozenset[str]  # the types of items that have it
    part: str = ""  # the type of its part; "": the item itself holds it
    number: str = ""  # the event field with the part's place


TEXTS: Mapping[str, TextKind] = {
    **{
        kind.text_events: TextKind(kind.text_events, kind.text, OWNERS[part], part, kind.number)
        for part, kind in PARTS.items()
    },
    **{
        kind.text[0]: TextKind(kind.text[0], kind.text[1], frozenset({item}))
        for item, kind in ITEMS.items()
        if kind.text is not None
    },
}
TEXTS_OF_ITEMS: Mapping[str, TextKind] = {
    item: kind for kind in TEXTS.values() if not kind.part for item in kind.items
}
# The stems of part events → the field with the part's place, and the type of a part without one.
PART_EVENTS: Mapping[str, tuple[str, str]] = {
    "response.content_part": ("content_index", "output_text"),
    "response.reasoning_summary_part": ("summary_index", "summary_text"),
}
# What the official types demand of an item that was added, where a provider leaves it out.
NEEDED: Mapping[str, Json] = {
    "message": {"role": "assistant", "content": []},
    "reasoning": {"summary": []},
    "function_call": {"arguments": ""},
    "custom_tool_call": {"input": ""},
    "mcp_call": {"arguments": ""},
    "mcp_list_tools": {"tools": []},
    "file_search_call": {"queries": []},
}
_STARTED = ("in_progress", "completed", "incomplete")
# The statuses that the official types know, the first of them that of an item without one.
STATUSES: Mapping[str, tuple[str, ...]] = {
    "message": _STARTED,
    "function_call": _STARTED,
    "function_call_output": _STARTED,
    "custom_tool_call_output": _STARTED,
    "computer_call": _STARTED,
    "computer_call_output": (*_STARTED, "failed"),
    "reasoning": _STARTED,
    "tool_search_call": _STARTED,
    "tool_search_output": _STARTED,
    "local_shell_call": _STARTED,
    "local_shell_call_output": _STARTED,
    "shell_call": _STARTED,
    "shell_call_output": _STARTED,
    "program_output": ("incomplete", "completed"),
    "apply_patch_call": ("in_progress", "completed"),
    "apply_patch_call_output": ("completed", "failed"),
    "web_search_call": (*_STARTED, "searching", "failed"),
    "file_search_call": (*_STARTED, "searching", "failed"),
    "code_interpreter_call": (*_STARTED, "interpreting", "failed"),
    "image_generation_call": ("in_progress", "completed", "generating", "failed"),
    "mcp_call": (*_STARTED, "calling", "failed"),
}
WITHOUT_STATUS = frozenset({"reasoning", "function_call", "mcp_call", "local_shell_call_output"})


def in_official_words(item: Json) -> Json:
    """An item that begins, valid for the official types as far as a status and blanks go."""
    kind = type_of(item)
    blanks = {k: v for k, v in NEEDED.get(kind, {}).items() if item.get(k) is None}
    known = STATUSES.get(kind)
    status = item.get("status")
    if known and status not in known and (status is not None or kind not in WITHOUT_STATUS):
        blanks["status"] = known[0]
    return {**item, **blanks} if blanks else item


def owner_of(part: str) -> str:
    """The type of item that a type of part stands in."""
    return next(iter(OWNERS.get(part, MESSAGE)))


def type_of(given: Json, usual: str = "") -> str:
    """The type of an item or a part; one that is no text is of no kind."""
    kind = given.get("type", usual)
    return kind if isinstance(kind, str) else ""
