"""Bedrock's Converse stream → drafts (pure).

Rule 1: the metadata, with the usage, come after the end of the message, before it or not at all.
Rule 2: a citation is of the text of its own block; in a block without text, of that before it.
Rule 3: a call is over when something follows it, or the answer is whole: the block of one that was
cut has an end as well.
Rule 4: a signature, or a redacted thought, is sealed into the reasoning item that it belongs to.
"""

from __future__ import annotations

import base64
from typing import Any

import orjson

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import Draft
from ws_bridge.protocol.output.tool_calls import ToolDelta
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.base import ReaderInput
from ws_bridge.upstream.dialects.bedrock.answer import events_of
from ws_bridge.upstream.dialects.bedrock.citations import annotation
from ws_bridge.upstream.dialects.bedrock.event_stream import EXCEPTION, EventStreamDecoder
from ws_bridge.upstream.dialects.bedrock.hosted import hosted_call, hosted_result
from ws_bridge.upstream.dialects.bedrock.messages import REASONED, REDACTED, SIGNATURE
from ws_bridge.upstream.dialects.bedrock.own_blocks import (
    call_block,
    hosted_block,
    result_block,
    side_data_of,
    text_blocks,
    thought_blocks,
)
from ws_bridge.upstream.dialects.bedrock.usage import thought_tokens, usage_of
from ws_bridge.upstream.dialects.ends import CUT, FAILURE, FILTERED, GOOD, Ends, incomplete_reason
from ws_bridge.upstream.dialects.event_reader import EventReader, ServerSentEvent, parsed
from ws_bridge.upstream.dialects.turns import fitting_id
from ws_bridge.upstream.errors import truncated
from ws_bridge.upstream.provider_errors import error_of

ENDS: Ends = {
    "end_turn": GOOD,
    "tool_use": GOOD,
    "stop_sequence": GOOD,
    "max_tokens": CUT,
    "model_context_window_exceeded": CUT,
    "guardrail_intervened": FILTERED,
    "content_filtered": FILTERED,
    "malformed_model_output": FAILURE,
    "malformed_tool_use": FAILURE,
}
STATUSES = {
    "internalServerException": 500,
    "modelStreamErrorException": 502,
    "modelTimeoutException": 504,
    "serviceUnavailableException": 503,
    "throttlingException": 429,
    "validationException": 400,
}
WORDS = ("originalMessage", "message", "Message")
CLIENTS = (None, "", "tool_use")  # the types of calls that the client answers


