"""The seam to the stores: what is kept of a response, and what a store promises.

A store holds stored responses only; ``store:false`` never reaches it. Unknown, foreign, deleted and
expired are one answer: None. An owner that does not match sees nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from ws_bridge.protocol.events import TERMINAL_STATUS, Event
from ws_bridge.protocol.request import Item

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a response when it begins, and never changes."""

    id: str
    owner: str
    input: tuple[Item, ...]  # of this turn only
    maker: str  # `Target.maker` of whoever answers
    previous_response_id: str | None = None
    background: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A response as a reader finds it: the fold of the events up to ``number``."""

    record: Record
    response: Json  # a copy: the reader's own
    number: int

    @property
    def status(self) -> str:
        """The response's status now."""
        return str(self.response.get("status", "in_progress"))

    @property
    def is_terminal(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in TERMINAL_STATUS


class Verdict(Enum):
    """What became of an append."""

    APPENDED = "appended"
    DUPLICATE = "duplicate"  # all of it was there already: fine
    GAP = "gap"  # numbers are missing before it: nothing was written
    ENDED = "ended"  # the response is terminal: nothing was written
    GONE = "gone"  # unknown, deleted or expired: nothing was written


class Store(Protocol):
    """Where answers are kept. Every method may raise ``StoreUnavailable``."""

    async def create(self, record: Record) -> None:
        """Keep a new record: true before anyone is told its id."""
        ...

    async def append(self, response_id: str, events: Sequence[Event]) -> Verdict:
        """Add events in order: all or none, idempotent by number, refused after a terminal one.

        The terminal event carries the final object: with it the response is finished, at once and
        for good.
        """
        ...

    async def get(self, response_id: str, owner: str) -> Snapshot | None:
        """The current snapshot; never older than one that was given before."""
        ...

    def read(
        self, response_id: str, owner: str, *, after: int = -1
    ) -> AsyncIterator[Sequence[Event]]:
        """Replay what comes after number ``after``, then follow; ends with the response.

        No gap, no repeat, the same bytes for every reader. Ends at once for what ``get`` calls
        None.
        """
        ...

    async def delete(self, response_id: str, owner: str) -> bool:
        """Forget a response; followers end. False for what ``get`` calls None."""
        ...

    async def close(self) -> None:
        """Let go of everything the store holds open."""
        ...
