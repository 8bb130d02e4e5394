"""The ledger in Redis: what responses used, booked with their ends and summed over partitions.

Rule 1: a booking is made in the partition of its response, by the script that writes the end. So a
day has a part in each partition; a reader sums them, some partitions in a round trip.
Rule 2: a day that is over for a whole day has a sum in one key, which counts in place of its parts.
Every server makes these sums; the first one's stays.
Rule 3: the sum of a day is written before its parts are dropped, and read after them: whoever reads
both in this order misses nothing.
Rule 4: names of keys and models, and all figures, stand in clear: scripts add to them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import orjson
from redis.exceptions import ResponseError

from ws_bridge.errors import StoreUnavailable
from ws_bridge.store.base import Write
from ws_bridge.store.ledger import (
    KEPT_DAYS,
    NANO_USD,
    Booking,
    DayUsage,
    day_of,
    days_until,
    number_of,
    ordered,
)
from ws_bridge.store.redis.keys import (
    PARTITIONS,
    PREFIX,
    booked_key,
    day_sum_key,
    partition_of,
    spent_key,
    usage_key,
)
from ws_bridge.store.redis.scripts import BOOK, KEEP, SETTLE, TALLY, ScriptCall, Scripts

log = logging.getLogger(__name__)

FIRST_DAY_KEY = f"{PREFIX}:ledger"  # the day on which the ledger began: none before it is read
KEPT_MS = (KEPT_DAYS + 1) * 86_400_000
NUMBER_MS = 7 * 86_400_000  # a worker's last number is kept: longer than a booking is tried
OPEN_DAYS = 2  # today and the day before have parts only
CALLS = 128  # of a round trip
HASHES = 64  # of a call
PAUSE_SECONDS = 1.0  # while it is not known when the ledger began
SETTLE_SECONDS = 3600.0  # after the start, and then again and again

T = TypeVar("T")
Parts = dict[tuple[str, str, str], Counter[str]]  # day, key's name, model


def booking_of(write: Write, day: str) -> tuple[tuple[str, ...], tuple[str | int, ...]]:
    """The keys and arguments of the append script for the booking of a write; none without one."""
    booking = write.final_booking
    if booking is None:
        return (), ()
    partition = partition_of(write.lease.id)
    keys = usage_key(partition, day, booking.key), spent_key(partition, day)
    return keys, (KEPT_MS, booking.key, booking.nano_usd, *_fields(booking))


class RedisLedger:
    """The ledger of one store. Every method but ``run`` may raise ``StoreUnavailable``."""

    def __init__(self, scripts: Scripts, worker: str, wall: Callable[[], float]) -> None:
        self._scripts = scripts
        self._worker = worker
        self._wall = wall
        self._first_day = ""  # on which the ledger began

    async def book(self, number: int, bookings: Sequence[Booking]) -> None:
        """See ``Store``; bookings of a worker stand in its own partition."""
        partition, day = partition_of(self._worker), day_of(self._wall())
        keys = [usage_key(partition, day, one.key) for one in bookings]
        arguments: list[str | int] = []
        for one in bookings:
            fields = _fields(one)
            arguments += (one.key, one.nano_usd, len(fields) // 2, *fields)
        await self._scripts.call(
            BOOK,
            (booked_key(self._worker), spent_key(partition, day), *keys),
            *(number, KEPT_MS, NUMBER_MS, *arguments),
        )

    async def read_usage(self, days: int, key: str | None) -> list[DayUsage]:
        """See ``Store``."""
        wanted = await self._days(days)
        is_wanted = None if key is None else (key,)
        sums = await self._read_sums(wanted, is_wanted)
        while missing := [day for day in wanted if day not in sums]:
            parts = await self._read_parts(missing, key)
            late = await self._read_sums(missing[:-OPEN_DAYS], is_wanted)
            if not late:
                return ordered([*_usage(parts), *(one for day in sums.values() for one in day)])
            sums |= late  # summed meanwhile: its parts may have been dropped while they were read
        return ordered(one for day in sums.values() for one in day)

    async def read_spent(self, days: int, keys: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
        """See ``Store``."""
        spent: dict[str, Counter[str]] = {key: Counter() for key in keys}
        if not keys:
            return spent
        wanted = await self._days(days)
        sums = await self._read_sums(wanted, keys)
        missing = [day for day in wanted if day not in sums]
        parts = [[spent_key(partition, day) for day in missing] for partition in range(PARTITIONS)]
        for found in await self._tally(parts, keys):
            for day, values in zip(missing, found, strict=True):
                for key, value in zip(keys, values, strict=True):
                    spent[key][day] += int(value or 0)
        for usage in sums.values():
            for one in usage:
                spent[one.key][one.day] += one.counts.get(NANO_USD, 0)
        return spent

    async def run(self) -> None:
        """Sum the days that are over now and then, until cancelled."""
        while True:
            await asyncio.sleep(SETTLE_SECONDS if self._first_day else PAUSE_SECONDS)
            with contextlib.suppress(StoreUnavailable):
                await (self.settle() if self._first_day else self.begin())

    async def begin(self) -> None:
        """Learn the first day of the ledger: that before the day on which a server first asked."""
        began = days_until(day_of(self._wall()), OPEN_DAYS)[0]
        kept = await self._scripts.call(KEEP, (FIRST_DAY_KEY,), began, KEPT_MS, "")
        self._first_day = bytes(kept).decode(errors="replace")

    async def settle(self) -> None:
        """Sum every day that is over for a whole day, and drop its parts."""
        await self.begin()  # the key that says when is to live on
        over = (await self._days(KEPT_DAYS))[:-OPEN_DAYS]
        sums = await self._read_sums(over, ("",))
        for day in over:
            if day not in sums:
                await self._settle(day)

    async def _settle(self, day: str) -> None:
        names: dict[str, dict[str, Counter[str]]] = {}
        for (_, key, model), counts in (await self._read_parts([day], None)).items():
            names.setdefault(key, {})[model] = counts
        values = [part for key, models in names.items() for part in (key, orjson.dumps(models))]
        arguments = (KEPT_MS, number_of(day), *values)
        if await self._scripts.call(SETTLE, (day_sum_key(day),), *arguments):
            log.info("usage_summed day=%s keys=%d", day, len(names))
            for partition in range(PARTITIONS):
                parts = [usage_key(partition, day, key) for key in names]
                for some in _batches((spent_key(partition, day), *parts), HASHES):
                    await self._scripts.call(SETTLE, some)

    async def _days(self, count: int) -> list[str]:
        """The last so many days, but none before the ledger began."""
        if not self._first_day:
            await self.begin()
        days = days_until(day_of(self._wall()), max(1, min(count, KEPT_DAYS)))
        return [day for day in days if day >= self._first_day or day in days[-OPEN_DAYS:]]

    async def _read_sums(
        self, days: Sequence[str], keys: Sequence[str] | None
    ) -> dict[str, list[DayUsage]]:
        """The sums of those days that have one: of these keys' names, or of all."""
        fields = () if keys is None else ("", *keys)
        hashes = [[day_sum_key(day)] for day in days]
        sums: dict[str, list[DayUsage]] = {}
        for day, [values] in zip(days, await self._tally(hashes, fields), strict=True):
            found = dict(zip(fields, values, strict=True)) if fields else _pairs(values)
            if found.get("") is not None:
                named = ((key, text) for key, text in found.items() if key and text)
                sums[day] = [one for key, text in named for one in _decode(day, key, text)]
        return sums

    async def _read_parts(self, days: Sequence[str], key: str | None) -> Parts:
        """What the partitions have of these days: of one key's name, or of all."""
        partitions = range(PARTITIONS)
        names: list[list[tuple[str, str]]] = [[(day, key or "") for day in days]] * PARTITIONS
        if key is None:
            indexes = [[spent_key(partition, day) for day in days] for partition in partitions]
            names = [
                [(day, name) for day, one in zip(days, found, strict=True) for name in _pairs(one)]
                for found in await self._tally(indexes)
            ]
        parts: Parts = {}
        hashes = [[usage_key(n, day, name) for day, name in names[n]] for n in partitions]
        for given, found in zip(names, await self._tally(hashes), strict=True):
            for (day, name), values in zip(given, found, strict=True):
                for field, count in _pairs(values).items():
                    counter, _, model = field.partition(" ")
                    sums = parts.setdefault((day, name, model), Counter())
                    sums[counter] += int(count)
        return parts

    async def _tally(
        self, hashes: Sequence[Sequence[str]], fields: Sequence[str] = ()
    ) -> list[list[Any]]:
        """What each hash has, of each group; a group's hashes are of one partition."""
        found: list[list[Any]] = [[] for _ in hashes]
        calls = [
            (group, ScriptCall(TALLY, some, fields))
            for group, keys in enumerate(hashes)
            for some in _batches(keys, HASHES)
        ]
        for some_calls in _batches(calls, CALLS):
            answers = await self._scripts.call_all([call for _, call in some_calls])
            for (group, _), answer in zip(some_calls, answers, strict=True):
                if isinstance(answer, ResponseError):
                    log.error("usage_refused reason=%s", answer)
                    raise StoreUnavailable
                found[group] += answer
        return found


def _batches(values: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    return (values[start : start + most] for start in range(0, len(values), most))


def _fields(booking: Booking) -> tuple[str | int, ...]:
    """The fields of a day's usage that a booking adds to, each with how much."""
    counts = booking.counts.items()
    return tuple(part for name, count in counts for part in (f"{name} {booking.model}", count))


def _pairs(values: Sequence[bytes]) -> dict[str, bytes]:
    """All fields of a hash, as HGETALL tells them."""
    return {
        field.decode(errors="replace"): value
        for field, value in zip(values[::2], values[1::2], strict=True)
    }


def _decode(day: str, key: str, text: bytes) -> Iterator[DayUsage]:
    for model, counts in orjson.loads(text).items():
        yield DayUsage(day, key, model, counts)


def _usage(parts: Parts) -> Iterable[DayUsage]:
    return (DayUsage(day, key, model, counts) for (day, key, model), counts in parts.items())
