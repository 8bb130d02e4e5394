"""One answer as a client sees it: events or snapshots in, new parts to show out (pure).

Rule 1: what was shown once is not shown again, also when the rest of the answer comes over HTTP.
Rule 2: an unknown event shows nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ws_bridge.terminal.endpoint import error_line
from ws_bridge.types import Json

Kind = Literal["text", "reasoning", "call", "note", "error"]

DELTAS: dict[str, Kind] = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "text",
    "response.reasoning_text.delta": "reasoning",
    "response.reasoning_summary_text.delta": "reasoning",
}
ENDINGS = {"response.completed", "response.incomplete", "response.failed"}
# Calls that wait for an output of the client; this one has no tools and answers so.
NEED_OUTPUT = {
    "function_call": "function_call_output",
    "custom_tool_call": "custom_tool_call_output",
}
NO_TOOL = "This client has no tools."


@dataclass(frozen=True, slots=True)
class ShownPart:
    """A piece of text or reasoning to show, or one line of another kind."""

    kind: Kind
    text: str


class ShownTurn:
    """One answer as far as it was shown: events or snapshots in, new parts out (pure)."""

    def __init__(self) -> None:
        self.id = ""
        self.status = ""  # empty while the answer runs
        self.open_calls: list[Json] = []  # outputs that the next turn must send
        self._shown = ""  # the text shown so far
        self._calls: set[str] = set()

    @property
    def continues(self) -> bool:
        """Whether the next turn can build on this one."""
        return self.status in ("completed", "incomplete")

    def receive(self, event: Json) -> list[ShownPart]:
        """Return what one event of the socket adds."""
        kind = event.get("type")
        if kind == "response.created":
            self.id = str(event["response"]["id"])
        elif kind in DELTAS:
            return self._piece(DELTAS[kind], str(event["delta"]))
        elif kind == "response.output_item.done":
            return self._call(event["item"])
        elif kind in ENDINGS:
            return self._end(event["response"])
        elif kind == "error":
            self.status = "failed"
            return [ShownPart("error", error_line(event.get("status"), event))]
        return []

    def catch_up(self, response: Json) -> list[ShownPart]:
        """Return what a snapshot adds to what was shown."""
        items = response.get("output") or []
        parts = [part for item in items for part in self._call(item)]
        text = "".join(_text_of(item) for item in items)
        if text.startswith(self._shown):
            parts += self._piece("text", text[len(self._shown) :])
        if response.get("status") not in ("queued", "in_progress"):
            parts += self._end(response)
        return parts

    def _piece(self, kind: Kind, text: str) -> list[ShownPart]:
        if kind == "text":
            self._shown += text
        return [ShownPart(kind, text)] if text else []

    def _call(self, item: Json) -> list[ShownPart]:
        kind, call_id = str(item.get("type")), str(item.get("call_id") or item.get("id"))
        unfinished = item.get("status") in ("in_progress", "incomplete")
        if not kind.endswith("_call") or unfinished or call_id in self._calls:
            return []
        self._calls.add(call_id)
        if kind in NEED_OUTPUT:
            output = {"type": NEED_OUTPUT[kind], "call_id": call_id, "output": NO_TOOL}
            self.open_calls.append(output)
        arguments = item.get("arguments") or item.get("input") or ""
        return [ShownPart("call", f"{item.get('name') or kind}({arguments})")]

    def _end(self, response: Json) -> list[ShownPart]:
        self.status = str(response.get("status"))
        if self.status == "incomplete":
            reason = (response.get("incomplete_details") or {}).get("reason", "no reason given")
            return [ShownPart("note", f"cut short: {reason}")]
        if self.status == "cancelled":
            return [ShownPart("note", "cancelled")]
        return [] if self.status == "completed" else [ShownPart("error", error_line("", response))]


def _text_of(item: Json) -> str:
    content = item.get("content") if item.get("type") == "message" else None
    return "".join(part.get("text") or part.get("refusal") or "" for part in content or ())
