"""Raw frames of a chat-bridged stream → the plain deltas among them (pure; litellm is not asked).

Rule 1: a frame is taken only if every key and value in it has a meaning known here, or is known to
have none. All others are litellm's to judge: errors, usage, the end, and the start of everything.
Rule 2: after a frame that was not understood nothing is taken any more: what it began is unknown.
Rule 3: litellm reads the first frame that says something (it names the model), and is owed what was
taken, joined to one frame, before the next frame it reads and before the end: its usage, its logs
and its state are then what they would have been.
Rule 4: what is owed is ASCII, and never looks like the end: litellm cuts lines at characters that
end none in a stream of events (U+2028), and takes a text with "[DONE]" in it for the last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, Protocol

import orjson

from ws_bridge.protocol.chat import Chunk, ToolDelta

Json = dict[str, Any]
Shape = Mapping[str, Collection[type]]

# One line of data, under an optional name; anything else in a frame is not for us.
FRAME = re.compile(rb"(?:event: ?[a-z_]+\r?\n)?data: ?(\{[^\r\n]*\})[\r\n]*")
SILENCE = re.compile(rb"(?::[^\r\n]*|[\r\n])*")  # comments keep a connection open, no more

TEXT = frozenset({str})
NULL = frozenset({NoneType})
TEXT_OR_NULL = TEXT | NULL

# A chat chunk: what may stand where, for the chunk to be plain.
CHUNK: Shape = {
    "id": TEXT_OR_NULL,
    "object": TEXT,
    "created": frozenset({int}),
    "model": TEXT,
    "choices": frozenset({list}),
    "system_fingerprint": TEXT_OR_NULL,
    "service_tier": TEXT_OR_NULL,
    "usage": NULL,
    "obfuscation": TEXT,  # padding
    "provider": TEXT,  # whom a broker asked
    "x_groq": frozenset({dict, NoneType}),  # Groq's name of the request
}
CHOICE: Shape = {
    "index": frozenset({int}),
    "delta": frozenset({dict}),
    "finish_reason": NULL,
    "native_finish_reason": NULL,
    "stop_reason": NULL,
    "matched_stop": NULL,
    "logprobs": NULL,
    "token_ids": NULL,
    "seed": NULL,
    "text": TEXT,  # Together says the content twice
}
DELTA: Shape = {
    "role": TEXT_OR_NULL,
    "content": TEXT_OR_NULL,
    "reasoning": TEXT_OR_NULL,
    "reasoning_content": TEXT_OR_NULL,
    "tool_calls": frozenset({list, NoneType}),
    "channel": TEXT_OR_NULL,
    "token_id": frozenset({int}),
    "token_ids": NULL,
    "refusal": NULL,
    "function_call": NULL,
    "audio": NULL,
    "images": NULL,
    "annotations": NULL,
    "thinking_blocks": NULL,
}
CALL: Shape = {
    "index": frozenset({int}),
    "id": TEXT_OR_NULL,
    "type": TEXT_OR_NULL,
    "function": frozenset({dict}),
}
FUNCTION: Shape = {"name": TEXT_OR_NULL, "arguments": TEXT}

# Anthropic's blocks: the type of a plain delta in it, and where its text stands.
BLOCKS = {
    "text": ("text_delta", "text"),
    "thinking": ("thinking_delta", "thinking"),
    "tool_use": ("input_json_delta", "partial_json"),
}
NUMBERED = ("tool_use", "server_tool_use")  # litellm counts these as tool calls
ANSWER_TOOL = "json_tool_call"  # litellm's own, for an answer with a schema: its input becomes text
DELTA_EVENT = frozenset({"type", "index", "delta"})
STARTS_NOTHING = ("message_start", "ping")
SPECIAL_DELTAS = ("signature_delta", "citations_delta")


class NotUnderstoodError(Exception):
    """The frame says something that is not known here."""


class Plain(Protocol):
    """The reader of one stream; it is shown every frame, in order."""

    def take(self, frame: bytes) -> Chunk | None:
        """What litellm would make of the frame, but for the model's name; None: litellm's."""
        ...

    def owed(self) -> bytes | None:
        """The frames taken since the last call, as one of the provider's own form; None: none.

        litellm is to read it, and what it makes of it is thrown away, before each frame that
        ``take`` left to it and before the end of the stream, whichever end that is.
        """
        ...


class ChatDeltas:
    """`chat.completion.chunk`, as OpenAI and those who speak like it stream it."""

    def __init__(self) -> None:
        self._is_over = self._has_begun = False
        self._calls: dict[int, str | None] = {}  # by index: the ids of those that litellm knows
        self._last: Json = {}
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._arguments: dict[int, list[str]] = {}

    def take(self, frame: bytes) -> Chunk | None:
        """See ``Plain``."""
        if self._is_over:
            return None
        try:
            return self._judge(_data(frame))
        except NotUnderstoodError:
            self._is_over = True
            return None

    def owed(self) -> bytes | None:
        """See ``Plain``."""
        calls = [
            {"index": index, "function": {"arguments": "".join(fragments)}}
            for index, fragments in self._arguments.items()
        ]
        said = {
            "content": "".join(self._text),
            "reasoning_content": "".join(self._reasoning),
            "tool_calls": calls,
        }
        delta = {name: value for name, value in said.items() if value}
        self._text, self._reasoning, self._arguments = [], [], {}
        if not delta:
            return None
        return _frame({**self._last, "choices": [{"index": 0, "delta": delta}]})

    def _judge(self, chunk: Json | None) -> Chunk | None:
        if chunk is None:
            return None
        _check(chunk, CHUNK)
        choices = chunk.get("choices")
        if not choices:  # what a provider says of the prompt
            return None
        delta = _delta(choices)
        text, reasoning = delta.get("content"), _reasoning(delta)
        calls = delta.get("tool_calls")
        fragments = self._fragments(calls) if calls else ()
        if fragments is None:
            return None
        if not self._has_begun:
            self._has_begun = bool(text or reasoning or delta.get("role"))
            return None
        self._last = chunk
        self._note(text, reasoning, fragments)
        return Chunk(text=text or "", reasoning=reasoning or "", tool_calls=fragments)

    def _fragments(self, calls: list[Any]) -> tuple[ToolDelta, ...] | None:
        """The fragments of calls that litellm knows; None if a call begins among them."""
        deltas = tuple(map(_tool_delta, calls))
        starts = [delta for delta in deltas if self._starts(delta)]
        for delta in starts:
            self._has_begun = True
            self._calls[delta.index] = delta.id
        return None if starts else deltas

    def _starts(self, delta: ToolDelta) -> bool:
        if delta.name:
            return True
        if delta.index not in self._calls:
            raise NotUnderstoodError
        return bool(delta.id) and delta.id != self._calls[delta.index]

    def _note(
        self, text: str | None, reasoning: str | None, fragments: tuple[ToolDelta, ...]
    ) -> None:
        if text:
            self._text.append(text)
        if reasoning:
            self._reasoning.append(reasoning)
        for delta in fragments:
            self._arguments.setdefault(delta.index, []).append(delta.arguments)


@dataclass(frozen=True, slots=True)
class Block:
    """An open block whose deltas can be plain."""

    index: int
    type: str
    delta: str  # the type of its deltas
    key: str  # where their text stands


class AnthropicDeltas:
    """The events of Anthropic's Messages."""

    def __init__(self) -> None:
        self._is_over = self._has_begun = False
        self._block: Block | None = None
        self._owing: Block | None = None
        self._pieces: list[str] = []
        self._call = -1  # as litellm counts

    def take(self, frame: bytes) -> Chunk | None:
        """See ``Plain``."""
        if self._is_over:
            return None
        try:
            return self._judge(_data(frame))
        except NotUnderstoodError:
            self._is_over = True
            return None

    def owed(self) -> bytes | None:
        """See ``Plain``; also where the text is empty: litellm completes a call without input."""
        block, pieces = self._owing, self._pieces
        if block is None:
            return None
        self._owing, self._pieces = None, []
        delta = {"type": block.delta, block.key: "".join(pieces)}
        event = {"type": "content_block_delta", "index": block.index, "delta": delta}
        return b"event: content_block_delta\n" + _frame(event)

    def _judge(self, event: Json | None) -> Chunk | None:
        if event is None:
            return None
        type_ = event.get("type")
        if type_ == "content_block_delta":
            return self._delta(event)
        if type_ == "content_block_start":
            self._block = self._opened(event)
        elif type_ == "content_block_stop":
            self._block = None
        elif type_ not in STARTS_NOTHING:
            raise NotUnderstoodError
        return None

    def _opened(self, event: Json) -> Block | None:
        """The block that begins; None if its deltas are litellm's."""
        index, block = event.get("index"), event.get("content_block")
        if type(index) is not int or type(block) is not dict:
            raise NotUnderstoodError
        type_ = block.get("type")
        if type_ in NUMBERED:
            self._call += 1
            self._has_begun = True
        if type_ not in BLOCKS or block.get("name") == ANSWER_TOOL:
            return None
        return Block(index, type_, *BLOCKS[type_])

    def _delta(self, event: Json) -> Chunk | None:
        block, delta = self._block, event.get("delta")
        if type(delta) is not dict or block is None or event.get("index") != block.index:
            raise NotUnderstoodError
        if delta.get("type") in SPECIAL_DELTAS:
            return None
        text = delta.get(block.key)
        is_known = delta.get("type") == block.delta and len(delta) == 2 and type(text) is str
        if not is_known or event.keys() != DELTA_EVENT:
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


