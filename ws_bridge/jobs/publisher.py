"""One response's events on their way to everybody: to the store first where that matters.

Rule 1: the store knows the response before anyone is told its id, and its end before anyone hears
it; only a store that is away is not waited for (``mirror``).
Rule 2: events are told in the order of their numbers, whoever says them.
Rule 3: where the lease may have run out, as after a standstill, the store is asked first, so that
nothing is told under numbers that another server has given out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ws_bridge.clock import Clock
from ws_bridge.errors import ResponseTakenOver
from ws_bridge.jobs.backlog import MirrorListener
from ws_bridge.jobs.mirror import Mirror
from ws_bridge.protocol.events import Event
from ws_bridge.protocol.reducer import Reducer
from ws_bridge.protocol.sequencer import Sequencer, end_for
from ws_bridge.store.base import Claim, Record
from ws_bridge.stream import Stream
from ws_bridge.types import Json


class Publisher:
    """The way of one response's events. Without a mirror nothing is stored.

    ``record`` is what is known of the response by now; ``finish`` is given the final object before
    anybody hears the end.
    """

    def __init__(
        self,
        sequencer: Sequencer,
        *,
        record: Callable[[], Record],
        mirror: Mirror | None,
        listener: MirrorListener,
        finish: Callable[[Json], Awaitable[None]],
        clock: Clock,
    ) -> None:
        self.stream = Stream()
        self.first: float | None = None  # when the first event was told; monotonic, seconds
        self.last = clock.monotonic()  # when the last one was, or when all began
        self._sequencer = sequencer
        self._id = record().id
        self._record = record
        self._finish = finish
        self._mirror = mirror
        self._listener = listener
        self._clock = clock
        self._reducer = Reducer()
        self._lock = asyncio.Lock()
        self._untold: list[Event] = []
        self._is_recorded = mirror is None

    def adopt(self, claim: Claim) -> None:
        """Go on with a log that another server has begun."""
        self.stream.append(claim.events)
        self._is_recorded = True
        if self._mirror is not None:
            self._mirror.adopt(claim.record, claim.lease, self.stream, self._listener)

    def let_go(self) -> None:
        """All is told: nobody has to be called any more, and whoever made this can be freed."""
        record = self._record()
        self._record = lambda: record
        self._listener = MirrorListener(cancelled=ignore, taken_over=ignore)
        self._finish = nothing_more

    def fold(self) -> Reducer:
        """All that was told, folded."""
        return self._reducer.fold(self.stream.after(self._reducer.number))

    def say(self, events: list[Event]) -> None:
        """Tell what is not the end: at once, or right after what is waited for."""
        self._untold += events
        if self._is_recorded and not self._is_in_doubt():
            self._append_untold()

    def tell_now(self, events: list[Event]) -> bool:
        """Tell events that nobody has to wait for, as nearly all are; False if these are others."""
        is_plain = self._is_recorded and not self._untold and not self._sequencer.is_ended
        if not is_plain or self._is_in_doubt():
            return False
        self._append(events)
        return True

    async def tell(self, events: list[Event]) -> None:
        """Tell events; of the first ones the store knows before, and of the end.

        Raises ``BridgeError`` if the response cannot begin.
        """
        if (not events and self._is_recorded) or self.tell_now(events):
            return
        self._untold += events
        if self._is_recorded and not self._sequencer.is_ended and not self._is_in_doubt():
            self._append_untold()
            return
        async with self._lock:
            is_new = await self._begin()  # what the store was created with may be told in any case
            if is_new or await self._is_ours():
                self._append_untold()
            await self._end()
        if self._sequencer.is_ended:
            self.stream.close()

    def _is_in_doubt(self) -> bool:
        return self._mirror is not None and self._mirror.lease_may_have_expired(self._id)

    async def _is_ours(self) -> bool:
        """Whether what is not the end may be told: not once another server has the response."""
        if self._mirror is None:
            return True
        if self._is_in_doubt():
            await self._mirror.confirm_lease(self._id)
        return self._mirror.tracks(self._id)

    async def _end(self) -> None:
        """Tell the terminal event, if it was said and is not told yet."""
        if not self._untold or not self._untold[-1].is_terminal:
            return
        is_so = True
        if self._mirror is not None:
            is_so = await self._mirror.append_end(self._record().id, self._untold)
            self._untold = self._untold if is_so else [self._taken_over()]
        if self._sequencer.result is not None and is_so:
            await self._finish(self._sequencer.result)
        self._append(self._untold)
        self._untold = []

    async def _begin(self) -> bool:
        """Let the store know the response; False if it does already."""
        if self._is_recorded:
            return False
        if self._mirror is not None:
            opening = [event for event in self._untold if not event.is_terminal]
            record = self._record()
            await self._mirror.create(record, opening, self.stream, self._listener)
            self._mirror.remember(record.id, record=self._record())  # as it is by now
        self._is_recorded = True
        return True

    def _append_untold(self) -> None:
        """Tell what need not wait: all but the terminal event."""
        ending = [event for event in self._untold[-1:] if event.is_terminal]
        told = self._untold[: len(self._untold) - len(ending)]
        self._untold = ending
        self._append(told)

    def _append(self, events: list[Event]) -> None:
        if not events:
            return
        self.last = self._clock.monotonic()
        if self.first is None:
            self.first = self.last
        self.stream.append(events)
        if self._mirror is not None:
            self._mirror.notify_appended(self._id)

    def _taken_over(self) -> Event:
        """In the place of an end that the store did not take: it has another one."""
        last = end_for(self._record().id, self.stream.events, ResponseTakenOver())
        self._sequencer.result = last.json()["response"]
        return last


def ignore() -> None:
    """Nothing is left to be called."""


async def nothing_more(_result: Json) -> None:
    """What is to be done with the final object of a response that is over."""
