"""Retry: which failures are worth another attempt, and how long the pause before it is."""

import pytest

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.errors import (
    NO_SOCKET,
    TIMED_OUT,
    TOO_LARGE,
    DeadlineExceeded,
    NeverBegan,
    NotSent,
    ProviderRefused,
    TooLarge,
)
from ws_bridge.upstream.retry import (
    LONGEST_PAUSE,
    MAX_RETRY_WAIT,
    backoff,
    is_retryable,
    may_pass,
    next_pause,
)

BUSY = UpstreamError(status=503)
LIFE = 600.0


def asking(seconds):
    return UpstreamError(status=429, retry_after=seconds)


def pause(error=BUSY, attempt=0, *, allowed=20, remaining=LIFE, chance=0.5):
    return next_pause(error, attempt, allowed=allowed, remaining=remaining, jitter=lambda: chance)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (408, None, True),
        (409, None, True),
        (429, "rate_limit_exceeded", True),
        (429, "insufficient_quota", False),
        (500, None, True),
        (529, None, True),
        (400, None, False),
        (401, None, False),
        (404, None, False),
        (422, None, False),
    ],
)
def test_only_what_passes_by_itself_is_retried(status, code, expected):
    assert is_retryable(UpstreamError(status=status, code=code)) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DeadlineExceeded(TIMED_OUT), False),
        (TooLarge(TOO_LARGE), False),
        (NeverBegan(), True),
        (ProviderRefused(BUSY, 503), True),
        (ProviderRefused(UpstreamError(status=401), 401), False),
        (ProviderRefused(UpstreamError(status=404), 404), False),
        (ProviderRefused(UpstreamError(status=426), 426), False),
    ],
)
def test_what_the_next_attempt_would_meet_again_is_not_retried(error, expected):
    assert is_retryable(error) is expected


def test_another_target_may_do_what_this_one_will_not():
    """A spent quota, a limit of time or size and a missing socket are one target's."""
    spent = UpstreamError(status=429, code="insufficient_quota")
    refused = ProviderRefused(UpstreamError(NO_SOCKET, status=404), 404)
    for error in (spent, refused, DeadlineExceeded(TIMED_OUT), TooLarge(TOO_LARGE)):
        assert may_pass(error)
        assert not is_retryable(error)
    assert not may_pass(UpstreamError(status=400))


def test_what_was_never_sent_is_not_sent_elsewhere():
    assert not may_pass(NotSent())
    assert not is_retryable(NotSent())


def test_the_pause_is_random_up_to_a_limit_that_doubles():
    assert [pause(attempt=n, chance=1.0) for n in range(6)] == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
    assert [pause(attempt=n) for n in range(3)] == [0.25, 0.5, 1.0]
    assert pause(attempt=19, chance=0.0) == 0.0


def test_the_pause_is_what_the_provider_asks_for_unless_that_is_long():
    assert pause(asking(7.0), attempt=3) == 7.0
    assert pause(asking(0.0)) == 0.0
    assert pause(asking(MAX_RETRY_WAIT)) == MAX_RETRY_WAIT
    assert pause(asking(MAX_RETRY_WAIT + 0.5)) is None


def test_attempts_are_counted():
    assert [pause(attempt=n, allowed=2) is None for n in range(4)] == [False, False, True, True]
    assert pause(allowed=0) is None


def test_a_pause_ends_before_the_request_does():
    assert pause(asking(5.0), remaining=5.5) == 5.0
    assert pause(asking(5.0), remaining=5.0) is None
    assert pause(remaining=0.25) is None


def test_what_is_not_retryable_has_no_pause():
    assert pause(UpstreamError(status=400)) is None
    assert pause(DeadlineExceeded(TIMED_OUT)) is None


def test_a_backoff_has_an_end():
    assert [backoff(5.0, 60.0, n) for n in range(5)] == [5.0, 10.0, 20.0, 40.0, 60.0]
    assert backoff(0.5, LONGEST_PAUSE, 1000) == LONGEST_PAUSE
