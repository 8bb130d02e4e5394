"""What every store promises of its ledger; ``contract`` has it with all the rest.

Names are random: no test looks at what another has booked.
"""

import asyncio
import secrets
from collections import Counter
from dataclasses import replace
from typing import Any

from ws_bridge.protocol.events import Event
from ws_bridge.protocol.sequencer import end_for
from ws_bridge.store.base import Lease, Record, Store, Verdict, Write
from ws_bridge.store.ledger import KEPT_DAYS, NANO_USD, Booking, DayUsage


def key_name() -> str:
    """A name with all that an operator may put into one."""
    return f"team {secrets.token_hex(6)} [ä]{{x}}"


def booking(key: str, model: str = "gpt-*", **counts: int) -> Booking:
    usual = {"completed": 1, "input_tokens": 7, "output_tokens": 5, NANO_USD: 12_345}
    return Booking(key, model, counts or usual)


def ended(kept: Record) -> list[Event]:
    return [end_for(kept.id, [], None)]


def of_record() -> Record:
    return Record("resp_" + secrets.token_hex(24), "alice", (), "openai|")


async def end(store: Store, *bookings: Booking, **fields: Any) -> list[Write]:
    """A stored response for each booking, which ends with it."""
    writes = []
    for one in bookings:
        kept = of_record()
        await store.create(kept)
        writes.append(Write(Lease(kept.id, 1), ended(kept), booking=one, **fields))
    receipts = await store.append(writes)
    assert {receipt.verdict for receipt in receipts} == {Verdict.APPENDED}
    return writes


async def counts(store: Store, key: str) -> dict[str, dict[str, int]]:
    """What a name used, by model."""
    found: dict[str, Counter[str]] = {}
    for one in await store.read_usage(KEPT_DAYS, key):
        assert one.key == key
        found.setdefault(one.model, Counter()).update(one.counts)
    return {model: dict(sums) for model, sums in found.items()}


class LedgerContract:
    """Collected in subclasses only."""

    async def test_what_an_end_used_is_booked_with_it(self, store: Store):
        key = key_name()
        await end(store, booking(key), booking(key), booking(key, "my model", failed=1))
        twice = {name: 2 * count for name, count in booking(key).counts.items()}
        assert await counts(store, key) == {"gpt-*": twice, "my model": {"failed": 1}}

    async def test_the_sum_is_that_of_many_responses_to_the_last_billionth(self, store: Store):
        key, other = key_name(), key_name()
        numbers = [secrets.randbelow(2**40) for _ in range(60)]
        await asyncio.gather(*(end(store, booking(key, completed=1, nano_usd=n)) for n in numbers))
        await end(store, booking(other))
        assert await counts(store, key) == {"gpt-*": {"completed": 60, NANO_USD: sum(numbers)}}
        spent = await store.read_spent(1, [key, other, key_name()])
        assert [sum(days.values()) for days in spent.values()] == [sum(numbers), 12_345, 0]

    async def test_an_end_that_is_written_again_is_booked_once(self, store: Store):
        key = key_name()
        [write] = await end(store, booking(key))
        [receipt] = await store.append([write])
        assert receipt.verdict is Verdict.DUPLICATE
        assert await counts(store, key) == {"gpt-*": dict(booking(key).counts)}

    async def test_only_the_end_that_counts_is_booked(self, store: Store):
        """Of two writers the fenced one, and of two ends the later one, change nothing."""
        loser, winner = key_name(), key_name()
        [write] = await end(store, booking(winner))
        end_event = write.events[0]
        later = [Event(end_event.type, end_event.number + 1, end_event.text)]
        for lost in (replace(write, events=later), replace(write, lease=Lease(write.lease.id, 0))):
            await store.append([replace(lost, booking=booking(loser))])
        assert await counts(store, loser) == {}
        assert await counts(store, winner) == {"gpt-*": dict(booking(winner).counts)}

    async def test_a_write_before_the_end_books_nothing(self, store: Store):
        key, kept = key_name(), of_record()
        await store.create(kept)
        await store.append([Write(Lease(kept.id, 1), booking=booking(key))])
        assert await counts(store, key) == {}

    async def test_what_is_not_stored_is_booked_once_by_its_number(self, store: Store):
        key, other = key_name(), key_name()
        first = [booking(key), booking(key, "b", completed=2), booking(other)]
        await store.book(1, first)
        await store.book(1, first)
        await store.book(2, [booking(key, completed=1)])
        assert await counts(store, key) == {
            "gpt-*": {**booking(key).counts, "completed": 2},
            "b": {"completed": 2},
        }
        assert await counts(store, other) == {"gpt-*": dict(booking(other).counts)}

    async def test_all_names_are_read_at_once_and_one_alone(self, store: Store):
        key, other = sorted((key_name(), key_name()))
        await end(store, booking(key), booking(other))
        every = [one for one in await store.read_usage(1) if one.key in (key, other)]
        day = every[0].day
        model, used = "gpt-*", dict(booking(key).counts)
        assert every == [DayUsage(day, key, model, used), DayUsage(day, other, model, used)]
        assert await store.read_usage(1, key) == every[:1]
        assert await store.read_usage(1, key_name()) == []
