"""A poll that waits: `GET /v1/responses/{id}?wait=20&after=N` (docs/protocol.md §7.4).

Rule 1: it answers when the response has an event with a number above ``after``, has ended or is
gone, when the time is over, or when the server drains. What is answered is the caller's to read.
Rule 2: it reads the store and counts as a follower; a client that leaves ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from aiohttp import web

from ws_bridge.clock import Clock
from ws_bridge.errors import InvalidRequest
from ws_bridge.pacing import first_of
from ws_bridge.server.http.json import integer
from ws_bridge.store.base import Snapshot, Store

MOST_SECONDS = 60  # proxies give up on an answer after one to two minutes
NUMBER_HEADER = "x-sequence-number"  # of the last event in the snapshot that is answered


@dataclass(frozen=True, slots=True)
class PollQuery:
    """How long a poll waits, and for what."""

    wait: int  # seconds; 0: it is answered at once
    after: int  # the number of the last event that the client has; -1: none

    @classmethod
    def of(cls, request: web.Request) -> PollQuery:
        """Raises ``InvalidRequest`` for a bad query."""
        wait = integer(request, "wait", default=0)
        if not 0 <= wait <= MOST_SECONDS:
            raise InvalidRequest(f"'wait' must be between 0 and {MOST_SECONDS}.", param="wait")
        return cls(wait, integer(request, "after", default=-1))

    def is_answered_by(self, snapshot: Snapshot) -> bool:
        """Whether there is nothing to wait for."""
        return not self.wait or snapshot.is_terminal or snapshot.number > self.after


class LongPolls:
    """The polls that wait in this process."""

    def __init__(self, store: Store, drained: asyncio.Event, clock: Clock) -> None:
        self._store = store
        self._drained = drained  # set: all are answered, and later ones at once
        self._clock = clock

    async def wait(self, query: PollQuery, snapshot: Snapshot) -> None:
        """Return when the poll is to be answered. Raises ``StoreUnavailable``."""
        sleep = self._clock.sleep(query.wait)
        await first_of(self._newer(query, snapshot), sleep, self._drained.wait())

    async def _newer(self, query: PollQuery, snapshot: Snapshot) -> None:
        """Return when the response has a newer event, or no event comes any more."""
        record = snapshot.record
        batches = self._store.read(record.id, record.owner, after=query.after)
        async with contextlib.aclosing(batches):  # type: ignore[type-var]
            await anext(batches, None)
