"""Plain deltas of `chat.completion.chunk`, as OpenAI and those who speak like it stream them.

A chunk with a finish reason, usage, log probabilities, a refusal, citations or pictures is not
understood on purpose: where one is, litellm reads the rest.
"""

from __future__ import annotations

from typing import Any

from ws_bridge.protocol.output.chat import Chunk, ToolDelta
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.frames import (
    LIST,
    NULL,
    NUMBER,
    OBJECT,
    TEXT,
    NotUnderstoodError,
    Reader,
    Shape,
    check,
    write_frame,
)

# What may stand where, for a chunk to be plain.
CHUNK: Shape = {
    "id": TEXT | NULL,
    "object": TEXT,
    "created": NUMBER,
    "model": TEXT,
    "choices": LIST,
    "system_fingerprint": TEXT | NULL,
    "service_tier": TEXT | NULL,
    "usage": NULL,
    "obfuscation": TEXT,  # padding
    "provider": TEXT,  # whom a broker asked
    "x_groq": OBJECT | NULL,  # Groq's name of the request
}
CHOICE: Shape = {
    "index": NUMBER,
    "delta": OBJECT,
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
    "role": TEXT | NULL,
    "content": TEXT | NULL,
    "reasoning": TEXT | NULL,
    "reasoning_content": TEXT | NULL,
    "tool_calls": LIST | NULL,
    "channel": TEXT | NULL,
    "token_id": NUMBER,
    "token_ids": NULL,
    "refusal": NULL,
    "function_call": NULL,
    "audio": NULL,
    "images": NULL,
    "annotations": NULL,
    "thinking_blocks": NULL,
}
CALL: Shape = {"index": NUMBER, "id": TEXT | NULL, "type": TEXT | NULL, "function": OBJECT}
FUNCTION: Shape = {"name": TEXT | NULL, "arguments": TEXT}


class ChatDeltas(Reader):
    """A ``Plain``."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: dict[int, str | None] = {}  # those that litellm knows: index to id
        self._owing: Json = {}  # the last chunk that was taken
        self._said: dict[str, list[str]] = {}
        self._arguments: dict[int, list[str]] | None = None

    def owed(self) -> bytes | None:
        """See ``Plain``."""
        said, arguments = self._said, self._arguments
        self._said, self._arguments = {}, None
        delta: Json = {name: "".join(pieces) for name, pieces in said.items()}
        if arguments is not None:
            delta["tool_calls"] = [
                {"index": index, "function": {"arguments": "".join(fragments)}}
                for index, fragments in arguments.items()
            ]
        if not delta:
            return None
        return write_frame({**self._owing, "choices": [{"index": 0, "delta": delta}]})

    def _judge(self, data: Json) -> Chunk | None:
        check(data, CHUNK)
        choices = data.get("choices")
        if not choices:  # what a provider says of the prompt
            return None
        delta = _delta(choices)
        text, reasoning, calls = delta.get("content"), _reasoning(delta), delta.get("tool_calls")
        fragments = self._fragments(calls) if calls else ()
        if fragments is None:
            return None
        if not self._has_begun:
            self._has_begun = bool(text or reasoning or delta.get("role"))
            return None
        if text or reasoning is not None or calls is not None:  # else litellm drops the chunk
            self._owing = data
            self._note(content=text, reasoning_content=reasoning)
        if calls is not None:
            self._note_calls(fragments)
        return Chunk(text=text or "", reasoning=reasoning or "", tool_calls=fragments)

    def _fragments(self, calls: list[Any]) -> tuple[ToolDelta, ...] | None:
        """The fragments of calls that litellm knows; None if one begins here."""
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

    def _note(self, **said: str | None) -> None:
        for name, text in said.items():
            if text is not None:
                self._said.setdefault(name, []).append(text)

    def _note_calls(self, fragments: tuple[ToolDelta, ...]) -> None:
        """Also if there are none: litellm's books show an empty list."""
        self._arguments = self._arguments or {}
        for delta in fragments:
            self._arguments.setdefault(delta.index, []).append(delta.arguments)


def _delta(choices: list[Any]) -> Json:
    """The delta of the one choice there is."""
    choice = choices[0]
    if len(choices) != 1 or type(choice) is not dict:
        raise NotUnderstoodError
    check(choice, CHOICE)
    delta: Json | None = choice.get("delta")
    if delta is None or choice.get("index") != 0:
        raise NotUnderstoodError
    check(delta, DELTA)
    return delta


def _reasoning(delta: Json) -> str | None:
    """Under either of its names; litellm does not prefer the same one everywhere."""
    reasoning: str | None = delta.get("reasoning_content")
    if "reasoning" not in delta:
        return reasoning
    named: str | None = delta["reasoning"]
    if reasoning is not None and reasoning != named:
        raise NotUnderstoodError
    return named


def _tool_delta(call: Any) -> ToolDelta:
    if type(call) is not dict:
        raise NotUnderstoodError
    check(call, CALL)
    index, function = call.get("index"), call.get("function")
    if index is None or function is None or call.get("type") not in (None, "function"):
        raise NotUnderstoodError
    check(function, FUNCTION)
    return ToolDelta(index, call.get("id"), function.get("name"), function.get("arguments", ""))
