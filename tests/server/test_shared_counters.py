"""One limit of one key as a process knows it: what it reports, what it may use, when it asks."""

from itertools import count

import pytest

from ws_bridge.server.shared_counters import (
    FRESH_SECONDS,
    MOST_AHEAD,
    LeasedCounter,
    SharedCounter,
    SlotCounter,
)
from ws_bridge.store.base import HELD_SECONDS, Tally

WINDOW = 60.0


class Time:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def now():
    return Time()


def made(kind, now, *more, most=100):
    counter = kind("l", "k", count(1), now, *more)
    counter.most = most
    return counter


def answered(counter, *, held=None, taken=0, free_after=0.0):
    """Report, and settle it with an answer; what was reported."""
    sent_at = counter._now()
    report = counter.report()
    counter.settle(report, Tally(report.held if held is None else held, taken, free_after), sent_at)
    return report


# What is used


def test_uses_of_one_slice_are_one_entry_and_are_as_late_as_its_end(now):
    """They count longer, never shorter."""
    counter = made(SharedCounter, now)
    for step in (0, 0.1, 0.1, 0.1, 10):
        now.now += step
        counter.use(2)
    report = counter.report()
    assert report.used == [
        (pytest.approx(10.05), 6),
        (pytest.approx(9.8), 2),
        (pytest.approx(0), 2),
    ]


def test_a_batch_is_reported_until_it_is_answered_under_one_number(now):
    counter = made(SharedCounter, now)
    counter.use(5)
    first = counter.report()
    counter.use(7)
    now.now += 3
    again = counter.report()
    assert (again.batch, [n for _, n in again.used]) == (first.batch, [5])
    assert again.used[0][0] >= 2.75
    assert again.number > first.number
    counter.settle(again, Tally(0, 5, 0.0), now.now)
    third = counter.report()
    assert third.batch > first.batch
    assert [n for _, n in third.used] == [7]


def test_what_is_not_reported_is_bounded(now):
    counter = made(SharedCounter, now)
    for _ in range(10_000):
        now.now += 0.1
        counter.use()
    assert len(counter.report().used) <= WINDOW / 0.25 + 1


def test_a_sum_is_known_for_a_second(now):
    counter = made(SharedCounter, now, most=10)
    assert not counter.fits()
    answered(counter, taken=9)
    assert counter.fits()
    counter.use(1)
    assert not counter.fits()
    answered(counter, taken=9)
    now.now += FRESH_SECONDS + 0.1
    assert not counter.fits()


def test_the_wait_passes_with_time(now):
    counter = made(SharedCounter, now, most=10)
    answered(counter, taken=12, free_after=30.0)
    now.now += 10
    assert counter.wait() == 20


def test_only_an_answer_to_a_later_report_decides(now):
    """One that was sent before the use came may be too old."""
    counter = made(SharedCounter, now, most=10)
    answered(counter, taken=10, free_after=5.0)
    assert not counter.is_short(since=0)
    assert counter.is_short(since=counter.last_number)
    answered(counter, taken=10, free_after=5.0)
    assert not counter.is_short(since=1)


def test_a_use_whose_place_another_has_taken_asks_again(now):
    """The answer was that some is free."""
    counter = made(LeasedCounter, now)
    counter.waiting = 1
    answered(counter, held=1, taken=90)
    counter.use()
    assert counter.is_short(since=0)


# What is held ahead


def test_a_twentieth_is_asked_for_ahead_and_less_of_a_small_or_a_large_limit(now):
    for most, ahead in ((19, 0), (39, 0), (40, 2), (100, 5), (100_000, MOST_AHEAD)):
        counter = made(LeasedCounter, now, most=most)
        counter.waiting = 3
        report = counter.report()
        assert (report.wanted, report.spare) == (3, ahead)


def test_what_was_given_is_used_and_asked_for_again_when_half_is_gone(now):
    counter = made(LeasedCounter, now)
    counter.waiting = 1
    answered(counter, held=6, taken=6)
    counter.waiting = 0
    for _ in range(6):
        assert counter.fits()
        counter.use()
        low = counter.is_low()
        assert low == (counter._left() <= 2)
    assert not counter.fits()


def test_what_is_used_while_a_report_is_under_way_stays_held(now):
    """In sum the store counts each one once: as held, or as used."""
    counter = made(LeasedCounter, now)
    counter.waiting = 1
    answered(counter, held=6)
    counter.waiting = 0
    counter.use()
    under_way = counter.report()
    assert (under_way.held, [n for _, n in under_way.used]) == (5, [1])
    counter.use(2)
    counter.settle(under_way, Tally(5, 6, 0.0), now.now)
    after = counter.report()
    assert (after.held, [n for _, n in after.used]) == (3, [2])


def test_uses_behind_a_lost_batch_count_as_held(now):
    counter = made(LeasedCounter, now)
    counter.waiting = 1
    answered(counter, held=6)
    counter.waiting = 0
    counter.use()
    counter.report()  # its answer is lost
    counter.use(2)
    again = counter.report()
    assert ([n for _, n in again.used], again.held) == ([1], 3 + 2)


def test_what_is_held_may_be_used_until_it_expires_as_of_the_sending(now):
    counter = made(LeasedCounter, now)
    counter.waiting = 1
    report = counter.report()
    counter.waiting = 0
    now.now += 5  # the answer was long in coming
    counter.settle(report, Tally(6, 6, 0.0), now.now - 5)
    now.now += HELD_SECONDS - 5.1
    assert counter.fits()
    now.now += 0.1
    assert not counter.fits()
    assert counter.report().held == 0


def test_what_is_not_used_for_a_report_is_given_back(now):
    counter = made(LeasedCounter, now)
    counter.waiting = 1
    answered(counter, held=6)
    counter.waiting = 0
    counter.use()
    assert answered(counter).held == 5
    assert counter.is_due()
    assert answered(counter).held == 0
    assert not counter.is_due()


# Slots


def test_slots_in_use_are_reported_whatever_was_given(now):
    used = [7]
    counter = made(SlotCounter, now, lambda _enough: used[0])
    assert answered(counter).held == 7
    used[0] = 9
    assert counter.is_due()
    assert answered(counter).held == 9
    used[0] = 2
    assert answered(counter).held == 2


def test_slots_are_renewed_in_time_and_not_more_often(now):
    counter = made(SlotCounter, now, lambda _enough: 3)
    answered(counter)
    assert not counter.is_due()
    now.now += HELD_SECONDS / 3 - 0.1
    assert not counter.is_due()
    now.now += 0.1
    assert counter.is_due()


def test_no_more_slots_than_a_lease_are_kept_ahead(now):
    """Many have ended: all but a few are given back, however busy the key is."""
    used = [50]
    counter = made(SlotCounter, now, lambda _enough: used[0])
    answered(counter)
    used[0] = 10
    counter.use()
    assert answered(counter).held == 15


def test_ended_ones_are_looked_for_only_if_there_seem_to_be_enough(now):
    asked = []
    counter = made(SlotCounter, now, lambda enough: asked.append(enough) or 3)
    counter.waiting = 1
    answered(counter, held=4)
    asked.clear()
    assert counter.fits()
    assert asked == [4]


def test_an_idle_counter_can_be_forgotten(now):
    for kind, more in ((SharedCounter, ()), (LeasedCounter, ()), (SlotCounter, (lambda _: 0,))):
        counter = made(kind, now, *more)
        counter.use()
        assert not counter.is_idle()
        answered(counter)
        assert not counter.is_idle()
        now.now += WINDOW + 0.1
        assert counter.is_idle()
