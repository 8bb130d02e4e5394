"""How large running responses are: each, those of a key, and all of them, in bytes of events.

Rule 1: a response that is too large ends as failed, and its provider's connection is closed.
Rule 2: where a key, or the process, holds too much, its largest response ends, and not the last
one: a small response of another client is unharmed.
Rule 3: a response is counted each time that it has grown by ``stream.METERED`` bytes, and not at
each event: so much of it may be missing here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ws_bridge.errors import BridgeError, ResponseTooLarge

MIB = 2**20

Stop = Callable[[BridgeError], None]


@dataclass(frozen=True, slots=True)
class OutputLimits:
    """In MiB; 0 for a key is no limit."""

    response: int = 128
    per_key: int = 512
    total: int = 1024

    @property
    def in_bytes(self) -> tuple[int, int, int]:
        """The same in bytes."""
        return self.response * MIB, self.per_key * MIB, self.total * MIB


@dataclass(slots=True, eq=False)
class RunningOutput:
    """A response that runs."""

    owner: str
    stop: Stop
    size: int = 0


class OutputQuotas:
    """The running responses of a process. ``unlimited_owner`` has no limit per key."""

    def __init__(self, limits: OutputLimits = OutputLimits(), unlimited_owner: str = "") -> None:
        self.limits = limits
        self._unlimited_owner = unlimited_owner
        self._running: dict[str, RunningOutput] = {}
        self._by_owner: dict[str, int] = {}
        self.total = 0

    def start(self, response_id: str, owner: str, stop: Stop) -> Callable[[int], None]:
        """Count a response from now on: the result is called with the bytes by which it grows."""
        self._running[response_id] = RunningOutput(owner, stop)
        # By its id: a counter that held the response would be a ring of objects with its stream.
        return partial(self._count, response_id)

    def end(self, response_id: str) -> None:
        """Count a response no more, whatever is still added to it."""
        if ended := self._running.pop(response_id, None):
            self.total -= ended.size
            left = self.of_owner(ended.owner) - ended.size
            self._by_owner[ended.owner] = left
            if not left:
                del self._by_owner[ended.owner]

    def of_owner(self, owner: str) -> int:
        """Bytes of the running responses of a key."""
        return self._by_owner.get(owner, 0)

    def _count(self, response_id: str, size: int) -> None:
        one = self._running.get(response_id)
        if one is None:
            return
        owner = one.owner
        one.size += size
        self.total += size
        self._by_owner[owner] = owned = self._by_owner.get(owner, 0) + size
        limits = self.limits
        most, most_per_key, most_in_total = limits.in_bytes
        if one.size > most:
            self._stop(response_id, f"The response is longer than {limits.response} MiB of events.")
        if most_per_key and owned > most_per_key and owner != self._unlimited_owner:
            self._stop_largest_of(owner)
        while self.total > most_in_total:
            self._stop_largest(list(self._running), f"hold more than {limits.total} MiB")

    def _stop_largest_of(self, owner: str) -> None:
        limit = self.limits.per_key
        while self.of_owner(owner) > limit * MIB:
            ids = [key for key, each in self._running.items() if each.owner == owner]
            self._stop_largest(ids, f"with this key hold more than {limit} MiB")

    def _stop_largest(self, ids: list[str], reason: str) -> None:
        largest = max(ids, key=lambda one: self._running[one].size)
        self._stop(largest, f"Running responses {reason} of events, and this is the largest.")

    def _stop(self, response_id: str, message: str) -> None:
        stop = self._running[response_id].stop
        self.end(response_id)
        stop(ResponseTooLarge(message))
