"""The seam to the stores: what is kept of a response, and what a store promises.

A store holds stored responses only; ``store:false`` never reaches it. Unknown, foreign, deleted and
expired are one answer: None. An owner that does not match sees nothing; under which names an owner
is known, a store is told by ``Owners``.

A response has one writer, whoever holds its ``Lease``. A lease that was not renewed in time is
overdue: another server may claim the response, under a higher fence, and the old writer's appends
are refused from then on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from ws_bridge.protocol.events import TERMINAL_STATUS, Event
from ws_bridge.types import Item, Json

MAX_ANCESTORS = 16  # of a record: a long chain is read in few round trips
KEY_BYTES = 32
MAX_ATTEMPTS = 2  # to generate a response of which nothing was seen yet


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a response when it begins; only who answers may turn out to be another."""

    id: str
    owner: str
    input: tuple[Item, ...]  # of this turn only
    maker: str  # `Target.maker` of whoever answers
    previous_response_id: str | None = None
    background: bool = False
    ancestors: tuple[str, ...] = ()  # the nearest first, at most MAX_ANCESTORS
    request: Json | None = None  # the create, for whoever goes on with it after a crash
    may_run_again: bool = False  # nobody but readers of the store can have seen output
    unknown: Json = field(default_factory=dict)  # a newer release's fields: kept, not understood


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A response as a reader finds it: the fold of the events up to ``number``."""

    record: Record
    response: Json  # a copy: the reader's own
    number: int
    is_overdue: bool = False  # it runs, but its writer has not renewed the lease in time

    @property
    def status(self) -> str:
        """The response's status now."""
        return str(self.response.get("status", "in_progress"))

    @property
    def is_terminal(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in TERMINAL_STATUS


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write one response; of two, the higher fence has it."""

    id: str
    fence: int


@dataclass(frozen=True, slots=True)
class Write:
    """Events to append, in order; none only renews the lease."""

    lease: Lease
    events: Sequence[Event] = ()
    has_gap: bool = False  # the numbers before the first event are lost for good, and say so
    upstream_id: str = ""  # the provider's id of a background response, kept for a successor
    record: Record | None = None  # in the place of the one it began with: another target answers


class Verdict(Enum):
    """What became of a write."""

    APPENDED = "appended"
    DUPLICATE = "duplicate"  # all of it was there already: fine
    GAP = "gap"  # numbers are missing before it: nothing was written
    ENDED = "ended"  # the response is terminal: nothing was written
    FENCED = "fenced"  # claimed by another server, or deleted: stop writing
    GONE = "gone"  # lost by the store: nothing was written, create it again


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a write."""

    verdict: Verdict
    last_number: int = -1  # the log's last number
    is_cancelled: bool = False  # somebody asked for the response's end
    is_followed: bool = False  # somebody reads along elsewhere: write at once


@dataclass(frozen=True, slots=True)
class Claim:
    """An overdue response, now this server's."""

    lease: Lease
    record: Record
    events: Sequence[Event]  # the log so far
    is_cancelled: bool
    may_run: bool  # generate it; else only its end may be written
    upstream_id: str
    lost_until: int | None = None  # the log's last number, where `events` do not reach it


class Unreadable(ValueError):
    """Stored bytes that no release up to this one writes; the message says which, and no content.

    To readers what they belong to is unknown; the store logs one line.
    """


class Owners:
    """Under which names a store may know an owner: the one of now first, then those of before.

    A name is one word.
    """

    def __init__(self, known: Iterable[Sequence[str]] = ()) -> None:
        self._names = {name: tuple(names) for names in known for name in names}

    def names(self, owner: str) -> tuple[str, ...]:
        """All names of the owner that has this one."""
        return self._names.get(owner, (owner,))

    def current_name(self, owner: str) -> str:
        """Its name of now."""
        return self.names(owner)[0]


class Store(Protocol):
    """Where answers are kept. Every method may raise ``StoreUnavailable``."""

    async def open(self) -> None:
        """Connect; returns when the first attempt is over. Raises ``ConfigError``."""
        ...

    def is_available(self) -> bool:
        """Whether a new response can be promised to last."""
        ...

    def answer_count(self) -> int:
        """How many answers have come by now: a store that gives some is slow, and not away."""
        ...

    def shared_key(self) -> bytes:
        """A random key that all servers of the store share; b"" while it is not known yet.

        It may be lost with the store: then there is another one.
        """
        ...

    def set_callbacks(
        self, *, on_cancelled: Callable[[str], None], on_followed: Callable[[str], None]
    ) -> None:
        """Call with the id of a response written here: its end is wanted; somebody reads along."""
        ...

    async def create(self, record: Record, events: Sequence[Event] = (), fence: int = 1) -> Lease:
        """Keep a new record and its first events: true before anyone is told its id.

        Idempotent. A higher fence restores what the store has lost.
        """
        ...

    async def append(self, writes: Sequence[Write]) -> Sequence[Receipt]:
        """Add events to several responses; of each all or none, idempotent by number.

        Renews the leases. Events that are there already are skipped. The terminal event carries the
        final object: with it the response is finished, at once and for good.
        """
        ...

    async def get(self, response_id: str, owner: str) -> Snapshot | None:
        """The current snapshot; never older than one that was given before."""
        ...

    async def get_chain(self, response_id: str, owner: str) -> Sequence[Snapshot]:
        """The snapshot, and those before it in its lineage; ends where the next one is None."""
        ...

    def read(
        self, response_id: str, owner: str, *, after: int = -1
    ) -> AsyncIterator[Sequence[Event]]:
        """Replay what comes after number ``after``, then follow; ends with the response.

        No repeat, the same bytes for every reader, no gap but a declared one. Ends at once for what
        ``get`` calls None.
        """
        ...

    async def cancel(self, response_id: str, owner: str) -> None:
        """Tell the response's writer, wherever it is, that somebody wants its end."""
        ...

    async def delete(self, response_id: str, owner: str) -> bool:
        """Forget a response; followers end, its writer is fenced. False for what is None."""
        ...

    async def find_overdue(self) -> Sequence[str]:
        """Some responses whose lease has run out."""
        ...

    async def claim(self, response_id: str) -> Claim | None:
        """Take over an overdue response; None if it is not, or somebody else was faster."""
        ...

    async def release(self, lease: Lease) -> None:
        """Give the lease back: the response is overdue at once."""
        ...

    async def close(self) -> None:
        """Let go of everything the store holds open."""
        ...