# Providers whose streams come out equal, as tests/upstream/test_dialects.py shows.
READERS: dict[str, Callable[[], Plain]] = {
    "anthropic": AnthropicDeltas,
    "groq": ChatDeltas,
}


def reader_of(provider: str) -> Plain | None:
    """A reader for a new stream of the provider, as litellm names it; None: all is litellm's."""
    reader = READERS.get(provider)
    return reader() if reader is not None else None


def _data(frame: bytes) -> Json | None:
    """The object a frame carries; None if it carries nothing."""
    match = FRAME.fullmatch(frame)
    if match is None:
        if SILENCE.fullmatch(frame):
            return None
        raise NotUnderstoodError
    try:
        data: Json = orjson.loads(match[1])
    except orjson.JSONDecodeError:
        raise NotUnderstoodError from None
    return data


def _check(fields: Json, shape: Shape) -> None:
    """Raise unless every key and the type of every value is known."""
    for name, value in fields.items():
        if type(value) not in shape.get(name, ()):
            raise NotUnderstoodError


def _delta(choices: list[Any]) -> Json:
    """The delta of the one choice there is."""
    choice = choices[0]
    if len(choices) != 1 or type(choice) is not dict:
        raise NotUnderstoodError
    _check(choice, CHOICE)
    delta: Json | None = choice.get("delta")
    if delta is None or choice.get("index") != 0:
        raise NotUnderstoodError
    _check(delta, DELTA)
    return delta


def _reasoning(delta: Json) -> str | None:
    """Under either of its names; litellm does not always prefer the same one."""
    reasoning: str | None = delta.get("reasoning_content")
    if "reasoning" not in delta:
        return reasoning
    if reasoning is not None and reasoning != delta["reasoning"]:
        raise NotUnderstoodError
    return delta["reasoning"]  # type: ignore[no-any-return]  # `_check` has seen it


def _tool_delta(call: Any) -> ToolDelta:
    if type(call) is not dict:
        raise NotUnderstoodError
    _check(call, CALL)
    index, function = call.get("index"), call.get("function")
    if index is None or function is None or call.get("type") not in (None, "function"):
        raise NotUnderstoodError
    _check(function, FUNCTION)
    return ToolDelta(index, call.get("id"), function.get("name"), function.get("arguments", ""))


def _frame(data: Json) -> bytes:
    """The data as a frame that litellm reads as one line, and as no end (see rule 4)."""
    text = json.dumps(data).replace("[DONE]", "\\u005bDONE]")
    return f"data: {text}\n\n".encode()
