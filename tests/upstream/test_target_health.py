"""Whom to ask next: those that are well, in turns; those that failed, last."""

import pytest

from ws_bridge.upstream.base import Target
from ws_bridge.upstream.target_health import REMEMBERED, TargetHealth

A, B, C = (Target("m", f"openai/{name}", f"http://{name}") for name in "abc")
FALLBACK = Target("f", "groq/f")


class Hand:
    """A board and the time it goes by."""

    def __init__(self):
        self.time = 1000.0
        self.health = TargetHealth(lambda: self.time)

    def order(self, *groups, **more):
        return self.health.order(groups or [(A, B, C), (FALLBACK,)], **more)

    def ask(self, target):
        self.health.acquire(target)
        self.health.release(target)

    def fail(self, target, retry_after=None):
        self.health.acquire(target)
        self.health.record_failure(target, retry_after)
        self.health.release(target)

    def rests(self, target):
        """Whether another one goes before it."""
        return self.order((target,), (FALLBACK,))[0] is not target


def test_those_of_one_name_are_asked_in_turns_and_fallbacks_after_them():
    hand = Hand()
    first = []
    for _ in range(6):
        order = hand.order()
        assert order[-1] is FALLBACK
        first.append(order[0])
        hand.ask(order[0])
    assert first == [A, B, C, A, B, C]


def test_the_one_with_the_least_to_do_goes_first():
    hand = Hand()
    hand.health.acquire(A)
    hand.health.acquire(B)
    hand.health.acquire(B)
    hand.health.acquire(C)
    hand.health.release(C)
    assert hand.order()[:3] == [C, A, B]
    hand.health.release(A)
    assert hand.order()[:3] == [A, C, B]


def test_the_maker_of_what_a_conversation_carries_goes_before_its_equals_only():
    hand = Hand()
    hand.health.acquire(B)
    assert hand.order(made_by=B.maker)[0] is B
    assert hand.order(made_by=FALLBACK.maker)[0] is not FALLBACK
    hand.fail(B)
    assert hand.order(made_by=B.maker) == [A, C, FALLBACK, B]


def test_a_rest_is_five_seconds_doubling_to_a_minute_and_forgotten_after_an_answer():
    hand = Hand()
    for seconds in (5, 10, 20, 40, 60, 60):
        hand.fail(A)
        hand.time += seconds - 0.5
        assert hand.rests(A)
        hand.time += 0.5
        assert not hand.rests(A)
    hand.health.acquire(A)
    hand.health.record_success(A)
    hand.fail(A)
    hand.time += 5
    assert not hand.rests(A)


@pytest.mark.parametrize("seconds", [0.5, 7, 3600])
def test_a_rest_that_was_asked_for_is_as_long_as_was_asked(seconds):
    hand = Hand()
    hand.fail(A, seconds)
    hand.health.acquire(A)
    hand.health.record_success(A)  # what was begun before
    hand.time += seconds - 0.25
    assert hand.rests(A)
    hand.time += 0.25
    assert not hand.rests(A)


def test_of_many_failures_at_once_one_counts():
    hand = Hand()
    for _ in range(20):
        hand.fail(A)
    hand.time += 5
    assert not hand.rests(A)


def test_those_that_rest_are_asked_when_nobody_else_is_left_the_soonest_ready_first():
    hand = Hand()
    hand.fail(A, 60)
    hand.fail(B, 30)
    hand.fail(FALLBACK, 20)
    assert hand.order() == [C, FALLBACK, B, A]


def test_no_more_is_remembered_than_the_bound_and_never_too_little():
    hand = Hand()
    hand.health.acquire(A)
    for number in range(REMEMBERED + 10):
        hand.ask(Target("m", f"openai/{number}"))
    hand.health.release(A)
    assert len(hand.health._states) <= REMEMBERED + 10
    hand.ask(B)
    assert len(hand.health._states) == REMEMBERED
