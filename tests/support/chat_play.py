"""Small streams of Chat Completions, played through their reader.

``play`` is an answer that comes whole: its events are valid for the official types. ``failing`` is
one that does not.
"""

from __future__ import annotations

from typing import Any

import orjson
from support.event_checker import check_events

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import Draft
from ws_bridge.protocol.tools import ToolTable
from ws_bridge.upstream.dialects.base import ReaderInput
from ws_bridge.upstream.dialects.openai_chat import FAMILY
from ws_bridge.upstream.dialects.seals import MakerSeals

SEALS = MakerSeals("maker")
TOOLS = ToolTable.of(
    [
        {"type": "function", "name": "f"},
        {"type": "function", "name": "web_search"},
        {"type": "custom", "name": "say"},
        {"type": "namespace", "name": "crm", "tools": [{"type": "function", "name": "list"}]},
    ]
)
ENVELOPE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1.0,
    "model": "m",
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}
STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


def chunk(finish: str | None = None, **delta: Any) -> Any:
    return {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def framed(*chunks: Any, done: bool = True) -> bytes:
    text = b"".join(b"data: %b\n\n" % orjson.dumps(one) for one in chunks)
    return text + (b"data: [DONE]\n\n" if done else b"")


class Play:
    """One answer, read: its drafts, its error, its output."""

    def __init__(self, data: bytes, provider: str = "invented", pieces: int = 1 << 20) -> None:
        reader = FAMILY.reader(ReaderInput(TOOLS, SEALS, provider))
        self.drafts: list[Draft] = []
        self.error: UpstreamError | None = None
        try:
            for start in range(0, len(data), pieces):
                self.drafts += reader.feed(data[start : start + pieces])
            while not reader.is_over:
                self.drafts += reader.finish()
        except UpstreamError as error:
            self.error = error
        self.end: Any = self.drafts[-1].fields["response"] if self.error is None else {}
        done = (d for d in self.drafts if d.type == "response.output_item.done")
        self.output: Any = [draft.fields["item"] for draft in done]

    @property
    def text(self) -> str:
        deltas = (d for d in self.drafts if d.type == "response.output_text.delta")
        return "".join(draft.fields["delta"] for draft in deltas)

    def problems(self) -> list[str]:
        """What the official types do not allow; a failed answer gets its end from the bridge."""
        events: list[Any] = []
        for number, draft in enumerate(self.drafts):
            event = {"type": draft.type, "sequence_number": number, **draft.fields}
            if "response" in event:
                said = {k: v for k, v in event["response"].items() if v is not None}
                event["response"] = ENVELOPE | said
            events.append(event)
        return check_events(events)


def play(*chunks: Any, provider: str = "invented", done: bool = True) -> Play:
    found = Play(framed(*chunks, done=done), provider)
    assert found.error is None, found.error
    assert found.problems() == []
    return found


def failing(
    *chunks: Any, provider: str = "invented", done: bool = True
) -> tuple[Play, UpstreamError]:
    found = Play(framed(*chunks, done=done), provider)
    assert found.error is not None
    return found, found.error


def call(index: int | None, call_id: str | None, name: str | None, arguments: Any) -> Any:
    function = {"name": name, "arguments": arguments}
    found = {"index": index, "id": call_id, "type": "function", "function": function}
    return {key: value for key, value in found.items() if value is not None}
