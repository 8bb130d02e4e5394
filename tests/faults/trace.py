"""What was seen of one response, by everybody who looked. Pure: no clock, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

Json = dict[str, Any]

TERMINAL_TYPES = ("response.completed", "response.failed", "response.incomplete")
RANKS = {"queued": 0, "in_progress": 1}  # a poller never goes back; all that is terminal is 2


@dataclass(eq=False)
class Heard:
    """The events one observer got, over all its connections."""

    who: str
    after: int = -1  # it asked for what comes after this number
    texts: dict[int, bytes] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    has_ended: bool = False  # it got the terminal event

    def hear(self, text: bytes) -> Json:
        """Take one event; what must not be is a problem."""
        event: Json = orjson.loads(text)
        number = event["sequence_number"]
        last = self.last
        if self.has_ended:
            self.problems.append(f"{self.who} got {event['type']} after the end")
        elif number <= last and (self.texts or event["type"] not in TERMINAL_TYPES):
            # The end is told whatever the cursor; all else comes after it.
            self.problems.append(f"{self.who} got number {number} after {last}")
        elif number > last + 1 and "gap" not in event:
            self.problems.append(f"{self.who} got {number} after {last}, and no gap was declared")
        self.texts[number] = text
        self.has_ended = event["type"] in TERMINAL_TYPES
        return event

    @property
    def last(self) -> int:
        """The last number it has."""
        return max(self.texts, default=self.after)

    @property
    def end(self) -> Json | None:
        """The terminal event."""
        return orjson.loads(self.texts[self.last]) if self.has_ended else None


@dataclass(eq=False)
class Trace:
    """One response."""

    tag: str  # stands in its input, and nowhere else
    kind: str  # "socket" or "background"
    model: str
    server: int  # that it was asked of
    began: float
    parent: Trace | None = None
    id: str = ""
    socket: Heard | None = None
    has_left: bool = False  # the client, on its own account
    is_cut: bool = False  # the socket broke
    refusal: Json | None = None  # an error instead of a response
    ended: float | None = None  # when the end was heard first
    followers: list[Heard] = field(default_factory=list)
    polls: list[Json] = field(default_factory=list)
    was_found: bool = False  # by a reader of the store
    cancel: str = ""  # "asked", or the status that a cancel was answered
    problems: list[str] = field(default_factory=list)

    def poll(self, response: Json, now: float) -> bool:
        """Take what a poller saw; whether the response has ended."""
        if "status" not in response:
            self.problems.append(f"a poll was answered {response}")
            return False
        before = self.polls[-1] if self.polls else None
        self.polls.append(response)
        self.was_found = True
        if before is not None and before != response:
            old, new = (RANKS.get(poll["status"], 2) for poll in (before, response))
            if old > new or old == 2:
                self.problems.append(f"a poll went from {before['status']} to {response['status']}")
            elif new < 2 and len(text_of(before)) > len(text_of(response)):
                self.problems.append("a poll saw less text than one before")
        has_ended = RANKS.get(response["status"], 2) == 2
        if has_ended and self.ended is None:
            self.ended = now
        return has_ended

    def lineage(self) -> list[Trace]:
        """Its ancestors, the first one first."""
        return [*self.parent.lineage(), self.parent] if self.parent else []


def text_of(response: Json) -> str:
    """All text a response has said."""
    parts = [part for item in response["output"] for part in item.get("content") or ()]
    return "".join(part.get("text", "") for part in parts)
