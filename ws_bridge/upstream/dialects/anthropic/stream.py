"""The stream of a Messages answer → drafts (pure).

Rule 1: a block says what it is when it begins; its pieces are published as they come. Its input,
seal and citations are known when it ends.
Rule 2: a call that is cut in its input stays incomplete.
Rule 3: an answer that pauses (`pause_turn`) is not over: `paused` has the blocks that Anthropic
wants back to go on, and `continuation` the next request. The next stream is fed to the same reader.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import Draft
from ws_bridge.protocol.output.tool_calls import ToolDelta
from ws_bridge.types import Item, Json
from ws_bridge.upstream.dialects.anthropic import hosted
from ws_bridge.upstream.dialects.anthropic.blocks import (
    BEGUN_WITH,
    IMPLIED,
    RESULT,
    THINKING,
    MessageBlock,
    call_id_of,
    in_whole_characters,
    json_text,
    mended,
    object_in,
)
from ws_bridge.upstream.dialects.anthropic.citations import annotations_of
from ws_bridge.upstream.dialects.anthropic.own_blocks import Container, side_data_of
from ws_bridge.upstream.dialects.anthropic.usage import UsageCounter
from ws_bridge.upstream.dialects.base import ReaderInput
from ws_bridge.upstream.dialects.ends import CUT, FILTERED
from ws_bridge.upstream.dialects.event_reader import (
    DONE,
    EventReader,
    ServerSentEvent,
    SseDecoder,
    parsed,
)
from ws_bridge.upstream.errors import truncated
from ws_bridge.upstream.provider_errors import error_of, has_error

PAUSED = "pause_turn"
# The words of Anthropic, and of others who speak its dialect: "" or why the answer is incomplete.
STOP_REASONS: Mapping[str, str] = {
    **dict.fromkeys(("end_turn", "stop_sequence", "tool_use", "stop", "tool_calls"), ""),
    **dict.fromkeys(("max_tokens", "model_context_window_exceeded", "length"), CUT),
    **dict.fromkeys((PAUSED, "compaction"), CUT),  # where it cannot go on
    **dict.fromkeys(("refusal", "content_filter", "sensitive"), FILTERED),
}
FAILURES = frozenset(
    {"error", "network_error", "abort", "aborted", "cancelled", "insufficient_system_resource"}
)


class MessagesReader(EventReader):
    """An ``EventReader`` of Anthropic's Messages."""

    def __init__(self, given: ReaderInput) -> None:
        super().__init__(given)
        self._is_begun = False
        self._container = Container()
        self._usage = UsageCounter()
        self._stop: Json = {}  # `stop_reason` and `stop_details`
        self._before: list[MessageBlock] = []  # the blocks of the answer's messages that are over
        self._message: list[MessageBlock] = []  # all blocks of the message
        self._blocks: dict[int, MessageBlock] = {}  # those that are open, by index
        self._hosted: dict[str, Item] = {}  # calls without a result, by Anthropic's id
        self._calls = 0
        self._unfinished: MessageBlock | None = None  # the last call, if its input is not whole
        self._readers: Mapping[str, Callable[[Json], list[Draft]]] = {
            "content_block_start": self._block_start,
            "content_block_stop": self._block_stop,
            "message_start": self._message_start,
            "message_delta": self._message_delta,
            "message_stop": self._message_stop,
        }

    def continuation(self, body: Json) -> Json:
        """The request that lets a paused answer go on, after ``body``; the reader waits for it."""
        messages = list(body["messages"])
        content = [block for block in self.paused or () if block.get("text") != ""]
        if messages and messages[-1]["role"] == "assistant":
            content = [*messages.pop()["content"], *content]
        messages.append({"role": "assistant", "content": content})
        self.paused, self._is_begun, self._stop = None, False, {}
        self._decoder = SseDecoder()
        self._usage.restart(keep=True)
        container = {"container": self._container.name} if self._container.name else {}
        return {**body, "messages": messages, **container}

    def _event(self, event: ServerSentEvent) -> list[Draft]:
        if event.data == DONE:
            return []
        data = parsed(event.data)
        if not isinstance(data, dict):
            return []
        kind = data.get("type") or event.name
        if kind == "content_block_delta":
            return self._delta(data)
        if kind == "error" or has_error(data):
            raise error_of(None, data)
        read = self._readers.get(kind) if isinstance(kind, str) else None
        return read(data) if read is not None else []

    def _whole(self, answer: Json) -> list[Draft]:
        if not isinstance(answer, dict) or answer.get("type") == "error" or has_error(answer):
            raise error_of(None, answer)
        if not isinstance(answer.get("content"), list):
            raise error_of(None, answer)
        drafts = self._message_start({"message": answer})
        return drafts + self._message_stop({})

    def _end_of_wire(self) -> list[Draft]:
        if self.paused is not None:  # and is not resumed: it is incomplete
            self.paused = None
            return self._finish(CUT)
        if str(self._stop.get("stop_reason")) not in STOP_REASONS:
            raise truncated()
        return self._message_stop({})  # all was said but the last event

    # Messages

    def _message_start(self, data: Json) -> list[Draft]:
        message = _object(data.get("message"))
        drafts = self._cut_message() if self._is_begun else []
        self._is_begun = True
        self._before += self._message
        self._message, self._stop = [], {}
        if isinstance(message.get("model"), str):
            self._output.model = mended(message["model"])
        self._usage.update(message.get("usage"))
        self._note_end(message)
        content = message.get("content")
        for index, block in enumerate(content if isinstance(content, list) else ()):
            drafts += self._begin(index, _object(block)) + self._end(index)
        return drafts

    def _cut_message(self) -> list[Draft]:
        """Another message begins, though nothing ended this one: what is open was cut off."""
        drafts: list[Draft] = []
        for index, block in list(self._blocks.items()):
            drafts += self._end(index)
            if block.call >= 0:
                drafts += self._output.cut_call(block.call)
        if self._unfinished is not None:
            drafts += self._output.cut_call(self._unfinished.call)
        self._unfinished = None
        self._output.end_text()
        self._usage.restart(keep=False)
        return drafts

    def _message_delta(self, data: Json) -> list[Draft]:
        self._usage.update(data.get("usage"))
        self._note_end(_object(data.get("delta")))
        return []

    def _note_end(self, fields: Json) -> None:
        known = {key: fields[key] for key in ("stop_reason", "stop_details") if fields.get(key)}
        self._stop |= known
        container = Container.of(fields.get("container"), self._given.now)
        self._container = container if container.name else self._container

    def _message_stop(self, _data: Json) -> list[Draft]:
        reason = self._reason()
        drafts: list[Draft] = []
        for index in list(self._blocks):
            drafts += self._end(index)
        if self._stop.get("stop_reason") == PAUSED and self._can_go_on():
            self.paused = [block.whole() for block in self._message]
            return drafts
        return drafts + self._finish(reason)

    def _reason(self) -> str:
        """Why the answer is incomplete, "" if it is not. Raises ``UpstreamError``."""
        word = self._stop.get("stop_reason")
        if word is None:
            raise truncated()
        if (reason := STOP_REASONS.get(str(word))) is not None:
            return reason
        if str(word) in FAILURES or not self._output.has_output:
            name = mended(str(word)[:64])
            raise UpstreamError(f"The model provider ended the answer with '{name}'.")
        return ""

    def _can_go_on(self) -> bool:
        """Whether the provider can be asked to go on: with words of its own, and no call open."""
        is_clients_turn = any(block.call >= 0 for block in self._message)
        return bool(self._message) and not is_clients_turn

    def _finish(self, reason: str) -> list[Draft]:
        is_broken = self._unfinished is not None and self._unfinished.has_pieces
        drafts = self._end_unfinished() if is_broken or not reason else []
        explanation = _object(self._stop.get("stop_details")).get("explanation")
        if reason == FILTERED and isinstance(explanation, str) and explanation:
            drafts += self._output.refusal(explanation)
        for key in self._hosted:
            drafts += self._output.end_hosted(key, {"status": hosted.UNFINISHED})
        self._output.usage = self._usage.json()
        self._output.side_data = side_data_of([*self._before, *self._message], self._container)
        return drafts + self._output.finish(reason or (CUT if is_broken else ""))

    # Blocks

    def _delta(self, data: Json) -> list[Draft]:
        delta, index = data.get("delta"), data.get("index")
        if type(delta) is not dict:
            return []
        index = index if type(index) is int else _index(data)
        block = self._blocks.get(index)
        if block is not None and block.kind == "text" and delta.get("type") == "text_delta":
            text = delta.get("text")  # nearly all of a stream
            if type(text) is not str or not text:
                return []
            block.pieces.append(text)
            return self._output.text(text)
        if block is not None:
            return self._append(block, delta)
        implied = IMPLIED.get(str(delta.get("type")))
        if implied is None:
            return []
        drafts = self._begin(index, {"type": implied})
        return drafts + self._append(self._blocks[index], delta)

    def _append(self, block: MessageBlock, delta: Json) -> list[Draft]:
        text = block.append(delta)
        place = (block.kind, delta.get("type"))
        if not text:
            return []
        if place == ("text", "text_delta"):
            return self._output.text(text)
        if place == ("thinking", "thinking_delta"):
            return self._output.reasoning(text)
        if place == ("tool_use", "input_json_delta"):
            return self._output.call(ToolDelta(block.call, arguments=text))
        return []

    def _block_start(self, data: Json) -> list[Draft]:
        index = _index(data)
        drafts = self._end(index)
        return drafts + self._begin(index, _object(data.get("content_block")))

    def _block_stop(self, data: Json) -> list[Draft]:
        return self._end(_index(data))

    def _begin(self, index: int, start: Json) -> list[Draft]:
        drafts = self._end_unfinished()
        start = in_whole_characters(start)
        block = MessageBlock(str(start.get("type")), start, self._output.text_length)
        self._blocks[index] = block
        self._message.append(block)
        for key in BEGUN_WITH.get(block.kind, ()):
            drafts += self._append(block, {"type": f"{key}_delta", key: start.get(key)})
        for citation in start["citations"] if isinstance(start.get("citations"), list) else ():
            block.append({"type": "citations_delta", "citation": citation})
        if block.kind == "tool_use":
            self._calls += 1
            block.call = self._calls
            name = str(start.get("name") or "")
            drafts += self._output.call(ToolDelta(block.call, call_id_of(start.get("id")), name))
        elif block.kind.endswith(RESULT):
            drafts += self._hosted_result(start)
        return drafts

    def _end(self, index: int) -> list[Draft]:
        """The block of that index is over; nothing if none is open."""
        block = self._blocks.pop(index, None)
        if block is None:
            return []
        if block.kind == "text":
            return self._end_text(block)
        if block.kind in THINKING:
            return self._end_thought(block)
        if block.call >= 0:
            return self._end_call(block)
        if block.kind in ("server_tool_use", "mcp_tool_use"):
            return self._hosted_call(block)
        return []

    def _end_text(self, block: MessageBlock) -> list[Draft]:
        begin, end = block.text_begins, self._output.text_length
        if begin >= end or not block.citations:
            return []
        return self._output.annotate(annotations_of(block.citations, begin, end))

    def _end_thought(self, block: MessageBlock) -> list[Draft]:
        sealed = block.sealed()
        if sealed is None or block.kind == "redacted_thinking":
            self._output.end_text()  # the thought before it is another one
        if sealed is None:
            return []
        return self._output.seal(self._given.seals.seal({"blocks": [sealed]}))

    def _end_call(self, block: MessageBlock) -> list[Draft]:
        if not block.has_pieces and block.input():
            drafts = self._output.call(ToolDelta(block.call, arguments=json_text(block.input())))
            return drafts + self._output.end_call(block.call)
        if object_in("".join(block.pieces)) is not None:
            return self._output.end_call(block.call)
        self._unfinished = block
        return []

    def _end_unfinished(self) -> list[Draft]:
        """The answer goes on after a call whose input is not whole: it has none, or is broken."""
        block, self._unfinished = self._unfinished, None
        if block is None:
            return []
        if block.has_pieces:
            return self._output.cut_call(block.call)
        drafts = self._output.call(ToolDelta(block.call, arguments="{}"))
        return drafts + self._output.end_call(block.call)

    # Tools that Anthropic runs

    def _hosted_call(self, block: MessageBlock) -> list[Draft]:
        call = block.whole()
        key = call.get("id")
        item = hosted.item_of(call, self._container.name)
        if item is None or not isinstance(key, str) or key in self._hosted:
            return []
        self._hosted[key] = item
        return self._output.begin_hosted(key, item)

    def _hosted_result(self, result: Json) -> list[Draft]:
        key = result.get("tool_use_id")
        item = self._hosted.pop(key, None) if isinstance(key, str) else None
        if item is None:
            return []
        return self._output.end_hosted(str(key), hosted.outcome_of(item, result))


def _index(data: Json) -> int:
    """The number of a block; where a provider gives none, one block is open at a time."""
    index = data.get("index")
    return index if type(index) is int else 0


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}
