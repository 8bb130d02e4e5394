"""The order of one response's events, whoever reads them.

Rule 1: ``created`` first, numbered 0; numbers rise; exactly one terminal event, the last.
Rule 2: every event is of one lane, and every snapshot of one response.
Rule 3: what is added is done, deltas add up, and the terminal output is what was done.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
Place = tuple[Any, ...]

CREATED = "response.created"
TERMINAL = frozenset({"response.completed", "response.failed", "response.incomplete"})

# An event's name without its ".delta" or ".done" → the field of "done" that the deltas add up to.
ADD_UP = {
    "response.output_text": "text",
    "response.refusal": "refusal",
    "response.function_call_arguments": "arguments",
    "response.custom_tool_call_input": "input",
    "response.reasoning_text": "text",
    "response.reasoning_summary_text": "text",
}


@dataclass
class Turn:
    """One response's events so far; ``take`` raises AssertionError at the first breach."""

    events: list[Json] = field(default_factory=list)
    _added: dict[int, Place] = field(default_factory=dict)
    _done: dict[int, Json] = field(default_factory=dict)
    _texts: dict[Place, str] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        return bool(self.events) and self.events[-1]["type"] in TERMINAL

    def take(self, event: Json) -> None:
        self._check_frame(event)
        self.events.append(event)
        kind = event["type"]
        if kind == "response.output_item.added":
            assert event["output_index"] not in self._added, f"index added twice: {event}"
            self._added[event["output_index"]] = _identity(event["item"])
        elif kind == "response.output_item.done":
            assert self._added.get(event["output_index"]) == _identity(event["item"]), event
            self._done[event["output_index"]] = event["item"]
        elif kind in TERMINAL:
            self._check_end(event)
        else:
            self._add_up(event)

    def _check_frame(self, event: Json) -> None:
        if not self.events:
            assert (event["type"], event["sequence_number"]) == (CREATED, 0), event
            return
        first, last = self.events[0], self.events[-1]
        assert not self.ended, f"after the terminal event: {event}"
        assert event["sequence_number"] > last["sequence_number"], (last, event)
        assert event.get("stream_id", "") == first.get("stream_id", ""), (first, event)
        if "response" in event:
            assert event["response"]["id"] == first["response"]["id"], (first, event)

    def _add_up(self, event: Json) -> None:
        base, _, step = event["type"].rpartition(".")
        if base not in ADD_UP:
            return
        place = (base, *(event.get(key) for key in ("item_id", "content_index", "summary_index")))
        if step == "delta":
            self._texts[place] = self._texts.get(place, "") + event["delta"]
        else:
            assert self._texts.get(place, "") == event[ADD_UP[base]], event

    def _check_end(self, event: Json) -> None:
        status, output = event["response"]["status"], event["response"]["output"]
        if event["type"] == "response.failed":
            assert status in ("failed", "cancelled"), event
            return
        assert f"response.{status}" == event["type"], event
        assert self._added.keys() == self._done.keys(), f"added, never done: {self._added}"
        assert [self._done[index] for index in sorted(self._done)] == output, event


def _identity(item: Json) -> Place:
    return item["type"], item.get("id"), item.get("call_id")
