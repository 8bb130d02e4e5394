"""The seam of the ledger: what responses used, by the key's name, the model and the UTC day.

Rule 1: all figures are integers, cost too, in billionths of a USD: sums are exact in any order.
Rule 2: a booking counts on the day on which the store takes it.
Rule 3: a counter's name is stored. None is ever renamed; new ones may come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

KEPT_DAYS = 400  # today included
NANO_USD = "nano_usd"
# A response counts under its terminal status. Cached tokens are input, reasoning is output.
OUTCOMES = ("completed", "incomplete", "failed", "cancelled")
TOKEN_COUNTERS = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
COUNTERS = (*OUTCOMES, *TOKEN_COUNTERS, NANO_USD)
# Of one booking: what a broken provider tells must not bring a sum near the end of 64 bits.
MOST = 10**13

Counts = Mapping[str, int]  # by counter; those of 0 may be missing


@dataclass(frozen=True, slots=True)
class Booking:
    """What one response used, or several of one key's name and model."""

    key: str  # the name of the client's key
    model: str  # the entry of the model table, with the `*` as it is written there
    counts: Counts

    @property
    def nano_usd(self) -> int:
        """What it cost, in billionths of a USD."""
        return self.counts.get(NANO_USD, 0)


@dataclass(frozen=True, slots=True)
class DayUsage:
    """What was booked on one UTC day, of one key's name and one model."""

    day: str  # "2026-12-01"
    key: str
    model: str
    counts: Counts


def bounded(counts: Counts) -> Counts:
    """The counts without those of 0, each at most ``MOST``."""
    return {name: int(min(count, MOST)) for name, count in counts.items() if count > 0}


def joined(bookings: Iterable[Booking]) -> list[Booking]:
    """The same, with one booking for each key's name and model."""
    sums: dict[tuple[str, str], Counter[str]] = {}
    for one in bookings:
        sums.setdefault((one.key, one.model), Counter()).update(one.counts)
    return [Booking(key, model, dict(counts)) for (key, model), counts in sums.items()]


def day_of(seconds: float) -> str:
    """The UTC day of a time since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def days_until(day: str, count: int) -> list[str]:
    """So many days, of which this is the last, the earliest first."""
    last = date.fromisoformat(day)
    return [(last - timedelta(back)).isoformat() for back in reversed(range(count))]


def number_of(day: str) -> int:
    """Days since the epoch."""
    return (date.fromisoformat(day) - date(1970, 1, 1)).days


def ordered(usage: Iterable[DayUsage]) -> list[DayUsage]:
    """By day, key and model."""
    return sorted(usage, key=lambda one: (one.day, one.key, one.model))
