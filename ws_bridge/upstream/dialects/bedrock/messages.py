"""Turns → Converse's system blocks and messages (pure).

Rule 1: roles alternate, the user begins, and the results of calls begin the message after them.
Rule 2: a signed or redacted thought goes back to its maker as it was. Claude takes no other, and
none at the end of a message.
Rule 3: a turn with side data goes back in the blocks that the model wrote.
Rule 4: a system turn amid the conversation stays there, as text of the user: the API has system
text before the first message only.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ws_bridge.types import Json
from ws_bridge.upstream.dialects.base import WriterInput
from ws_bridge.upstream.dialects.bedrock.blocks import BlockWriter
from ws_bridge.upstream.dialects.bedrock.models import is_claude, is_nova
from ws_bridge.upstream.dialects.bedrock.own_blocks import own_entries
from ws_bridge.upstream.dialects.bedrock.table import TABLE
from ws_bridge.upstream.dialects.entries import (
    SYSTEM,
    AnswerText,
    MakerTurn,
    OwnBlock,
    PlainEntry,
    Thought,
    ToolResult,
    ToolUse,
    UserTurn,
    entries_of,
    instructions_of,
)
from ws_bridge.upstream.dialects.table import refused
from ws_bridge.upstream.dialects.turns import NO_OUTPUT, ModelTurn, turns_of

BEGINNING = "(The conversation begins with an answer.)"
# The keys of a seal.
REASONED, SIGNATURE, REDACTED, OLD = "reasoned", "signature", "redacted", "blocks"


@dataclass(frozen=True, slots=True)
class ConverseHistory:
    """The blocks and messages of a request, and what else of it depends on the history."""

    system: list[Json]
    messages: list[Json]
    called: tuple[str, ...] = ()  # the flat names of the tools that the history calls
    goes_on_unsigned: bool = False  # results are answered whose calls no signed thought precedes


@dataclass(slots=True)
class _MessageWriter:
    """The messages while they are written."""

    system: list[Json] = field(default_factory=list)
    messages: list[Json] = field(default_factory=list)

    def append(self, role: str, blocks: list[Json]) -> None:
        """The next blocks of a role; one message for those in a row."""
        if not blocks:
            return
        if not self.messages and role == "assistant":
            self.messages.append({"role": "user", "content": [{"text": BEGINNING}]})
        if self.messages and self.messages[-1]["role"] == role:
            self.messages[-1]["content"] += blocks
        else:
            self.messages.append({"role": role, "content": blocks})


def history_of(given: WriterInput, options: Json) -> ConverseHistory:
    """The conversation. Raises a 400 for what the API has no form for."""
    history, writer = _MessageWriter(), BlockWriter()
    turns = turns_of(_entries(given))
    turn_writer = _TurnWriter(given)
    for instruction in instructions_of(options, TABLE):
        history.system += _system(instruction)
    for turn in turns:
        if isinstance(turn, ModelTurn):
            history.append("assistant", turn_writer.blocks(turn))
            history.append("user", [_result(one, writer, given.model) for one in turn.results])
        elif turn.role in SYSTEM and not history.messages:
            history.system += _system(turn)
        else:
            history.append("user", writer.blocks(turn.parts))
    return ConverseHistory(
        history.system, history.messages, _called(turns), _goes_on_unsigned(history.messages)
    )


def _entries(given: WriterInput) -> Iterator[PlainEntry | OwnBlock]:
    """All entries; of a turn in which Nova ran tools its own blocks, which no other model reads."""
    for entry in entries_of(given.items, given.tools, TABLE):
        if not isinstance(entry, MakerTurn):
            yield entry
        elif is_nova(given.model) and (own := own_entries(entry)) is not None:
            yield from own
        else:
            yield from entry.entries


def _system(turn: UserTurn) -> Iterator[Json]:
    for part in turn.parts:
        if part.kind != "text":
            raise refused("content part", f"input_{part.kind}", "input", "Send it as the user's.")
        if part.text.strip():
            yield {"text": part.text}


def _called(turns: Sequence[UserTurn | ModelTurn]) -> tuple[str, ...]:
    entries = [one for turn in turns if isinstance(turn, ModelTurn) for one in turn.entries]
    calls = [entry.tool.flat for entry in entries if isinstance(entry, ToolUse)]
    own = [entry.block.get("toolUse") for entry in entries if isinstance(entry, OwnBlock)]
    return tuple(dict.fromkeys([*calls, *(use["name"] for use in own if use)]))


def _goes_on_unsigned(messages: list[Json]) -> bool:
    """Claude continues its thinking after a result only if it finds the thinking before it."""
    if len(messages) < 2 or "toolResult" not in messages[-1]["content"][0]:
        return False
    return "reasoningContent" not in messages[-2]["content"][0]


def _result(result: ToolResult, writer: BlockWriter, model: str) -> Json:
    content = writer.blocks(result.parts) or [{"text": NO_OUTPUT}]
    block: Json = {"toolUseId": result.call_id, "content": content}
    if result.is_error and (is_claude(model) or is_nova(model)):
        block["status"] = "error"
    return {"toolResult": block}


class _TurnWriter:
    """Writes what the model said, for the model of one request."""

    def __init__(self, given: WriterInput) -> None:
        self._seals = given.seals
        self._is_claude = is_claude(given.model)

    def blocks(self, turn: ModelTurn) -> list[Json]:
        """The blocks of a turn."""
        blocks: list[Json] = []
        for entry in turn.entries:
            if isinstance(entry, ToolUse):
                use = {"toolUseId": entry.call_id, "name": entry.tool.flat}
                blocks.append({"toolUse": {**use, "input": entry.arguments}})
            elif isinstance(entry, OwnBlock):
                blocks.append(entry.block)
            elif isinstance(entry, AnswerText):
                blocks += [{"text": entry.text}] if entry.text.strip() else []
            else:
                blocks += self._thought(entry)
        while self._is_claude and blocks and "reasoningContent" in blocks[-1]:
            blocks.pop()
        return blocks

    def _thought(self, thought: Thought) -> Iterator[Json]:
        sealed = self._seals.open(thought.sealed) or {}
        if SIGNATURE in sealed:
            yield _reasoning(thought.text, sealed[SIGNATURE])
        elif REDACTED in sealed:
            yield {"reasoningContent": {"redactedContent": sealed[REDACTED]}}
        elif REASONED in sealed and thought.text and not self._is_claude:
            yield {"reasoningContent": {"reasoningText": {"text": thought.text}}}
        elif self._is_claude:
            yield from map(_old_block, sealed.get(OLD) or ())


def _reasoning(text: Any, signature: Any) -> Json:
    return {"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}}


def _old_block(block: Json) -> Json:
    """A thinking block of Anthropic's form, which releases before the seals gave out."""
    if block.get("type") == "thinking":
        return _reasoning(block.get("thinking") or "", block.get("signature") or "")
    return {"reasoningContent": {"redactedContent": _wrapped(str(block.get("data")))}}


def _wrapped(data: str) -> str:
    """Redacted thinking as Converse wraps it: in base64 once more, unless it is so already."""
    try:
        base64.b64decode(base64.b64decode(data, validate=True), validate=True)
    except (ValueError, binascii.Error):
        return base64.b64encode(data.encode()).decode()
    return data
