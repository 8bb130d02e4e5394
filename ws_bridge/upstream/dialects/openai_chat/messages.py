"""Turns → the `messages` of Chat Completions, as one provider takes them (pure)."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import orjson

from ws_bridge.types import Json
from ws_bridge.upstream.dialects.entries import ContentPart, ToolResult, ToolUse, UserTurn
from ws_bridge.upstream.dialects.openai_chat.call_ids import for_provider
from ws_bridge.upstream.dialects.openai_chat.thoughts import DETAILS, EXTRAS, FIELDS
from ws_bridge.upstream.dialects.openai_chat.turns import AnswerTurn, OwnThought, Turn
from ws_bridge.upstream.dialects.openai_chat.variants import Variant
from ws_bridge.upstream.dialects.turns import NO_OUTPUT

GO_ON: Json = {"role": "assistant", "content": "OK"}  # between a result and the user's next words
NO_THOUGHT = " "  # for providers that want a thought with every message
UNKNOWN_FILE = "application/pdf"


@dataclass(frozen=True, slots=True)
class MessageWriter:
    """Writes for one provider. ``thinks``: the model surely reasons."""

    variant: Variant
    thinks: bool = False

    def write(self, turns: Iterable[Turn]) -> list[Json]:
        """The messages."""
        messages = [message for turn in turns for message in self._turn(turn)]
        if self.variant.alternates:
            return _alternating(messages)
        return messages if self.variant.takes_user_after_tool else list(_with_answers(messages))

    def _turn(self, turn: Turn) -> Iterator[Json]:
        if isinstance(turn, UserTurn):
            role = turn.role
            if role == "developer" and not self.variant.takes_developer:
                role = "system"
            yield {"role": role, "content": self._content(turn.parts)}
            return
        answer = self._answer(turn)
        if answer["content"] or turn.calls or self.variant.takes_empty_turns:
            yield answer
        results = turn.answered()
        yield from map(self._result, results)
        pictures = [part for result in results for part in self._shown_after(result)]
        if pictures:
            yield {"role": "user", "content": [self._part(part) for part in pictures]}

    # The assistant's message

    def _answer(self, turn: AnswerTurn) -> Json:
        message: Json = {"role": "assistant", "content": turn.text or (None if turn.calls else "")}
        for thought in turn.thoughts:
            self._think(message, thought)
        if self.thinks and self.variant.wants_reasoning:
            message.setdefault(self.variant.reasoning, NO_THOUGHT)
        if turn.calls:
            extras: Json = {}
            for thought in turn.thoughts:
                extras |= thought.values.get(EXTRAS) or {}
            message["tool_calls"] = [
                self._call(call, extras.get(call.call_id)) for call in turn.calls
            ]
        return message | turn.own

    def _call(self, call: ToolUse, extra: Json | None) -> Json:
        return {
            "id": for_provider(call.call_id, self.variant.call_ids),
            "type": "function",
            "function": {
                "name": call.tool.flat,
                "arguments": orjson.dumps(call.arguments).decode(),
            },
            **({EXTRAS: extra} if extra else {}),
        }

    def _think(self, message: Json, thought: OwnThought) -> None:
        """Add a thought where the provider had it."""
        name = thought.values.get("field") or self.variant.reasoning
        if thought.text and name == "thinking":
            part = {"type": "thinking", "thinking": [{"type": "text", "text": thought.text}]}
            content = message["content"]
            rest = (
                [{"type": "text", "text": content}] if isinstance(content, str) and content else []
            )
            message["content"] = [part, *(content if isinstance(content, list) else rest)]
        elif thought.text and name in FIELDS:
            message[name] = message.get(name, "") + thought.text
        if details := thought.values.get(DETAILS):
            message[DETAILS] = [*message.get(DETAILS, ()), *details]

    # The results of tools

    def _result(self, result: ToolResult) -> Json:
        call_id = for_provider(result.call_id, self.variant.call_ids)
        content: object = result.text or ("" if self._shown_after(result) else NO_OUTPUT)
        if self.variant.takes_tool_parts and any(part.kind != "text" for part in result.parts):
            content = [self._part(part) for part in result.parts]
        return {"role": "tool", "tool_call_id": call_id, "content": content}

    def _shown_after(self, result: ToolResult) -> list[ContentPart]:
        """What the message of a tool cannot hold: the user shows it right after."""
        if self.variant.takes_tool_parts:
            return []
        shown = [part for part in result.parts if part.kind != "text"]
        call_id = for_provider(result.call_id, self.variant.call_ids)
        return (
            [ContentPart("text", f"The output of the tool call {call_id}:"), *shown]
            if shown
            else []
        )

    # Parts

    def _content(self, parts: Sequence[ContentPart]) -> str | list[Json]:
        is_text = all(part.kind == "text" for part in parts)
        if is_text and (len(parts) == 1 or not self.variant.takes_text_lists):
            return "\n\n".join(part.text for part in parts)
        return [self._part(part) for part in parts]

    def _part(self, part: ContentPart) -> Json:
        if part.kind == "text":
            return {"type": "text", "text": part.text}
        if part.kind == "image":
            is_known = part.detail != "original" or self.variant.knows_original
            detail = {"detail": part.detail if is_known else "high"} if part.detail else {}
            return {"type": "image_url", "image_url": {"url": part.data_url, **detail}}
        if part.kind == "file":
            return FILES[self.variant.files](part)
        sound: str | Json = part.data
        if self.variant.nests_audio:
            sound = {"data": part.data, "format": part.media_type.partition("/")[2]}
        return {"type": "input_audio", "input_audio": sound}


def _file(part: ContentPart) -> Json:
    if part.file_id:
        return {"type": "file", "file": {"file_id": part.file_id}}
    name = part.name or "file"
    return {"type": "file", "file": {"filename": name, "file_data": _file_address(part)}}


def _document(part: ContentPart) -> Json:
    name = {"document_name": part.name} if part.name else {}
    return {"type": "document_url", "document_url": _file_address(part), **name}


def _file_url(part: ContentPart) -> Json:
    address = part.data or part.url  # bare base64 where it is data
    name = {"file_name": part.name} if part.name else {}
    return {"type": "file_url", "file_url": {"url": address}, **name}


FILES: Mapping[str, Callable[[ContentPart], Json]] = {
    "file": _file,
    "document_url": _document,
    "file_url": _file_url,
}


def _file_address(part: ContentPart) -> str:
    if not part.data or part.media_type:
        return part.data_url
    media_type = mimetypes.guess_type(part.name)[0] or UNKNOWN_FILE
    return f"data:{media_type};base64,{part.data}"


# What providers want of the order


def _with_answers(messages: Iterable[Json]) -> Iterator[Json]:
    """The messages with a word of the assistant's between a result and the user's next words."""
    last = ""
    for message in messages:
        if message["role"] in ("user", "system") and last == "tool":
            yield GO_ON
        last = message["role"]
        yield message


def _alternating(messages: list[Json]) -> list[Json]:
    """Neighbours of one role as one message; a system's later words are the user's."""
    roles: list[str] = []
    for message in messages:
        has_begun = any(role != "system" for role in roles)
        roles.append("user" if message["role"] == "system" and has_begun else message["role"])
    named = [{**message, "role": role} for message, role in zip(messages, roles, strict=True)]
    merged: list[Json] = []
    for role, group in groupby(named, key=lambda message: message["role"]):
        if role == "tool":
            merged += group
            continue
        run = list(group)
        merged.append(run[0] if len(run) == 1 else _joined(run))
    return merged


def _joined(run: Sequence[Json]) -> Json:
    contents = [message["content"] for message in run if message["content"]]
    calls = [call for message in run for call in message.get("tool_calls", ())]
    content: str | list[Json] | None = "\n\n".join(
        text for text in contents if isinstance(text, str)
    )
    if any(isinstance(each, list) for each in contents):
        content = [
            part
            for each in contents
            for part in (each if isinstance(each, list) else [{"type": "text", "text": each}])
        ]
    message = {**run[0], "content": content or (None if calls else "")}
    return message | ({"tool_calls": calls} if calls else {})
