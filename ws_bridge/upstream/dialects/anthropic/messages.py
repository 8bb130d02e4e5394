"""Entries of a history → system blocks and messages (pure), for every history a client can send.

Rule 1: roles alternate, beginning and ending with the user; no message and no text is empty.
Rule 2: the results of calls stand first in the message after the calls, one for each (``turns``).
Rule 3: thoughts go back only as their maker sealed them, and never as the end of a message.
Rule 4: a turn with side data goes back in the blocks that the model wrote (``own_blocks``).
Rule 5: the dialect has no system messages between others: they all stand in `system`, in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ws_bridge.types import Json
from ws_bridge.upstream.dialects.anthropic.blocks import SEALED_KEYS, THINKING
from ws_bridge.upstream.dialects.anthropic.own_blocks import caller_of, may_go, paired_ids
from ws_bridge.upstream.dialects.anthropic.parts import block_of
from ws_bridge.upstream.dialects.entries import (
    SYSTEM,
    AnswerText,
    ContentPart,
    OwnBlock,
    PlainEntry,
    Thought,
    ToolResult,
    UserTurn,
)
from ws_bridge.upstream.dialects.seals import MakerSeals
from ws_bridge.upstream.dialects.table import refused
from ws_bridge.upstream.dialects.turns import ModelEntry, filled, turns_of

BEGINNING = "(The conversation begins here.)"
GO_ON = "Continue."


def system_of(entries: Iterable[PlainEntry | OwnBlock]) -> list[Json]:
    """The blocks of all turns of the system. Raises a 400 for what is no text."""
    blocks = []
    for entry in entries:
        if isinstance(entry, UserTurn) and _is_system(entry):
            if other := next((part for part in entry.parts if part.kind != "text"), None):
                raise refused("content part", other.kind, "input", "Instructions are text.")
            blocks += blocks_of(entry.parts)
    return blocks


def messages_of(
    entries: Iterable[PlainEntry | OwnBlock],
    seals: MakerSeals,
    callers: Mapping[str, Json] | None = None,
) -> list[Json]:
    """The messages of all other entries. ``callers``: of calls that code has made, by their ids."""
    history = _History()
    turns = turns_of(entry for entry in entries if not _is_system(entry))
    writer = _OutputWriter(seals, callers or {}, paired_ids(turns))
    for turn in turns:
        if isinstance(turn, UserTurn):
            history.append("user", blocks_of(turn.parts))
            continue
        history.append("assistant", [one for entry in turn.entries for one in writer.blocks(entry)])
        history.append("user", [_result(result) for result in turn.results])
    return history.finish()


def blocks_of(parts: Iterable[ContentPart]) -> list[Json]:
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
        self._messages: list[Json] = []

    def append(self, role: str, blocks: list[Json]) -> None:
        """More content of a role."""
        if blocks:
            self._content(role).extend(blocks)

    def finish(self) -> list[Json]:
        """All of it, ending with the user."""
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


def _is_system(entry: PlainEntry | OwnBlock) -> bool:
    return isinstance(entry, UserTurn) and entry.role in SYSTEM


class _OutputWriter:
    """Writes what the model said, in one history."""

    def __init__(
        self, seals: MakerSeals, callers: Mapping[str, Json], paired: frozenset[str]
    ) -> None:
        self._seals = seals
        self._callers = callers
        self._paired = paired

    def blocks(self, entry: ModelEntry) -> list[Json]:
        """The blocks of an entry."""
        if isinstance(entry, OwnBlock):
            return [entry.block] if may_go(entry.block, self._paired) else []
        if isinstance(entry, Thought):
            return _sealed_blocks(entry, self._seals)
        if isinstance(entry, AnswerText):
            return [{"type": "text", "text": entry.text}] if entry.text.strip() else []
        call = {"type": "tool_use", "id": entry.call_id, "name": entry.tool.flat}
        caller = caller_of(self._callers.get(entry.call_id, {}), self._paired)
        return [{**call, "input": entry.arguments, **caller}]


def _result(result: ToolResult) -> Json:
    block: Json = {"type": "tool_result", "tool_use_id": result.call_id}
    if content := blocks_of(filled(result.parts)):
        block["content"] = content
    return block | ({"is_error": True} if result.is_error else {})


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
