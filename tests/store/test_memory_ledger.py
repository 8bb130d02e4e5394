"""The ledger of one process: days, and those that are dropped. The contract has the rest."""

from ws_bridge.store.ledger import KEPT_DAYS, NANO_USD, Booking
from ws_bridge.store.memory_ledger import MemoryLedger

DAY = 86_400.0
NOON = 20_000.5 * DAY
ONE = Booking("key", "model", {"completed": 1, NANO_USD: 3})


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


def test_a_booking_counts_on_the_utc_day_on_which_it_is_made():
    ledger, clock = _new()
    ledger.add([ONE])
    clock.now += DAY
    ledger.add([ONE, ONE])
    days = [(one.day, one.counts["completed"]) for one in ledger.read(2, "key")]
    assert days == [("2024-10-04", 1), ("2024-10-05", 2)]
    assert ledger.spent(1, ["key"]) == {"key": {"2024-10-05": 6}}
    assert ledger.spent(2, ["key"]) == {"key": {"2024-10-04": 3, "2024-10-05": 6}}


def test_four_hundred_days_are_kept():
    ledger, clock = _new()
    ledger.add([ONE])
    clock.now += DAY * (KEPT_DAYS - 1)
    ledger.add([ONE])
    assert len(ledger.read(KEPT_DAYS, None)) == 2
    clock.now += DAY
    ledger.add([ONE])
    assert len(ledger.read(10 * KEPT_DAYS, None)) == 2


def _new() -> tuple[MemoryLedger, Clock]:
    clock = Clock()
    return MemoryLedger(clock), clock
