"""The seam to the stores: what is kept of a response, and what every store promises.

A store holds stored responses only; a response with ``store: false`` never reaches it.

Guarantees:
- A response is one record and one log of events, which are numbered from 0 on, in order. A number
  is missing from the log only where a ``Write`` with ``has_gap`` declares the gap.
- Each create, append, claim or delete of a response takes effect completely or not at all.
- An acknowledged write is visible to every read that begins after it, unless the store loses data:
  then the next write's verdict is GAP or GONE.
- A response has one writer, the holder of its ``Lease``. A lease that is not renewed in time is
  overdue: another server may claim the response under a higher fence, and the appends of the
  earlier writer are refused from then on.
- To readers, a response that is unknown, deleted, expired or another owner's is None. ``Owners``
  has the names of each owner.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from ws_bridge.protocol.events import COMPLETED, INCOMPLETE, TERMINAL_STATUS, Event
from ws_bridge.types import Item, Json

MAX_ANCESTORS = 16  # of a record: a long chain is read in few round trips
KEY_BYTES = 32  # of the shared key
KEY_SECONDS = 86_400.0  # an idempotency key stands for its response
MAX_ATTEMPTS = 2  # to generate a response whose output no reader has seen


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a response when it begins.

    Its fields, but for ``unknown``, are stored under their names. Only ``maker`` may change later.
    """

    id: str
    owner: str
    input: tuple[Item, ...]  # of this turn only
    maker: str  # `Target.maker` of the target that answers
    previous_response_id: str | None = None
    background: bool = False
    ancestors: tuple[str, ...] = ()  # the nearest first, at most MAX_ANCESTORS
    request: Json | None = None  # the create, for the server that continues it after a crash
    may_run_again: bool = False  # only readers of the store can have seen output
    input_makers: tuple[str, ...] = ()  # as `Turn.input_makers`
    unknown: Json = field(default_factory=dict)  # a newer release's fields: kept and ignored


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A response at one moment: the fold of its events up to ``number``."""

    record: Record
    response: Json  # a copy: the reader's own
    number: int
    is_overdue: bool = False  # it runs, and its writer has not renewed the lease in time
    side_data: Json | None = None  # see ``Write``; `Store.get_chain` alone reads it

    @property
    def status(self) -> str:
        """The response's status now."""
        return str(self.response.get("status", "in_progress"))

    @property
    def is_terminal(self) -> bool:
        """Whether the response has ended: its snapshot does not change any more."""
        return self.status in TERMINAL_STATUS


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write one response: of two leases, the one with the higher fence has it."""

    id: str
    fence: int


@dataclass(frozen=True, slots=True)
class Write:
    """Events to append, in order; a write without events only renews the lease."""

    lease: Lease
    events: Sequence[Event] = ()
    has_gap: bool = False  # the numbers before the first event are lost; the event declares the gap
    upstream_id: str = ""  # the provider's id of a background response, stored for a successor
    record: Record | None = None  # replaces the first one: another target answers
    side_data: Json | None = None  # what the maker must get back; no client gets it
    owner: str = ""  # the response's, where there are `item_ids`
    item_ids: Sequence[str] = ()  # by which `find_item` is to find the response

    @property
    def final_side_data(self) -> Json | None:
        """The side data, if the write ends a response that a chain can continue from."""
        return self.side_data if self._is_end else None

    @property
    def final_item_ids(self) -> Sequence[str]:
        """The ids of items, if the write ends a response that a chain can continue from."""
        return self.item_ids if self._is_end else ()

    @property
    def _is_end(self) -> bool:
        return bool(self.events) and self.events[-1].type in (COMPLETED, INCOMPLETE)


class Verdict(Enum):
    """The outcome of a write."""

    APPENDED = "appended"
    DUPLICATE = "duplicate"  # the log has all of it already
    GAP = "gap"  # the log does not reach its first event: nothing was written
    ENDED = "ended"  # the response has ended: nothing was written
    FENCED = "fenced"  # another server has claimed it, or it was deleted: stop writing
    GONE = "gone"  # the store has lost the response: nothing was written, create it again


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a write."""

    verdict: Verdict
    last_number: int = -1  # the log's last number
    is_cancelled: bool = False  # the response is to be ended: its owner has cancelled it
    is_followed: bool = False  # readers of the store wait for its events: write without delay


@dataclass(frozen=True, slots=True)
class Claim:
    """An overdue response that this server may write from now on."""

    lease: Lease
    record: Record
    events: Sequence[Event]  # the log so far
    is_cancelled: bool
    may_run: bool  # it may be generated; else only its end may be written
    upstream_id: str  # see ``Write``
    lost_until: int | None = None  # the log's last number, if `events` do not reach it


@dataclass(frozen=True, slots=True)
class KeyHold:
    """The response that an owner's idempotency key stands for."""

    response_id: str
    digest: str  # of the create
    lane: str | None = None
    is_begun: bool = False  # its record was stored; else its server is about to do that


class Unreadable(ValueError):
    """A stored value that no release up to this one has written.

    The message is the kind of the value and has no content. Inside of a store only: to readers the
    response or conversation is unknown, and the log has one line.
    """


