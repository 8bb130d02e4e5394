"""Entries → turns as chat providers know them: calls stand with their results (pure).

Rule 1: results follow their calls directly, wherever they stand in the request; a call that was
never answered gets a result that says so, and a result without a call is the user's text.
Rule 2: one message has one text. A further text, or a thought after a text, begins another message;
a thought that is only a seal belongs to the message that it follows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ws_bridge.types import Json
from ws_bridge.upstream.dialects.entries import (
    AnswerText,
    HostedUse,
    OwnBlock,
    PlainEntry,
    Thought,
    ToolResult,
    ToolUse,
    UserTurn,
)
from ws_bridge.upstream.dialects.openai_chat.thoughts import DETAILS, EXTRAS
from ws_bridge.upstream.dialects.seals import MakerSeals
from ws_bridge.upstream.dialects.turns import filled


@dataclass(slots=True)
class OwnThought:
    """A thought that this maker may have back, and what its seal says of it."""

    text: str
    values: Json


@dataclass(slots=True)
class AnswerTurn:
    """One message of the assistant's, and the results of its calls in the calls' order."""

    thoughts: list[OwnThought] = field(default_factory=list)
    text: str = ""
    calls: list[ToolUse] = field(default_factory=list)
    results: dict[str, ToolResult] = field(default_factory=dict)  # by call id
    own: Json = field(default_factory=dict)  # more fields of the message, for its maker

    def takes(self, entry: AnswerText | Thought | ToolUse | OwnBlock) -> bool:
        """Whether the entry may stand in the same message."""
        if self.results:
            return False
        if isinstance(entry, OwnBlock):
            return True
        if isinstance(entry, AnswerText):
            return not self.text
        if isinstance(entry, Thought):
            return not entry.text or not (self.text or self.calls)
        return all(call.call_id != entry.call_id for call in self.calls)

    def add(self, entry: AnswerText | OwnThought | ToolUse | OwnBlock) -> None:
        """An entry that it takes."""
        if isinstance(entry, AnswerText):
            self.text = entry.text
        elif isinstance(entry, ToolUse):
            self.calls.append(entry)
        elif isinstance(entry, OwnBlock):
            self.own |= entry.block
        else:
            self.thoughts.append(entry)

    def answered(self) -> list[ToolResult]:
        """A result for each call."""
        return [
            self.results.get(call.call_id) or ToolResult(call.call_id, call.tool, ())
            for call in self.calls
        ]


Turn = UserTurn | AnswerTurn


def turns_of(entries: Iterable[PlainEntry | OwnBlock], seals: MakerSeals) -> list[Turn]:
    """The turns in order."""
    turns: list[Turn] = []
    asked: dict[str, AnswerTurn] = {}  # the last turn that has a call of this id
    for entry in entries:
        if isinstance(entry, UserTurn):
            turns.append(entry)
        elif isinstance(entry, ToolResult):
            if (turn := asked.get(entry.call_id)) is None:
                turns.append(UserTurn("user", filled(entry.parts)))
            else:
                turn.results[entry.call_id] = entry
        elif not isinstance(entry, HostedUse):
            own = _own(entry, seals) if isinstance(entry, Thought) else entry
            if own is None:
                continue  # another maker's
            turn = _open_turn(turns, entry)
            turn.add(own)
            if isinstance(own, ToolUse):
                asked[own.call_id] = turn
    return turns


def _open_turn(turns: list[Turn], entry: AnswerText | Thought | ToolUse | OwnBlock) -> AnswerTurn:
    last = turns[-1] if turns else None
    if isinstance(last, AnswerTurn) and last.takes(entry):
        return last
    turn = AnswerTurn()
    turns.append(turn)
    return turn


def _own(thought: Thought, seals: MakerSeals) -> OwnThought | None:
    """The thought with its seal open; None for what another maker has sealed."""
    if not thought.sealed:
        return OwnThought(thought.text, {})
    values = seals.open(thought.sealed)
    return None if values is None else OwnThought(thought.text, _known(values))


def _known(values: Json) -> Json:
    """The values of a seal that have their form: a server without keys opens forged ones too."""
    details, extras, name = (values.get(key) for key in (DETAILS, EXTRAS, "field"))
    known: Json = {}
    if isinstance(name, str):
        known["field"] = name
    if isinstance(details, list):
        known[DETAILS] = [one for one in details if isinstance(one, dict)]
    if isinstance(extras, dict):
        known[EXTRAS] = {call: extra for call, extra in extras.items() if isinstance(extra, dict)}
    return known
