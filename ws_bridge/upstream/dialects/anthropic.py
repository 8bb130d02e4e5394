"""Plain deltas of Anthropic's Messages: text, thinking and input of a block that is open.

Signatures, citations and all deltas of other blocks are litellm's.
"""

from __future__ import annotations

from dataclasses import dataclass

from ws_bridge.protocol.output.chat import Chunk, ToolDelta
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.frames import (
    LIST,
    NULL,
    OBJECT,
    TEXT,
    NotUnderstoodError,
    Reader,
    Shape,
    check,
    write_frame,
)

# Blocks: what must be in their start, the type of a plain delta, and where its text stands.
BLOCKS = {
    "text": ({"text"}, "text_delta", "text"),
    "thinking": ({"thinking"}, "thinking_delta", "thinking"),
    "tool_use": ({"id", "name"}, "input_json_delta", "partial_json"),
}
START: Shape = {
    "type": TEXT,
    "text": TEXT,
    "citations": LIST | NULL,
    "thinking": TEXT,
    "signature": TEXT,
    "id": TEXT,
    "name": TEXT,
    "input": OBJECT,
    "caller": OBJECT | NULL,
}
# Of all other blocks it is not known whether litellm counts them as tool calls: that changes with
# its releases, and the number is what a call's input is joined by.
UNCOUNTED = ("text", "thinking", "redacted_thinking")
ANSWER_TOOL = "json_tool_call"  # litellm's own, for an answer with a schema: its input is the text
EVENT = frozenset({"type", "index", "delta"})
SAY_NOTHING = ("message_start", "ping")
OTHER_DELTAS = ("signature_delta", "citations_delta")


@dataclass(frozen=True, slots=True)
class Block:
    """An open block whose deltas can be plain."""

    index: int
    type: str
    delta: str  # the type of its deltas
    key: str  # where their text stands


class AnthropicDeltas(Reader):
    """A ``Plain``."""

    def __init__(self) -> None:
        super().__init__()
        self._open: int | None = None  # the index of the open block
        self._block: Block | None = None  # the open block, if its deltas can be plain
        self._call = -1  # the last call's number, as litellm counts
        self._owing: Block | None = None
        self._pieces: list[str] = []

    def owed(self) -> bytes | None:
        """See ``Plain``; also if it is empty: litellm completes a call whose input was."""
        block, pieces = self._owing, self._pieces
        if block is None:
            return None
        self._owing, self._pieces = None, []
        delta = {"type": block.delta, block.key: "".join(pieces)}
        event = {"type": "content_block_delta", "index": block.index, "delta": delta}
        return b"event: content_block_delta\n" + write_frame(event)

    def _judge(self, data: Json) -> Chunk | None:
        type_ = data.get("type")
        if type_ == "content_block_delta":
            return self._delta(data)
        if type_ == "content_block_start":
            self._start(data)
        elif type_ == "content_block_stop":
            self._open = self._block = None
        elif type_ not in SAY_NOTHING:
            raise NotUnderstoodError
        return None

    def _start(self, event: Json) -> None:
        index, block = event.get("index"), event.get("content_block")
        if type(index) is not int or type(block) is not dict:
            raise NotUnderstoodError
        type_ = block.get("type")
        if type(type_) is not str:
            raise NotUnderstoodError
        if type_ == "tool_use":
            self._call += 1
            self._has_begun = True
        elif type_ not in UNCOUNTED:
            raise NotUnderstoodError
        is_plain = type_ in BLOCKS and block.get("name") != ANSWER_TOOL
        self._open = index
        self._block = _block(index, block) if is_plain else None

    def _delta(self, event: Json) -> Chunk | None:
        delta, block = event.get("delta"), self._block
        if type(delta) is not dict or self._open is None or event.get("index") != self._open:
            raise NotUnderstoodError
        if block is None or delta.get("type") in OTHER_DELTAS:
            return None
        text = delta.get(block.key)
        is_known = delta.get("type") == block.delta and len(delta) == 2 and event.keys() == EVENT
        if not is_known or type(text) is not str:
            raise NotUnderstoodError
        if not self._has_begun:
            self._has_begun = bool(text)
            return None
        self._owing = block
        self._pieces.append(text)
        return self._chunk(block.type, text)

    def _chunk(self, type_: str, text: str) -> Chunk:
        if type_ == "text":
            return Chunk(text=text)
        if type_ == "tool_use":
            return Chunk(tool_calls=(ToolDelta(self._call, arguments=text),))
        block = {"type": "thinking", "thinking": text}
        return Chunk(reasoning=text, thinking_blocks=(block,) if text else ())


def _block(index: int, start: Json) -> Block:
    check(start, START)
    needs, delta, key = BLOCKS[start["type"]]
    if not needs <= start.keys():
        raise NotUnderstoodError
    return Block(index, start["type"], delta, key)
