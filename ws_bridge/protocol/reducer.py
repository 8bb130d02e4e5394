"""Fold server events into a response snapshot.

Rule 1: everything that decides what a poller sees lives in this file.
Rule 2: this file knows nothing of sockets, tasks, stores or clocks.
Rule 3: an unknown event, item or field is passed over; a fold never fails.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from ws_bridge.protocol.events import LIFECYCLE, TERMINAL, Event
from ws_bridge.protocol.output.received import is_item, is_shallow, items_of
from ws_bridge.types import Json

# Where in the item an event's value goes: a list of it, and the event's field that is the index
# in that list; None is the item itself.
Place = tuple[str, str] | None
_CONTENT = ("content", "content_index")
_SUMMARY = ("summary", "summary_index")

# Deltas: the value is added to what is there. A new delta is a line here.
DELTAS: dict[str, tuple[Place, str]] = {
    "response.output_text.delta": (_CONTENT, "text"),
    "response.refusal.delta": (_CONTENT, "refusal"),
    "response.reasoning_text.delta": (_CONTENT, "text"),
    "response.reasoning_summary_text.delta": (_SUMMARY, "text"),
    "response.function_call_arguments.delta": (None, "arguments"),
    "response.mcp_call_arguments.delta": (None, "arguments"),
    "response.custom_tool_call_input.delta": (None, "input"),
    "response.code_interpreter_call_code.delta": (None, "code"),
}
# Ends: the value replaces what is there.
DONES: dict[str, tuple[Place, str]] = {
    "response.output_text.done": (_CONTENT, "text"),
    "response.refusal.done": (_CONTENT, "refusal"),
    "response.reasoning_text.done": (_CONTENT, "text"),
    "response.reasoning_summary_text.done": (_SUMMARY, "text"),
    "response.function_call_arguments.done": (None, "arguments"),
    "response.mcp_call_arguments.done": (None, "arguments"),
    "response.custom_tool_call_input.done": (None, "input"),
    "response.code_interpreter_call_code.done": (None, "code"),
}
# Parts: the event's part becomes the list's entry.
PARTS: dict[str, tuple[str, str]] = {
    "response.content_part.added": _CONTENT,
    "response.content_part.done": _CONTENT,
    "response.reasoning_summary_part.added": _SUMMARY,
    "response.reasoning_summary_part.done": _SUMMARY,
}
# States: the last word of the type becomes the item's status.
STATES = frozenset(
    f"response.{call}.{state}"
    for call, states in {
        "code_interpreter_call": ("in_progress", "interpreting", "completed"),
        "file_search_call": ("in_progress", "searching", "completed"),
        "web_search_call": ("in_progress", "searching", "completed"),
        "image_generation_call": ("in_progress", "generating", "completed"),
        "mcp_call": ("in_progress", "completed", "failed"),
    }.items()
    for state in states
)


class Reducer:
    """The fold of a growing prefix of one response's events."""

    def __init__(self) -> None:
        self._response: Json = {}
        self._items: dict[int, Json] = {}
        self._done: set[int] = set()
        self.number = -1  # of the last event folded

    def fold(self, events: Iterable[Event]) -> Reducer:
        """Take events in order; those that were folded already are passed over."""
        for event in events:
            if event.number > self.number:
                self.apply(event.json())
                self.number = event.number
        return self

    def response(self) -> Json:
        """The snapshot, a copy of its own; {} before the first lifecycle event."""
        return copy.deepcopy(self._response | {"output": self.output()}) if self._response else {}

    def output(self) -> list[Json]:
        """The items so far in index order (shared with the reducer: copy or serialise)."""
        return [self._items[index] for index in sorted(self._items)]

    def finished_items(self) -> list[Json]:
        """The items that are done."""
        return [self._items[index] for index in sorted(self._done & self._items.keys())]

    def partial_output(self) -> list[Json]:
        """All items so far; the status of those that are not done is `incomplete`."""
        return [
            item if index in self._done or "status" not in item else item | {"status": "incomplete"}
            for index, item in sorted(self._items.items())
        ]

    def apply(self, event: Json) -> None:
        """Fold one event's fields."""
        kind = str(event.get("type"))
        if kind in LIFECYCLE:
            # An opening snapshot may be older than the items; an end, and a gap, replace them.
            is_whole = kind in TERMINAL or "gap" in event
            self._take_response(event.get("response"), is_whole=is_whole)
        elif kind in ("response.output_item.added", "response.output_item.done"):
            self._take_item(kind, event)
        elif (item := self._items.get(_index(event, "output_index"))) is not None:
            _fold_into(item, kind, event)

    def _take_response(self, response: Any, *, is_whole: bool) -> None:
        if not isinstance(response, dict):
            return
        self._response = response
        output = response.get("output")
        if isinstance(output, list) and is_whole:
            self._items = dict(enumerate(items_of(output)))
            is_done = {at for at, item in self._items.items() if item.get("status") == "completed"}
            self._done |= is_done

    def _take_item(self, kind: str, event: Json) -> None:
        index, item = _index(event, "output_index"), event.get("item")
        if index >= 0 and isinstance(item, dict) and is_item(item):
            self._items[index] = item
            if kind == "response.output_item.done":
                self._done.add(index)


