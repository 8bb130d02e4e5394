"""The ledger of one process, which is lost with it. It knows nothing of responses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from ws_bridge.store.ledger import (
    KEPT_DAYS,
    NANO_USD,
    Booking,
    DayUsage,
    day_of,
    days_until,
    ordered,
)


class MemoryLedger:
    """``now`` is in seconds since the epoch. The days before the last ``KEPT_DAYS`` are dropped."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._days: dict[str, dict[tuple[str, str], Counter[str]]] = {}
        self._last_number = 0

    def add(self, bookings: Iterable[Booking]) -> None:
        """Book on this day."""
        today = day_of(self._now())
        if today not in self._days:
            kept = set(days_until(today, KEPT_DAYS))
            self._days = {day: known for day, known in self._days.items() if day in kept}
        sums = self._days.setdefault(today, {})
        for one in bookings:
            sums.setdefault((one.key, one.model), Counter()).update(one.counts)

    def book(self, number: int, bookings: Sequence[Booking]) -> None:
        """See ``Store``."""
        if number > self._last_number:
            self._last_number = number
            self.add(bookings)

    def read(self, days: int, key: str | None) -> list[DayUsage]:
        """See ``Store.read_usage``."""
        return ordered(one for one in self._usage(days) if key in (None, one.key))

    def spent(self, days: int, keys: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
        """See ``Store.read_spent``."""
        spent: dict[str, Counter[str]] = {key: Counter() for key in keys}
        for one in self._usage(days):
            if one.key in spent:
                spent[one.key][one.day] += one.counts.get(NANO_USD, 0)
        return spent

    def _usage(self, days: int) -> Iterator[DayUsage]:
        for day in days_until(day_of(self._now()), days):
            for (key, model), counts in self._days.get(day, {}).items():
                yield DayUsage(day, key, model, dict(counts))
