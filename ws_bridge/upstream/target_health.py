"""Which targets of the table are well, and how much each of them does: whom to ask next.

Rule 1: a target that has failed is asked last for a while: as long as it said, else 5 s, doubling
to 60 s with every failure in a row.
Rule 2: of those that share a load, the one goes first that made what the conversation carries and
only its maker can read; else the one with the least to do, in turns.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ws_bridge.upstream.base import Target

FIRST_COOLDOWN = 5.0  # seconds
LONGEST_COOLDOWN = 60.0
DOUBLINGS = 8  # more make no difference
REMEMBERED = 1024  # targets; a wildcard's names are made up by clients

Groups = Sequence[Sequence[Target]]


@dataclass(slots=True, eq=False)
class TargetState:
    """How one target does."""

    running: int = 0
    failures: int = 0  # in a row
    ready_at: float = 0.0  # monotonic; before that it is asked last
    turn: int = 0  # when it was asked last


class TargetHealth:
    """The standing of every target that was asked. ``now`` is monotonic."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._turn = 0
        self._states: OrderedDict[tuple[str, str], TargetState] = OrderedDict()

    def order(self, groups: Groups, made_by: str = "") -> list[Target]:
        """Whom to ask, one after the other; those that cool down stand last."""
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
        """It is being asked; ``release`` follows."""
        self._turn += 1
        state = self._states.setdefault(_key(target), TargetState())
        self._states.move_to_end(_key(target))
        state.running += 1
        state.turn = self._turn

    def release(self, target: Target) -> None:
        """It is not being asked any more."""
        self._states[_key(target)].running -= 1
        self._forget_the_oldest()

    def record_success(self, target: Target) -> None:
        """It has answered: earlier failures are forgotten, but not a rest that it asked for."""
        state = self._states[_key(target)]
        if state.ready_at <= self._now():
            state.failures = 0

    def record_failure(self, target: Target, retry_after: float | None) -> None:
        """It has failed, and asks for so many seconds of rest."""
        state, now = self._states[_key(target)], self._now()
        if retry_after is not None:
            state.ready_at = max(state.ready_at, now + retry_after)
        elif state.ready_at <= now:  # of many that fail at once, one counts
            pause = FIRST_COOLDOWN * 2.0**state.failures
            state.ready_at = now + min(LONGEST_COOLDOWN, pause)
            state.failures = min(state.failures + 1, DOUBLINGS)

    def _forget_the_oldest(self) -> None:
        while len(self._states) > REMEMBERED:
            key, state = next(iter(self._states.items()))
            if state.running:
                return
            del self._states[key]


def _key(target: Target) -> tuple[str, str]:
    return target.maker, target.model