class BedrockReader(EventReader):
    """A ``StreamReader`` of Converse."""

    def __init__(self, given: ReaderInput) -> None:
        super().__init__(given, EventStreamDecoder())
        self._stop = ""  # why the message ended; "": it has not
        self._thought_tokens = 0
        self._blocks: dict[int, _Block] = {}  # those that are open
        self._last_call: int | None = None  # the call whose block was the last to end
        self._own: list[Json] = []  # the blocks that have ended, as they may go back
        self._cited = 0  # where the open text ended at the last citation
        self._readers = {
            "contentBlockStart": self._start,
            "contentBlockDelta": self._delta,
            "contentBlockStop": self._end_block,
            "messageStop": self._end,
            "metadata": self._metadata,
        }

    def _event(self, event: ServerSentEvent) -> list[Draft]:
        reader = self._readers.get(event.name)
        if reader is not None:
            data = parsed(event.data)
            return reader(data) if isinstance(data, dict) else []
        if event.name.startswith(EXCEPTION):
            raise _failure(event.name.removeprefix(EXCEPTION), event.data)
        return []

    def _whole(self, answer: Json) -> list[Draft]:
        message = _object(_object(answer, "output"), "message")
        if not message:
            raise error_of(None, answer)
        drafts: list[Draft] = []
        for name, data in events_of(message, answer):
            drafts += self._readers[name](data)
        return drafts

    # Blocks

    def _start(self, data: Json) -> list[Draft]:
        drafts = self._end_last_call()
        start, place = _object(data, "start"), _place(data)
        if use := _object(start, "toolUse"):
            return drafts + self._begin_call(place, use)
        if result := _object(start, "toolResult"):
            self._blocks[place] = _Block("result", str(result.get("toolUseId")), start=result)
        elif "image" in start:
            self._blocks[place] = _Block("image")
        elif thought := _object(start, "reasoningContent"):
            return drafts + self._think(place, thought)
        return drafts

    def _begin_call(self, place: int, use: Json) -> list[Draft]:
        call_id, name = str(use.get("toolUseId") or ""), str(use.get("name") or "")
        if use.get("type") not in CLIENTS:
            self._blocks[place] = _Block("hosted", call_id, name, start=use)
            return []
        self._blocks[place] = _Block("call", name=name)
        call = ToolDelta(place, fitting_id(call_id) if call_id else None, name or None)
        return self._output.call(call)

    def _delta(self, data: Json) -> list[Draft]:
        delta = data.get("delta")
        if type(delta) is not dict:
            return []
        place = _place(data)
        drafts = self._end_last_call() if self._last_call is not None else []
        text = delta.get("text")
        if type(text) is str:  # nearly always
            block = self._blocks.get(place) or self._begin_text(place)
            if block.kind == "text":
                block.pieces.append(text)
            return drafts + self._output.text(text) if text else drafts
        if use := _object(delta, "toolUse"):
            return drafts + self._input(place, use.get("input"))
        if thought := _object(delta, "reasoningContent"):
            return drafts + self._think(place, thought)
        self._collect(place, delta)
        return drafts

    def _collect(self, place: int, delta: Json) -> None:
        """Keep what is shown at the end of the block."""
        block = self._blocks.get(place) or self._begin_text(place)
        if citation := _object(delta, "citation"):
            block.citations.append(citation)
        elif block.kind == "result" and isinstance(delta.get("toolResult"), list):
            block.pieces += delta["toolResult"]
        elif block.kind == "image":
            image = _object(_object(delta, "image"), "source")
            block.pieces.append(str(image.get("bytes") or ""))

    def _begin_text(self, place: int) -> _Block:
        block = self._blocks[place] = _Block("text")
        block.begin = self._output.text_length
        if not block.begin:
            self._cited = 0
        return block

    def _input(self, place: int, fragment: Any) -> list[Draft]:
        text = fragment if isinstance(fragment, str) else orjson.dumps(fragment or {}).decode()
        block = self._blocks.get(place)
        if block is not None and block.kind == "hosted":
            block.pieces.append(text)
            return []
        return self._output.call(ToolDelta(place, arguments=text)) if text else []

    def _think(self, place: int, thought: Json) -> list[Draft]:
        block = self._blocks.setdefault(place, _Block("thought"))
        text, signature = thought.get("text"), thought.get("signature")
        if isinstance(redacted := thought.get("redactedContent"), str):
            block.pieces.append(redacted)
        if isinstance(signature, str):
            block.signature += signature
        if not isinstance(text, str) or not text:
            return []
        block.thought.append(text)
        return self._output.reasoning(text)

    def _end_block(self, data: Json) -> list[Draft]:
        place = _place(data)
        block = self._blocks.pop(place, None)
        if block is None:
            return []
        self._own += _own_blocks(block)
        if block.kind == "call":
            self._last_call = place
            return []
        if block.kind == "thought":
            return self._seal(block)
        if block.kind == "text":
            return self._cite(block)
        if block.kind == "image":
            picture = _joined(block.pieces)
            return self._output.image(picture) if picture else []
        return self._hosted(block)

    def _end_last_call(self) -> list[Draft]:
        place, self._last_call = self._last_call, None
        return [] if place is None else self._output.end_call(place)

    def _seal(self, block: _Block) -> list[Draft]:
        if block.pieces:
            self._output.end_text()
            sealed: Json = {REDACTED: _joined(block.pieces)}
        elif block.signature:
            sealed = {SIGNATURE: block.signature}
        elif block.thought:
            sealed = {REASONED: True}
        else:
            return []
        return self._output.seal(self._given.seals.seal(sealed))

    def _cite(self, block: _Block) -> list[Draft]:
        if not block.citations:
            return []
        end = self._output.text_length
        begin = block.begin if end > block.begin else min(self._cited, end)
        self._cited = end
        notes = [annotation(one, begin, end) for one in block.citations]
        found = [note for note in notes if note is not None]
        return self._output.annotate(found) if found and end else []

    def _hosted(self, block: _Block) -> list[Draft]:
        if block.kind == "hosted":
            item = hosted_call(block.name, "".join(block.pieces))
            return self._output.begin_hosted(block.call_id, item) if item else []
        fields = hosted_result(block.pieces, is_error=block.start.get("status") == "error")
        return self._output.end_hosted(block.call_id, fields)

    # Ends

    def _end(self, data: Json) -> list[Draft]:
        self._stop = str(data.get("stopReason") or "")
        if not self._stop:
            raise truncated()
        self._thought_tokens = thought_tokens(data.get("additionalModelResponseFields"))
        drafts: list[Draft] = []
        for place in [at for at, block in self._blocks.items() if block.kind != "call"]:
            drafts += self._end_block({"contentBlockIndex": place})  # its own end did not come
        return drafts + self._finish() if self._output.usage else drafts

    def _metadata(self, data: Json) -> list[Draft]:
        self._output.usage = usage_of(data.get("usage"), self._thought_tokens)
        return self._finish() if self._stop else []

    def _end_of_wire(self) -> list[Draft]:
        return self._finish() if self._stop else super()._end_of_wire()

    def _finish(self) -> list[Draft]:
        reason = incomplete_reason(self._stop, ENDS, has_output=self._output.has_output)
        drafts = [] if reason else self._end_last_call()
        self._output.side_data = side_data_of(self._own)
        return drafts + self._output.finish(reason)


