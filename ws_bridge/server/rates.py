"""How much each name has had in the last 60 seconds: creates, refusals, tokens.

A minute is any 60 seconds: a sliding window, so that the wait until more fits is true.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict, deque

from ws_bridge.types import Now

WINDOW_SECONDS = 60.0
# So many names are kept; of more the longest idle are forgotten. A full table of addresses is some
# 9 MB; a client with more addresses than that is not stopped by a limit for each.
MOST_NAMES = 10_000


class Rate:
    """So many in any 60 seconds, for each name; exact."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self._times: OrderedDict[str, array[float]] = OrderedDict()  # the longest idle one first

    def __len__(self) -> int:
        """How many names are remembered."""
        return len(self._times)

    def wait(self, name: str, most: int) -> float:
        """Seconds until one more fits; 0: it does now."""
        times = self._times.get(name)
        if times is None or not 0 < most <= len(times):
            return 0.0
        return max(0.0, times[-most] + WINDOW_SECONDS - self._now())

    def count(self, name: str, most: int) -> None:
        """One more has come."""
        if not most:
            return
        times = self._times.setdefault(name, array("d"))
        times.append(self._now())
        del times[:-most]  # only the last so many can be in the way of the next
        self._times.move_to_end(name)
        self._forget()

    def _forget(self) -> None:
        """Drop the names that can no longer wait, and the longest idle ones of too many."""
        over = self._now() - WINDOW_SECONDS
        while len(self._times) > MOST_NAMES or next(iter(self._times.values()))[-1] <= over:
            self._times.popitem(last=False)


class TokenRate:
    """So many tokens in any 60 seconds, for each name; counted when they have been used.

    Those of one second count as used when its last ones were.
    """

    def __init__(self, now: Now) -> None:
        self._now = now
        self._used: OrderedDict[str, deque[tuple[float, int]]] = OrderedDict()

    def __len__(self) -> int:
        """How many names are remembered."""
        return len(self._used)

    def wait(self, name: str, most: int) -> float:
        """Seconds until fewer than ``most`` were used in it; 0: fewer were. Without a limit, 0."""
        steps = self._used.get(name)
        if steps is None or not most:
            return 0.0
        over = self._now() - WINDOW_SECONDS
        while steps and steps[0][0] <= over:
            steps.popleft()
        left = sum(count for _, count in steps)
        for time, count in steps:
            if left < most:
                break
            left -= count
            if left < most:
                return time - over
        return 0.0

    def count(self, name: str, tokens: int) -> None:
        """So many more were used."""
        if tokens <= 0:
            return
        steps = self._used.setdefault(name, deque())
        now = self._now()
        if steps and int(steps[-1][0]) == int(now):
            tokens += steps.pop()[1]
        steps.append((now, tokens))
        self._used.move_to_end(name)
        self._forget(now - WINDOW_SECONDS)

    def _forget(self, over: float) -> None:
        """Drop the names that used nothing since then."""
        while not (steps := next(iter(self._used.values()))) or steps[-1][0] <= over:
            self._used.popitem(last=False)