def _fold_into(item: Json, kind: str, event: Json) -> None:
    if kind in DELTAS:
        where, name = DELTAS[kind]
        target = _target(item, where, event)
        if target is not None and isinstance(event.get("delta"), str):
            _append(target, name, event["delta"])
            _extend(target, "logprobs", event.get("logprobs"))
    elif kind in DONES:
        where, name = DONES[kind]
        target = _target(item, where, event)
        if target is not None and isinstance(event.get(name), str):
            target[name] = event[name]
    elif kind in PARTS:
        if isinstance(event.get("part"), dict):
            _put(item, PARTS[kind][0], _index(event, PARTS[kind][1]), event["part"])
    elif kind in STATES:
        item["status"] = kind.rpartition(".")[2]
    elif kind in OTHERS:
        OTHERS[kind](item, event)


def _target(item: Json, where: Place, event: Json) -> Json | None:
    """The item itself, or the part of it that the event's index names."""
    if where is None:
        return item
    parts, index = item.get(where[0]), _index(event, where[1])
    if not isinstance(parts, list) or not 0 <= index < len(parts):
        return None
    part = parts[index]
    return part if isinstance(part, dict) else None


def _put(target: Json, name: str, index: int, value: Any) -> None:
    """Set an entry of a list, or append the next one."""
    if not is_shallow(value):
        return
    entries = target.get(name)
    if not isinstance(entries, list):
        entries = target[name] = []
    if 0 <= index < len(entries):
        entries[index] = value
    elif index == len(entries):
        entries.append(value)


def _append(target: Json, name: str, delta: str) -> None:
    """Add text to a field: in place, so that many deltas cost no more than their sum."""
    text = _text(target.get(name))
    target[name] = ""  # the interpreter extends a text in place that nothing else refers to
    text += delta
    target[name] = text


def _extend(target: Json, name: str, more: Any) -> None:
    if more and isinstance(target.get(name), list) and isinstance(more, list) and is_shallow(more):
        target[name] = target[name] + more


def _annotation(item: Json, event: Json) -> None:
    part = _target(item, _CONTENT, event)
    if part is not None and event.get("annotation") is not None:
        _put(part, "annotations", _index(event, "annotation_index"), event["annotation"])


def _partial_image(item: Json, event: Json) -> None:
    # The item has no field of its own for a partial image; pollers see it grow in `result`.
    if isinstance(event.get("partial_image_b64"), str):
        item["result"] = event["partial_image_b64"]


def _shell_command(item: Json, event: Json) -> None:
    action = item.get("action")
    if not isinstance(action, dict):
        return
    index = _index(event, "command_index")
    commands = action.setdefault("commands", [])
    if isinstance(commands, list) and "command" in event:
        _put(action, "commands", index, event["command"])
    elif isinstance(commands, list) and 0 <= index < len(commands):
        commands[index] = _text(commands[index]) + _text(event.get("delta"))


OTHERS = {
    "response.output_text.annotation.added": _annotation,
    "response.image_generation_call.partial_image": _partial_image,
    "response.shell_call_command.added": _shell_command,
    "response.shell_call_command.delta": _shell_command,
    "response.shell_call_command.done": _shell_command,
}


def _index(event: Json, name: str) -> int:
    index = event.get(name)
    return index if type(index) is int else -1


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def fold(events: Iterable[Event]) -> Json:
    """The snapshot of a finished or growing list of events."""
    return Reducer().fold(events).response()
