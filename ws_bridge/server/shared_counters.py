"""One limit of one client key, as one process knows it that shares it with all others.

Three kinds: a rate of which a process holds some ahead (creates), a rate that is known only after
it was used (tokens), and slots (running responses, connections). Nothing here waits or calls.

Rule 1: what is used counts in the store until it leaves the window: first as held, then as used.
Rule 2: what is held may be used until ``HELD_SECONDS`` after the report was sent, by this process's
own clock, which is before the store frees it.
Rule 3: a batch of uses is reported until an answer comes, under one number.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace

from ws_bridge.store.base import HELD_SECONDS, Tally, UseReport
from ws_bridge.types import Now

WINDOW_SECONDS = 60.0
SLICE_SECONDS = 0.25  # uses are reported in slices of time, as the store counts them
SHARE = 20  # so many leases are a limit
MOST_AHEAD = 50  # of a lease
FREE_SHARE = 10  # the part of what is free that one process may hold ahead, as in count.lua
FRESH_SECONDS = 1.0  # so old may be what all have used


class SharedCounter:
    """What is common to the three kinds; alone it is a rate that is known after it was used."""

    window_seconds = WINDOW_SECONDS

    def __init__(self, limit: str, key: str, numbers: Iterator[int], now: Now) -> None:
        self.limit = limit
        self.key = key
        self.most = 0
        self.waiting = 0  # uses that wait for an answer
        self.call: asyncio.Task[None] | None = None  # under way
        self.last_number = 0  # of the reports
        self._answered = 0  # the number of the last report that was answered
        self._numbers = numbers
        self._now = now
        self._taken = 0  # by all, as of the last answer
        self._answered_at = self._free_at = self._valid_until = self._used_at = float("-inf")
        self._is_busy = False  # it was used since the last report
        self._used: dict[int, int] = {}  # by slice: since the last batch
        self._batch: dict[int, int] = {}  # reported, not answered
        self._batch_number = 0

    def is_short(self, since: int) -> bool:
        """Whether one more use has to wait: only an answer to a report after ``since`` knows.

        The answer that the limit is reached is one.
        """
        if self.fits():
            return False
        return self._answered <= since or self._taken < self.most

    def fits(self) -> bool:
        """Whether one more may be used now."""
        is_fresh = self._now() - self._answered_at <= FRESH_SECONDS
        return is_fresh and self._taken + self.unreported() < self.most

    def wait(self) -> float:
        """Seconds until one more fits; 0: it does now."""
        return 0.0 if self.fits() else max(1.0, self._free_at - self._now())

    def use(self, count: int = 1) -> None:
        """So many are used."""
        self._used_at = now = self._now()
        self._is_busy = True
        place = int(now / SLICE_SECONDS)
        self._used[place] = self._used.get(place, 0) + count
        while len(self._used) > WINDOW_SECONDS / SLICE_SECONDS + 1:  # they count no more
            del self._used[min(self._used)]

    def unreported(self) -> int:
        """What was used and is not known to be counted."""
        return sum(self._used.values()) + sum(self._batch.values())

    def is_due(self) -> bool:
        """Whether there is something to report."""
        return bool(self._used or self._batch)

    def is_idle(self) -> bool:
        """Whether it can be forgotten."""
        is_busy = self.call is not None or self.waiting or self.is_due()
        return not is_busy and self._now() - self._used_at > WINDOW_SECONDS

    def is_low(self) -> bool:
        """Whether more should be asked for before all of it is used."""
        return False

    def give_back(self) -> None:
        """Hold nothing ahead any more; the next report has it."""

    def report(self) -> UseReport:
        """What to report now; the batch that was not answered goes first."""
        self.last_number = next(self._numbers)
        if not self._batch and self._used:
            self._batch, self._used = self._used, {}
            self._batch_number = self.last_number
        now = self._now()
        ages = {max(now - (place + 1) * SLICE_SECONDS, 0): n for place, n in self._batch.items()}
        return UseReport(
            self.limit,
            self.key,
            self.most,
            self.window_seconds,
            number=self.last_number,
            batch=self._batch_number,
            used=list(ages.items()),
            held=self._held(),
            wanted=self._wanted(),
            spare=self._spare(),
        )

    def settle(self, report: UseReport, tally: Tally, sent_at: float) -> None:
        """Take the answer to a report that was sent then."""
        self._answered = report.number
        self._batch = {}
        self._taken = tally.taken
        self._answered_at = self._now()
        self._free_at = self._answered_at + tally.free_after
        self._valid_until = sent_at + HELD_SECONDS

    def _held(self) -> int:
        return 0

    def _wanted(self) -> int:
        return 0

    def _spare(self) -> int:
        return 0


class HeldCounter(SharedCounter, ABC):
    """A limit of which some is held ahead, so that most uses need no call."""

    def fits(self) -> bool:
        """See ``SharedCounter``."""
        return self._now() < self._valid_until and self._left() > 0

    def is_low(self) -> bool:
        """See ``SharedCounter``."""
        free = max(0, self.most - self._taken)
        ahead = min(_lease(self.most), free // FREE_SHARE)
        return ahead > 1 and 2 * self._left() <= ahead

    def report(self) -> UseReport:
        """See ``SharedCounter``: what is too much ahead is given back; if none was used, all."""
        is_busy = self._is_busy or self.waiting > 0
        is_valid = self._now() < self._valid_until
        self._keep(_lease(self.most) + self.waiting if is_busy and is_valid else 0)
        report = super().report()
        self._is_busy = False
        return report if is_busy else replace(report, spare=0)

    def give_back(self) -> None:
        """See ``SharedCounter``."""
        self._is_busy = False

    @abstractmethod
    def _left(self) -> int:
        """What is held and not in use."""

    @abstractmethod
    def _keep(self, ahead: int) -> None:
        """Hold at most so many beside those in use."""

    def _wanted(self) -> int:
        return max(0, self.waiting - self._left())

    def _spare(self) -> int:
        return max(0, _lease(self.most) - max(0, self._left() - self.waiting))


class LeasedCounter(HeldCounter):
    """A rate of which some is held ahead."""

    def __init__(self, limit: str, key: str, numbers: Iterator[int], now: Now) -> None:
        super().__init__(limit, key, numbers, now)
        self._unused = 0

    def use(self, count: int = 1) -> None:
        """See ``SharedCounter``."""
        super().use(count)
        self._unused = max(0, self._unused - count)

    def is_due(self) -> bool:
        """See ``SharedCounter``."""
        return super().is_due() or self._unused > 0

    def settle(self, report: UseReport, tally: Tally, sent_at: float) -> None:
        """See ``SharedCounter``."""
        super().settle(report, tally, sent_at)
        self._unused += max(0, tally.held - report.held)

    def _left(self) -> int:
        return self._unused

    def _keep(self, ahead: int) -> None:
        self._unused = min(self._unused, ahead)

    def _held(self) -> int:
        return self._unused + sum(self._used.values())  # those that are not in the batch


class SlotCounter(HeldCounter):
    """Slots: ``in_use`` has how many this process uses, and may be too high below its argument."""

    window_seconds = 0.0

    def __init__(
        self, limit: str, key: str, numbers: Iterator[int], now: Now, in_use: Callable[[int], int]
    ) -> None:
        super().__init__(limit, key, numbers, now)
        self._in_use = in_use
        self._slots = 0  # held, with those in use
        self._reported_at = float("-inf")

    def use(self, count: int = 1) -> None:  # noqa: ARG002 - `in_use` knows
        """See ``SharedCounter``."""
        self._is_busy = True
        self._used_at = self._now()

    def is_due(self) -> bool:
        """See ``SharedCounter``."""
        is_renewed = self._now() - self._reported_at < HELD_SECONDS / 3
        return self._in_use(0) != self._slots or (self._slots > 0 and not is_renewed)

    def report(self) -> UseReport:
        """See ``SharedCounter``."""
        self._reported_at = self._now()
        return super().report()

    def settle(self, report: UseReport, tally: Tally, sent_at: float) -> None:
        """See ``SharedCounter``."""
        super().settle(report, tally, sent_at)
        self._slots = tally.held

    def _left(self) -> int:
        return self._slots - self._in_use(self._slots)

    def _keep(self, ahead: int) -> None:
        in_use = self._in_use(0)
        self._slots = max(in_use, min(self._slots, in_use + ahead))

    def _held(self) -> int:
        return self._slots


def _lease(most: int) -> int:
    """How many of a limit a process may hold ahead; of a small one none: each use asks."""
    return min(most // SHARE, MOST_AHEAD) if most >= 2 * SHARE else 0
