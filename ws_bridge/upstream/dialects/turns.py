"""Entries → turns, for providers that take answers and results in a strict order (pure).

Rule 1: what the model wrote in a row is one turn, and the results of its calls come directly after
it, in the order of the calls, wherever they stand in the history.
Rule 2: a result whose call is not in the history is text of the user; a call without a result gets
one that says so.
Rule 3: the ids of calls fit every provider, and no two calls of a history have the same one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ws_bridge.protocol.history import unsigned_id
from ws_bridge.upstream.dialects.entries import (
    AnswerText,
    ContentPart,
    OwnBlock,
    PlainEntry,
    Thought,
    ToolResult,
    ToolUse,
    UserTurn,
)

NO_OUTPUT = "(no output)"
ModelEntry = AnswerText | Thought | ToolUse | OwnBlock
_FITTING = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ModelTurn:
    """What the model wrote in a row, and a result for each of its calls."""

    entries: tuple[ModelEntry, ...]
    results: tuple[ToolResult, ...]


def turns_of(entries: Iterable[PlainEntry | OwnBlock]) -> list[UserTurn | ModelTurn]:
    """The turns in order; results stand where Rule 1 wants them."""
    turns: list[UserTurn | ModelTurn] = []
    output: list[ModelEntry] = []
    given, answers = _paired(entries)
    for entry in given:
        if isinstance(entry, ModelEntry):
            output.append(entry)
            continue
        if output and isinstance(entry, UserTurn | ToolResult):
            turns.append(_model_turn(output, answers))
            output = []
        if isinstance(entry, UserTurn):
            turns.append(entry)
    return [*turns, _model_turn(output, answers)] if output else turns


def filled(parts: tuple[ContentPart, ...]) -> tuple[ContentPart, ...]:
    """The parts, or a text that says that there are none: no provider takes empty content."""
    return parts or (ContentPart("text", NO_OUTPUT),)


def fitting_id(call_id: str) -> str:
    """The id of a call as every provider takes it: at most 64 characters of [A-Za-z0-9_-]."""
    if _FITTING.fullmatch(call_id):
        return call_id
    return f"call_{hashlib.sha256(call_id.encode(errors='replace')).hexdigest()[:32]}"


def _paired(
    entries: Iterable[PlainEntry | OwnBlock],
) -> tuple[list[PlainEntry | OwnBlock], dict[str, ToolResult]]:
    """The entries under unique ids, and the result of each call by its id."""
    given: list[PlainEntry | OwnBlock] = []
    answers: dict[str, ToolResult] = {}
    unanswered: dict[str, list[str]] = {}  # the ids of the calls of one id in the history
    taken: set[str] = set()
    for entry in entries:
        if isinstance(entry, ToolUse):
            unique = _unique(entry.call_id, taken)
            unanswered.setdefault(entry.call_id, []).append(unique)
            given.append(replace(entry, call_id=unique))
        elif isinstance(entry, ToolResult):
            if waiting := unanswered.get(entry.call_id):
                unique = waiting.pop(0)
                answers[unique] = replace(entry, call_id=unique)
                given.append(entry)
            else:
                given.append(UserTurn("user", filled(entry.parts)))
        else:
            given.append(entry)
    return given, answers


def _unique(call_id: str, taken: set[str]) -> str:
    plain, number = unsigned_id(call_id), 1  # Gemini, whose signature it is, has no such turns
    unique = fitting_id(plain)
    while unique in taken:
        number += 1
        unique = fitting_id(f"{plain} {number}")  # with the blank it is hashed
    taken.add(unique)
    return unique


def _model_turn(output: list[ModelEntry], answers: dict[str, ToolResult]) -> ModelTurn:
    calls = [entry for entry in output if isinstance(entry, ToolUse)]
    results = (answers.get(call.call_id, ToolResult(call.call_id, call.tool, ())) for call in calls)
    return ModelTurn(tuple(output), tuple(results))