class _Block:
    """A content block between its start and its stop."""

    __slots__ = (
        *("begin", "call_id", "citations", "kind", "name"),
        *("pieces", "signature", "start", "thought"),
    )

    def __init__(
        self, kind: str, call_id: str = "", name: str = "", start: Json | None = None
    ) -> None:
        self.kind = kind
        self.call_id = call_id
        self.name = name
        self.begin = 0  # where its text begins in the open text
        self.start: Json = start or {}  # of a hosted call, or of its result
        self.signature = ""
        self.thought: list[str] = []
        self.pieces: list[Any] = []  # of all else than a thought's text
        self.citations: list[Json] = []


def _failure(kind: str, data: bytes) -> UpstreamError:
    """The error of an exception, in the words of the model's maker where they were passed on."""
    try:
        body = parsed(data)
    except UpstreamError:
        body = {"message": data.decode(errors="replace")}
    words = (body.get(name) for name in WORDS) if isinstance(body, dict) else ()
    message = next((text for text in words if isinstance(text, str) and text), "")
    return error_of(STATUSES.get(kind, 502), {"code": kind, "message": message})


def _own_blocks(block: _Block) -> list[Json]:
    """A block that has ended, as it may go back."""
    if block.kind == "text":
        return list(text_blocks("".join(block.pieces), block.citations))
    if block.kind == "thought":
        redacted = _joined(block.pieces) if block.pieces else ""
        return list(thought_blocks("".join(block.thought), block.signature, redacted))
    if block.kind == "call":
        return [call_block(block.name)]
    if block.kind == "hosted":
        kind = str(block.start.get("type"))
        return [hosted_block(block.call_id, block.name, kind, "".join(block.pieces))]
    return (
        [result_block(block.call_id, block.start, block.pieces)] if block.kind == "result" else []
    )


def _joined(pieces: list[str]) -> str:
    """Base64 that came in pieces, each with an end of its own."""
    if len(pieces) == 1:
        return pieces[0]
    try:
        return base64.b64encode(b"".join(map(base64.b64decode, pieces))).decode()
    except ValueError:
        return "".join(pieces)


def _object(data: Any, key: str) -> Json:
    value = data.get(key) if isinstance(data, dict) else None
    return value if isinstance(value, dict) else {}


def _place(data: Json) -> int:
    index = data.get("contentBlockIndex")
    return index if isinstance(index, int) else 0
