"""How much running responses have said: each, those of a key, and all of them, in bytes of events.

Rule 1: whoever says too much ends as failed, and its provider's connection is closed.
Rule 2: where a key, or the process, holds too much, its largest response ends, and not the one that
came last: a small one of somebody else is unharmed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ws_bridge.errors import BridgeError, ResponseTooLarge

MIB = 2**20

Stop = Callable[[BridgeError], None]


@dataclass(frozen=True, slots=True)
class OutputLimits:
    """In MiB; 0 for a key is no limit."""

    response: int = 128
    per_key: int = 512
    total: int = 1024


@dataclass(slots=True, eq=False)
class RunningOutput:
    """A response that runs."""

    owner: str
    stop: Stop
    size: int = 0


class OutputQuotas:
    """The running responses of a process. ``everybody`` is who has no key, and no limit of one."""

    def __init__(self, bounds: OutputLimits = OutputLimits(), everybody: str = "") -> None:
        self._bounds = bounds
        self._everybody = everybody
        self._running: dict[str, RunningOutput] = {}
        self._owned: dict[str, int] = {}
        self.total = 0

    def begin(self, response_id: str, owner: str, stop: Stop) -> Callable[[int], None]:
        """A response runs: what is to be told of every so many bytes that it says."""
        self._running[response_id] = RunningOutput(owner, stop)
        return lambda more: self._count(response_id, more)

    def end(self, response_id: str) -> None:
        """It has ended; what it says after that counts no more."""
        if ended := self._running.pop(response_id, None):
            self._add(ended.owner, -ended.size)

    def owned(self, owner: str) -> int:
        """What the running responses of a key have said."""
        return self._owned.get(owner, 0)

    def _add(self, owner: str, more: int) -> None:
        self.total += more
        self._owned[owner] = self.owned(owner) + more
        if not self._owned[owner]:
            del self._owned[owner]

    def _count(self, response_id: str, more: int) -> None:
        one = self._running.get(response_id)
        if one is None:
            return
        one.size += more
        self._add(one.owner, more)
        bounds = self._bounds
        if one.size > bounds.response * MIB:
            self._end(response_id, f"The response is longer than {bounds.response} MiB of events.")
        if bounds.per_key and one.owner != self._everybody:
            while self.owned(one.owner) > bounds.per_key * MIB:
                owned = [key for key, each in self._running.items() if each.owner == one.owner]
                self._end_largest(owned, f"with this key hold more than {bounds.per_key} MiB")
        while self.total > bounds.total * MIB:
            self._end_largest(list(self._running), f"hold more than {bounds.total} MiB")

    def _end_largest(self, ids: list[str], words: str) -> None:
        largest = max(ids, key=lambda one: self._running[one].size)
        self._end(largest, f"Running responses {words} of events, and this is the largest.")

    def _end(self, response_id: str, words: str) -> None:
        stop = self._running[response_id].stop
        self.end(response_id)
        stop(ResponseTooLarge(words))
