"""Entries of a history → system blocks and messages (pure), for every history a client can send.

Rule 1: roles alternate, beginning and ending with the user; no message and no text is empty.
Rule 2: the results of calls stand first in the message after the calls, one for each: a call whose
result the client did not send gets one that says so.
Rule 3: thoughts go back only as their maker sealed them, and never as the end of a message.
Rule 4: the dialect has no system messages between others: they all stand in `system`, in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ws_bridge.errors import InvalidRequest
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.anthropic.blocks import (
    CALL_ID,
    SEALED_KEYS,
    THINKING,
    hashed_id,
)
from ws_bridge.upstream.dialects.anthropic.parts import block_of
from ws_bridge.upstream.dialects.entries import (
    SYSTEM,
    AnswerText,
    Part,
    PlainEntry,
    Thought,
    ToolResult,
    ToolUse,
    UserTurn,
)
from ws_bridge.upstream.dialects.seals import MakerSeals
from ws_bridge.upstream.dialects.table import refused

BEGINNING = "(The conversation begins here.)"
GO_ON = "Continue."
NO_RESULT = "No result was given for this call."


@dataclass(slots=True)
class _AnsweredCall:
    """A call of the history under the id that Anthropic sees, and its results."""

    tool_id: str
    results: list[ToolResult] = field(default_factory=list)

    def block(self) -> Json:
        if not self.results:
            block: Json = {"type": "tool_result", "tool_use_id": self.tool_id}
            return {**block, "content": NO_RESULT, "is_error": True}
        content = [block for result in self.results for block in blocks_of(result.parts)]
        return {
            "type": "tool_result",
            "tool_use_id": self.tool_id,
            **({"content": content} if content else {}),
            **({"is_error": True} if any(result.is_error for result in self.results) else {}),
        }


def system_of(entries: Iterable[PlainEntry]) -> list[Json]:
    """The blocks of all turns of the system. Raises a 400 for what is no text."""
    blocks = []
    for entry in entries:
        if isinstance(entry, UserTurn) and entry.role in SYSTEM:
            if other := next((part for part in entry.parts if part.kind != "text"), None):
                raise refused("content part", other.kind, "input", "Instructions are text.")
            blocks += blocks_of(entry.parts)
    return blocks


def messages_of(entries: Sequence[PlainEntry], seals: MakerSeals) -> list[Json]:
    """The messages of all other entries. Raises a 400 for a result without its call."""
    answered = _pairs(entries)
    history = _History()
    for place, entry in enumerate(entries):
        if isinstance(entry, UserTurn) and entry.role not in SYSTEM:
            history.append("user", blocks_of(entry.parts))
        elif isinstance(entry, AnswerText) and entry.text.strip():
            history.append("assistant", [{"type": "text", "text": entry.text}])
        elif isinstance(entry, Thought):
            history.append("assistant", _sealed_blocks(entry, seals))
        elif isinstance(entry, ToolUse):
            call = answered[place]
            block = {"type": "tool_use", "id": call.tool_id, "name": entry.tool.flat}
            history.append("assistant", [{**block, "input": entry.arguments}])
            history.called.append(call)
        elif isinstance(entry, ToolResult):
            history.end_calls()
    return history.finish()


def blocks_of(parts: Iterable[Part]) -> list[Json]:
    """The blocks of parts, without those that would be empty."""
    return [block for part in parts if (block := block_of(part)) is not None]


def starts_unthought(messages: Sequence[Json]) -> bool:
    """Whether the turn that goes on with results began without a thought.

    A model that thinks by budget takes no such turn while it thinks.
    """
    first: Json | None = None
    for calls, results in zip(messages[-2::-2], messages[::-2], strict=False):
        if results["content"][0]["type"] != "tool_result":
            break
        first = calls
    return first is not None and first["content"][0]["type"] not in THINKING


class _History:
    """Messages while they grow."""

    def __init__(self) -> None:
        self.called: list[_AnsweredCall] = []  # calls whose results have no place yet
        self._messages: list[Json] = []

    def append(self, role: str, blocks: list[Json]) -> None:
        """More content of a role."""
        if not blocks:
            return
        if role == "user":
            self.end_calls()
        self._content(role).extend(blocks)

    def end_calls(self) -> None:
        """The results of all calls so far stand here."""
        if self.called:
            results = [call.block() for call in self.called]
            self.called = []
            self._content("user").extend(results)

    def finish(self) -> list[Json]:
        """All of it, ending with the user."""
        self.end_calls()
        if self._end() != "user":
            self._content("user").append({"type": "text", "text": GO_ON})
        if self._messages[0]["role"] != "user":
            first = {"role": "user", "content": [{"type": "text", "text": BEGINNING}]}
            self._messages.insert(0, first)
        return self._messages

    def _content(self, role: str) -> list[Json]:
        """The content of the last message, if it is of that role, or of a new one."""
        last = self._end() if role == "user" else self._role()
        if last != role:
            self._messages.append({"role": role, "content": []})
        content: list[Json] = self._messages[-1]["content"]
        return content

    def _end(self) -> str:
        """The role of the last message, which may not end with a thought: such ones are nothing."""
        while self._role() == "assistant":
            content = self._messages[-1]["content"]
            while content and content[-1]["type"] in THINKING:
                content.pop()
            if content:
                break
            self._messages.pop()
        return self._role()

    def _role(self) -> str:
        return self._messages[-1]["role"] if self._messages else ""


def _pairs(entries: Sequence[PlainEntry]) -> dict[int, _AnsweredCall]:
    """The calls by their place, each with its results; one id may be used again later."""
    calls: dict[int, _AnsweredCall] = {}
    latest: dict[str, list[_AnsweredCall]] = {}
    taken: set[str] = set()
    for place, entry in enumerate(entries):
        if isinstance(entry, ToolUse):
            call = calls[place] = _AnsweredCall(_tool_id(entry.call_id, taken))
            latest.setdefault(entry.call_id, []).append(call)
        elif isinstance(entry, ToolResult):
            known = latest.get(entry.call_id)
            if not known:
                message = f"No tool call found for the output with call_id '{entry.call_id[:64]}'."
                raise InvalidRequest(message, param="input")
            waiting = (call for call in known if not call.results)
            next(waiting, known[-1]).results.append(entry)
    return calls


def _tool_id(call_id: str, taken: set[str]) -> str:
    """An id that Anthropic takes, once in a history; the same for the same history."""
    tool_id = call_id
    if not CALL_ID.fullmatch(call_id) or call_id in taken:
        tool_id = hashed_id(f"{call_id} {len(taken)}" if call_id in taken else call_id)
    taken |= {call_id, tool_id}
    return tool_id


def _sealed_blocks(thought: Thought, seals: MakerSeals) -> list[Json]:
    opened = seals.open(thought.sealed) or {}
    blocks = opened.get("blocks")
    return [
        {key: block[key] for key in SEALED_KEYS[block["type"]]}
        for block in (blocks if isinstance(blocks, list) else ())
        if _is_whole(block)
    ]


def _is_whole(block: Any) -> bool:
    keys = SEALED_KEYS.get(str(block.get("type"))) if isinstance(block, dict) else None
    return keys is not None and all(isinstance(block.get(key), str) for key in keys)
