"""A clock, a store and a response that a test controls.

Nothing here waits for real time: a test decides when time passes, when the store is away, when a
call reaches it and when its answer comes back.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace

from support.hang import HANG_SECONDS
from support.scripted_upstream import answer

from ws_bridge.clock import Clock
from ws_bridge.errors import ServerLost, StoreUnavailable
from ws_bridge.jobs.backlog import MirrorListener
from ws_bridge.protocol.events import Event
from ws_bridge.protocol.reducer import Reducer
from ws_bridge.protocol.response import Envelope
from ws_bridge.protocol.sequencer import Sequencer, end_for
from ws_bridge.store.base import Claim, Lease, Receipt, Record, Verdict, Write
from ws_bridge.store.ledger import Booking
from ws_bridge.store.memory import MemoryStore
from ws_bridge.stream import Stream

OWNER = "alice"


class FakeClock:
    """A clock that stands still until a test advances it."""

    def __init__(self) -> None:
        self.time = 1000.0
        self._asleep: list[tuple[float, asyncio.Event]] = []

    def now(self) -> float:
        return self.time

    @property
    def sleepers(self) -> int:
        """How many tasks wait for time to pass."""
        return len(self._asleep)

    def clock(self) -> Clock:
        """The clock as the code takes it."""
        return Clock(wall=self.now, monotonic=self.now, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        mine = (self.time + seconds, asyncio.Event())
        self._asleep.append(mine)
        try:
            await mine[1].wait()
        finally:
            self._asleep.remove(mine)

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake the tasks that have slept long enough."""
        self.time += seconds
        for until_time, waking in self._asleep:
            if until_time <= self.time:
                waking.set()


class FaultyStore(MemoryStore):
    """A memory store that is away, slow or forgetful as a test wants; it keeps what it gets."""

    def __init__(self, now: Callable[[], float], lease_seconds: float = 15.0) -> None:
        super().__init__(max_bytes=2**24, ttl_seconds=3600, now=now, lease_seconds=lease_seconds)
        self.is_away = False
        self.unanswered = 0  # so many calls are carried out, and their answer is lost
        self.gates: list[asyncio.Event] = []  # the next calls reach the store when theirs is set
        self.answers: list[asyncio.Event] = []  # their answers come back when these are set
        self.refused: set[str] = set()  # these responses cannot be created
        self.broken: list[Exception] = []  # raised by the next appends
        self.verdicts: list[Verdict] = []  # answered to the next appends, which write nothing
        self.is_followed = False
        self.created: list[tuple[str, int]] = []
        self.writes: list[list[int]] = []
        self.deleted: list[str] = []
        self._is_creating = False

    async def create(self, record: Record, events: Sequence[Event] = (), fence: int = 1) -> Lease:
        await self._reach()
        if record.id in self.refused:
            raise StoreUnavailable
        self.created.append((record.id, fence))
        self._is_creating = True
        try:
            lease = await super().create(record, events, fence)
        finally:
            self._is_creating = False
        await self._answer()
        return lease

    async def book(self, number: int, bookings: Sequence[Booking]) -> None:
        await self._reach()
        await super().book(number, bookings)
        await self._answer()

    async def append(self, writes: Sequence[Write]) -> Sequence[Receipt]:
        if self._is_creating:  # the first events, in the same step
            return await super().append(writes)
        self.writes += [[event.number for event in write.events] for write in writes]
        await self._reach()
        if self.broken:
            raise self.broken.pop(0)
        if self.verdicts:
            return [Receipt(self.verdicts.pop(0)) for _ in writes]
        receipts = await super().append(writes)
        await self._answer()
        return [replace(receipt, is_followed=self.is_followed) for receipt in receipts]

    async def end(self, claim: Claim | None) -> None:
        """End a response that another server has claimed; the call always reaches the store."""
        assert claim is not None, "the lease has not run out"
        last = end_for(claim.record.id, claim.events, ServerLost())
        await super().append([Write(claim.lease, [last])])

    async def delete(self, response_id: str, owner: str) -> bool:
        await self._reach()
        self.deleted.append(response_id)
        return await super().delete(response_id, owner)

    def log(self, response_id: str) -> list[Event]:
        """What is stored."""
        entry = self._running.get(response_id) or self._finished.get(response_id)
        return list(entry.log.events) if entry else []

    def numbers(self, response_id: str) -> list[int]:
        return [event.number for event in self.log(response_id)]

    def lose(self, response_id: str) -> None:
        """Forget a running response, as a store that came back empty."""
        if response_id in self._running:
            self._forget(self._running[response_id])

    def lose_after(self, number: int, response_id: str) -> None:
        """Forget the end of a running response, as a store that came back with an older copy."""
        if (entry := self._running.get(response_id)) is not None:
            entry.log.events[:] = [event for event in entry.log.events if event.number <= number]
            entry.reducer = Reducer()

    async def _reach(self) -> None:
        if self.gates:
            await self.gates.pop(0).wait()
        if self.is_away:
            raise StoreUnavailable

    async def _answer(self) -> None:
        if self.answers:
            await self.answers.pop(0).wait()
        if self.unanswered:
            self.unanswered -= 1
            raise StoreUnavailable


class ScriptedResponse:
    """A response as its job would write it: its events are made at once, and appended later."""

    def __init__(self, *deltas: str, background: bool = False) -> None:
        self.id = "resp_" + secrets.token_hex(24)
        self.record = Record(self.id, OWNER, (), "openai|", background=background)
        sequencer = Sequencer(Envelope(self.id, "m", 0), None, lambda: 1.0)
        drafts = answer(*(deltas or ("Hel", "lo")))
        self.events = sequencer.sequence(drafts)
        self.stream = Stream()
        self.notices: list[str] = []  # what the mirror called: "cancelled", "taken over"

    @property
    def last(self) -> int:
        return self.events[-1].number

    def listener(self) -> MirrorListener:
        return MirrorListener(
            cancelled=lambda: self.notices.append("cancelled"),
            taken_over=lambda: self.notices.append("taken over"),
        )

    def append_until(self, until: int) -> None:
        """Append the events up to this number; the stream is closed after the last one."""
        count = len(self.stream.events)
        self.stream.append(self.events[count : until + 1])
        if until >= self.last:
            self.stream.close()


async def wait_until(condition: Callable[[], object]) -> None:
    """Let other tasks run until the condition is true; the limit only ends a test that fails."""
    async with asyncio.timeout(HANG_SECONDS):
        while not condition():  # noqa: ASYNC110 - no code here could set an event
            await asyncio.sleep(0)


async def let_others_run() -> None:
    """Let other tasks do all they can do now."""
    for _ in range(30):
        await asyncio.sleep(0)


def declared_gaps(log: Sequence[Event]) -> list[tuple[int, int]]:
    """The gaps that a log declares, as the numbers around them; fails for one it does not."""
    found, known = [], -1
    for event in log:
        if event.number != known + 1:
            gap = event.json()["gap"]
            assert gap["until"] == event.number > known >= gap["after"], (gap, known)
            found.append((gap["after"], gap["until"]))
        known = event.number
    return found
