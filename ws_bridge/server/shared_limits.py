"""Limits of client keys over all processes of a store: who asks it, when, and what if it is away.

Rule 1: most uses need no call: what is held ahead is used, and more is asked for beside. A use that
needs an answer waits for one round trip, and not for longer than a store may be silent.
Rule 2: without the store each process counts for itself, with the whole limit, and waits for
nothing. What was used meanwhile is reported when the store is back.
Rule 3: what is held is renewed by reports. Of a process that is lost, it comes back by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count

from ws_bridge.clock import Clock
from ws_bridge.errors import StoreUnavailable
from ws_bridge.jobs.store_timeout import wait_while_answering
from ws_bridge.server.shared_counters import LeasedCounter, SharedCounter, SlotCounter
from ws_bridge.store.base import Counters

log = logging.getLogger(__name__)

MOST_CALLS = 8  # that one use waits for: what an answer gives may go to others that wait
TICK_SECONDS = 1.0  # between two reports
CLOSE_SECONDS = 0.5  # for each of the last two calls
# The names under which limits are counted in the store; they never change.
CREATES, TOKENS = "creates_per_minute", "tokens_per_minute"
RUNNING, CONNECTIONS = "running", "connections"
# Of a limit and a key: how many slots this process uses. It may be too many, if that is less than
# the last argument.
InUse = Callable[[str, str, int], int]


class SharedLimits:
    """The limits of all keys, as one process shares them with the others of its store."""

    def __init__(self, counters: Counters, in_use: InUse, clock: Clock) -> None:
        self._counters = counters
        self._in_use = in_use
        self._clock = clock
        self._known: dict[tuple[str, str], SharedCounter] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._numbers = count(1)
        self.is_away = False  # the store: this process counts for itself

    async def prepare(self, key: str, limits: Mapping[str, int]) -> bool:
        """Return when it is known whether one more fits each of the key's limits.

        False: the store is away, and this process counts for itself. What is known then holds until
        the caller waits for anything else.
        """
        counters = [self._counter(limit, key) for limit in limits]
        for counter, most in zip(counters, limits.values(), strict=True):
            counter.most = most
        since = {counter: counter.last_number for counter in counters}
        for _ in range(MOST_CALLS):
            short = [one for one in counters if one.is_short(since[one])]
            if self.is_away or not short:
                break
            try:
                await wait_while_answering(lambda: 0, self._ask(short))
            except TimeoutError:
                self._set_away("no answer in time")
        return not self.is_away

    def wait(self, key: str, limit: str) -> float:
        """Seconds until one more fits, as ``prepare`` has found; 0: it does now."""
        return self._counter(limit, key).wait()

    def use(self, key: str, limit: str, amount: int = 1) -> None:
        """So many are used; of slots ``in_use`` knows how many."""
        counter = self._counter(limit, key)
        counter.use(amount)
        if counter.is_low() and counter.call is None and not self.is_away:
            self._send([counter])

    async def run(self) -> None:
        """Report what was used and renew what is held, until cancelled."""
        while True:
            await self._clock.sleep(TICK_SECONDS)
            await self.report()

    async def report(self) -> None:
        """Report once: all counters in one round trip."""
        for place, counter in list(self._known.items()):
            if counter.is_idle() and not self.is_away:
                del self._known[place]
        due = self._due()
        if self.is_away and not due:  # any one finds out whether it is back
            due = [one for one in self._known.values() if one.call is None][:1]
        if due:
            await self._send(due)

    async def close(self) -> None:
        """Report the last uses and give back all that is held, within a second."""
        for counter in self._known.values():
            counter.give_back()
        if self._calls:
            await asyncio.wait(self._calls, timeout=CLOSE_SECONDS)
        if due := self._due():
            await asyncio.wait([self._send(due)], timeout=CLOSE_SECONDS)
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    def _due(self) -> list[SharedCounter]:
        return [one for one in self._known.values() if one.call is None and one.is_due()]

    def _counter(self, limit: str, key: str) -> SharedCounter:
        counter = self._known.get((limit, key))
        if counter is None:
            counter = self._known[limit, key] = self._new_counter(limit, key)
        return counter

    def _new_counter(self, limit: str, key: str) -> SharedCounter:
        common = (limit, key, self._numbers, self._clock.monotonic)
        if limit in (RUNNING, CONNECTIONS):
            return SlotCounter(*common, partial(self._in_use, limit, key))
        return (LeasedCounter if limit == CREATES else SharedCounter)(*common)

    async def _ask(self, counters: Sequence[SharedCounter]) -> None:
        """Wait until a call of one of them is over; those that have none under way get one."""
        for counter in counters:
            counter.waiting += 1
        try:
            idle = [one for one in counters if one.call is None]
            if idle:
                self._send(idle)
            calls = {one.call for one in counters if one.call is not None}
            await asyncio.wait(calls)  # a caller that leaves does not end the call
        finally:
            for counter in counters:
                counter.waiting -= 1

    def _send(self, counters: Sequence[SharedCounter]) -> asyncio.Task[None]:
        call = asyncio.create_task(self._call(counters))
        for counter in counters:
            counter.call = call
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return call

    async def _call(self, counters: Sequence[SharedCounter]) -> None:
        sent_at = self._clock.monotonic()
        try:
            reports = [counter.report() for counter in counters]
            tallies = await self._counters.count(reports)
        except StoreUnavailable:
            self._set_away("the store is away")
        except Exception:  # the edge of the task: a bug of ours has the same effect
            log.exception("limits_crashed")
            self._set_away("a bug")
        else:
            for counter, report, tally in zip(counters, reports, tallies, strict=True):
                counter.settle(report, tally, sent_at)
            if self.is_away:
                self.is_away = False
                log.info("limits_shared")
        finally:
            for counter in counters:
                counter.call = None

    def _set_away(self, reason: str) -> None:
        if not self.is_away:
            self.is_away = True
            log.warning("limits_local reason=%s", reason)
