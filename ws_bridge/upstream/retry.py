"""Whether a failed request is made again, by whom and after which pause (pure).

Rule 1: a request is made again if its failure passes by itself: a lost connection, 408, 409, 429 or
5xx. It is not if the next try would meet the same end: a time limit, a size limit, a spent quota,
a provider without a WebSocket.
What failed before a byte of it went out fails at any other target too, and no provider is blamed.
Rule 2: the pause is what the provider asks for; else it is random up to a limit that doubles with
each attempt ("full jitter"), so that clients that failed together do not come back together.
Rule 3: a pause that the provider wants longer than `MAX_RETRY_WAIT`, or that outlives the request,
is not made: the failure is reported at once.
"""

from __future__ import annotations

from collections.abc import Callable

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.errors import DeadlineExceeded, NotSent, ProviderRefused, TooLarge

FIRST_PAUSE = 0.5  # seconds, doubled with each attempt
LONGEST_PAUSE = 8.0
MAX_RETRY_WAIT = 10.0
PASSING = frozenset({408, 409, 429})  # and 5xx

Jitter = Callable[[], float]  # uniform in [0, 1)


def may_pass(error: UpstreamError) -> bool:
    """Whether the failure is not the request's: another target may succeed with it."""
    return not isinstance(error, NotSent) and (error.status in PASSING or error.status >= 500)


def is_retryable(error: UpstreamError) -> bool:
    """Whether the same request may succeed at the same target in a moment."""
    if isinstance(error, DeadlineExceeded | TooLarge) or error.code == "insufficient_quota":
        return False
    if isinstance(error, ProviderRefused) and error.is_about_mode:
        return False
    return may_pass(error)


def next_pause(
    error: UpstreamError, attempt: int, *, allowed: int, remaining: float, jitter: Jitter
) -> float | None:
    """Seconds until the next attempt; None if there is none.

    ``attempt`` counts the failed attempts before this one, ``allowed`` the repetitions that the
    target has; ``remaining`` is what the request has left of its life, in seconds.
    """
    if attempt >= allowed or not is_retryable(error):
        return None
    if error.retry_after is None:
        pause = jitter() * backoff(FIRST_PAUSE, LONGEST_PAUSE, attempt)
    elif error.retry_after <= MAX_RETRY_WAIT:
        pause = error.retry_after
    else:
        return None
    return pause if pause < remaining else None


def backoff(first: float, longest: float, times: int) -> float:
    """Seconds: the first pause, doubled so many times, but never longer than the longest."""
    return min(longest, first * 2.0**times)
