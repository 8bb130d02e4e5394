"""Which targets of the table work, and how much each of them does: whom to ask next.

Rule 1: a target that has failed is asked last while it cools down: for as long as it said, else for
5 s, doubling to 60 s with every failure in a row.
Rule 2: of targets that share a load, the first is the one that made the sealed items of the
conversation; else the one that runs the fewest requests, and of equals the one asked longest ago.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ws_bridge.upstream.base import Target
from ws_bridge.upstream.retry import backoff

FIRST_COOLDOWN = 5.0  # seconds
LONGEST_COOLDOWN = 60.0
DOUBLINGS = 8  # more make no difference
REMEMBERED = 1024  # targets; clients make up the names of a wildcard

Groups = Sequence[Sequence[Target]]


@dataclass(slots=True, eq=False)
class TargetState:
    """The load and the failures of one target."""

    running: int = 0
    failures: int = 0  # in a row
    ready_at: float = 0.0  # monotonic; before that it is asked last
    turn: int = 0  # when it was asked last, as a number that grows


class TargetHealth:
    """The state of every target that was asked. ``now`` is monotonic, in seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._turn = 0
        self._states: OrderedDict[tuple[str, str], TargetState] = OrderedDict()

    def order(self, groups: Groups, made_by: str = "") -> list[Target]:
        """All targets in the order in which to ask them; those that cool down come last."""
        now = self._now()
        ranked = []
        for place, group in enumerate(groups):
            for target in group:
                state = self._states.get(_key(target)) or TargetState()
                cools_until = state.ready_at if state.ready_at > now else 0.0
                is_other = target.maker != made_by
                rank = (cools_until, place, is_other, state.running, state.turn)
                ranked.append((rank, target))
        return [target for _, target in sorted(ranked, key=lambda pair: pair[0])]

    def acquire(self, target: Target) -> None:
        """Count a request that the target runs from now on; ``release`` must follow."""
        self._turn += 1
        key = _key(target)
        state = self._states.setdefault(key, TargetState())
        self._states.move_to_end(key)
        state.running += 1
        state.turn = self._turn

    def release(self, target: Target) -> None:
        """Count the request no more."""
        self._states[_key(target)].running -= 1
        self._forget_the_oldest()

    def record_success(self, target: Target) -> None:
        """Forget earlier failures of a running target, but not a cooldown that it still has."""
        state = self._states[_key(target)]
        if state.ready_at <= self._now():
            state.failures = 0

    def record_failure(self, target: Target, retry_after: float | None) -> bool:
        """Start a cooldown of a running target, of ``retry_after`` seconds if it asked for that.

        Returns whether it did not rest already.
        """
        state, now = self._states[_key(target)], self._now()
        is_new = state.ready_at <= now
        if retry_after is not None:
            state.ready_at = max(state.ready_at, now + retry_after)
        elif state.ready_at <= now:  # of many that fail at once, one counts
            state.ready_at = now + backoff(FIRST_COOLDOWN, LONGEST_COOLDOWN, state.failures)
            state.failures = min(state.failures + 1, DOUBLINGS)
        return is_new and state.ready_at > now

    def cooling(self) -> int:
        """How many targets cool down now."""
        now = self._now()
        return sum(state.ready_at > now for state in self._states.values())

    def forget_failures(self) -> None:
        """No target has failed, as far as is known; what runs is still counted."""
        for state in self._states.values():
            state.failures, state.ready_at = 0, 0.0

    def _forget_the_oldest(self) -> None:
        while len(self._states) > REMEMBERED:
            key, state = next(iter(self._states.items()))
            if state.running:
                return
            del self._states[key]


def _key(target: Target) -> tuple[str, str]:
    return target.maker, target.model