class Owners:
    """The names of each owner in the store: the current one first, then the earlier ones.

    A name has no spaces. An owner that is not listed has the one name.
    """

    def __init__(self, known: Iterable[Sequence[str]] = ()) -> None:
        self.replace(known)

    def replace(self, known: Iterable[Sequence[str]]) -> None:
        """Know these from now on."""
        self._names = {name: tuple(names) for names in known for name in names}

    def learn(self, owner: str, names: Sequence[str]) -> None:
        """Know more earlier names of an owner, until the next ``replace``."""
        known = tuple(dict.fromkeys((*self.names(owner), *names)))
        self._names |= dict.fromkeys(known, known)

    def names(self, owner: str) -> tuple[str, ...]:
        """All names of the owner that has this name."""
        return self._names.get(owner, (owner,))

    def current_name(self, owner: str) -> str:
        """The current name of the owner that has this name."""
        return self.names(owner)[0]


class Store(Protocol):
    """Where responses are kept. Every method that waits may raise ``StoreUnavailable``.

    The caller awaits ``open`` before any other call and ``close`` after the last one.
    """

    async def open(self) -> None:
        """Connect: the first attempt has succeeded or failed when this returns.

        A server that cannot be reached is no error: the store tries again by itself. Raises
        ``ConfigError`` if it can never work.
        """
        ...

    def is_available(self) -> bool:
        """Whether a response that is created now will be stored, as far as the store knows."""
        ...

    def was_reached(self) -> bool:
        """Whether the store has answered, and was found to fit, at any time since ``open``."""
        ...

    def answer_count(self) -> int:
        """The number of answers received so far: a store whose count grows is slow, not away."""
        ...

    def shared_key(self) -> bytes:
        """A random key that all servers of the store share; b"" while it is not known.

        A store that loses its data may have another key afterwards.
        """
        ...

    def set_callbacks(
        self, *, on_cancelled: Callable[[str], None], on_followed: Callable[[str], None]
    ) -> None:
        """Set what is called with the id of a response that this process writes.

        ``on_cancelled``: the owner has cancelled it. ``on_followed``: readers of the store
        wait for its events. Either call may be lost; the next ``Receipt`` has the same news.
        """
        ...

    async def create(self, record: Record, events: Sequence[Event] = (), fence: int = 1) -> Lease:
        """Store a new record and its first events; its writer has the lease that is returned.

        The response is stored when this returns. Idempotent: an id that is taken changes nothing. A
        fence above 1 restores a response that the store has lost.
        """
        ...

    async def append(self, writes: Sequence[Write]) -> Sequence[Receipt]:
        """Append events to several responses and renew their leases; the receipts are in order.

        Of each response all events are written or none. Idempotent by number: events that the log
        has are skipped. The terminal event has the final object: with it the response has ended for
        every reader, for good, and its side data is stored.
        """
        ...

    async def get(self, response_id: str, owner: str) -> Snapshot | None:
        """The current snapshot; never older than one that was returned before.

        It is without side data, which is for chains alone.
        """
        ...

    async def get_chain(self, response_id: str, owner: str) -> Sequence[Snapshot]:
        """The snapshot and those of its ancestors, the nearest first, up to one that is None."""
        ...

    async def find_item(self, item_id: str, owner: str) -> str:
        """The response of the owner's whose end was written with this item id; "" if it is None.

        Of several the latest. It may have been deleted a moment ago.
        """
        ...

    async def acquire_key(self, key: str, owner: str, hold: KeyHold) -> KeyHold:
        """Let the owner's idempotency key stand for the hold's response, for ``KEY_SECONDS``.

        Returns what it stands for now: another response's hold stays, its own is replaced. Atomic
        and idempotent.
        """
        ...

    async def find_key(self, key: str, owner: str) -> KeyHold | None:
        """What the owner's key stands for; it may have been acquired under an earlier name."""
        ...

    async def release_key(self, key: str, owner: str, hold: KeyHold) -> None:
        """Let the key stand for nothing, if it stands for this very hold."""
        ...

    def read(
        self, response_id: str, owner: str, *, after: int = -1
    ) -> AsyncIterator[Sequence[Event]]:
        """Batches of the events after a number, first the stored ones, then each new one.

        It ends after the terminal event, or when the response is deleted or lost, or at once if it
        is None. Every reader gets the same bytes, each event once and in order, and no gap but a
        declared one.
        """
        ...

    async def cancel(self, response_id: str, owner: str) -> None:
        """Ask the response's writer, on any server, to end it; no effect on one that has ended."""
        ...

    async def delete(self, response_id: str, owner: str) -> bool:
        """Delete a response: its readers end, and its writer is fenced. False if it is None."""
        ...

    async def find_overdue(self) -> Sequence[str]:
        """The ids of some responses whose lease has run out."""
        ...

    async def claim(self, response_id: str) -> Claim | None:
        """Take over an overdue response; None if it is not overdue, or another server was first."""
        ...

    async def release(self, lease: Lease) -> None:
        """Give up a lease: the response is overdue at once. No effect on another writer's lease."""
        ...

    async def close(self) -> None:
        """Close all connections and end all tasks of the store."""
        ...
