"""Bookings as values: their bounds, their sums, and days as text."""

from ws_bridge.store.ledger import MOST, Booking, bounded, day_of, days_until, joined, number_of


def test_a_count_is_bounded_and_none_is_no_count():
    assert bounded({"completed": 1, "failed": 0, "input_tokens": 2**63}) == {
        "completed": 1,
        "input_tokens": MOST,
    }


def test_bookings_of_one_name_and_model_are_one():
    given = [Booking("k", "m", {"completed": 1}), Booking("k", "n", {"failed": 1})]
    given += [Booking("k", "m", {"completed": 2, "input_tokens": 3}), Booking("l", "m", {})]
    assert joined(given) == [
        Booking("k", "m", {"completed": 3, "input_tokens": 3}),
        Booking("k", "n", {"failed": 1}),
        Booking("l", "m", {}),
    ]


def test_days_are_utc_and_cross_years():
    assert day_of(0) == "1970-01-01"
    assert day_of(86_399.9) == "1970-01-01"
    assert number_of(day_of(20_000 * 86_400.0)) == 20_000
    assert days_until("2024-03-01", 2) == ["2024-02-29", "2024-03-01"]
    assert days_until("2026-01-01", 2) == ["2025-12-31", "2026-01-01"]
