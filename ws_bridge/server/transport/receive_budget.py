"""How much this process may be in the middle of receiving, and who goes on when it is too much.

Rule 1: nobody is sent away for it: those furthest from done wait until there is room.
Rule 2: one goes on at any time, the one nearest to done; if it stalls, its deadline ends that.
"""

from __future__ import annotations

from typing import Protocol

READ = 256 * 1024  # what one read brings at most: a sender let on may add that before it is asked
NEARLY = 64 * 1024  # so close to done, holding a sender keeps more memory busy than it saves


class Sender(Protocol):
    """Somebody in the middle of sending a message or a body."""

    @property
    def remaining(self) -> int:
        """How many bytes are still to come, as far as is known."""
        ...

    def suspend(self) -> None:
        """Read nothing more from it for now."""
        ...

    def resume(self) -> None:
        """Read from it again."""
        ...


class ReceiveBudget:
    """Bytes of messages and bodies that are not complete, over all senders."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes: dict[Sender, int] = {}
        self._suspended: set[Sender] = set()
        self._first: Sender | None = None  # who goes on while there is too much
        self.total = 0

    def record(self, sender: Sender, count: int) -> None:
        """So many bytes of the sender are here now; it may be held for it."""
        self.total += count - self._bytes.get(sender, 0)
        self._bytes[sender] = count
        if self.total > self._limit:
            self._choose()
            if sender is not self._first and sender.remaining > NEARLY:
                self._suspended.add(sender)
                sender.suspend()

    def discard(self, sender: Sender) -> None:
        """The sender is done, or gone: its bytes are no longer being received."""
        self.total -= self._bytes.pop(sender, 0)
        if sender is self._first or self.total <= self._limit:
            self._first = None
        if sender in self._suspended:
            self._resume(sender)
        if not self._suspended:
            return
        if self.total > self._limit:
            self._choose()
            return
        room = max(1, (self._limit - self.total) // READ)
        for waiting in sorted(self._suspended, key=_distance)[:room]:
            self._resume(waiting)

    def _choose(self) -> None:
        if self._first is None:
            self._first = min(self._bytes, key=_distance)
            if self._first in self._suspended:
                self._resume(self._first)

    def _resume(self, sender: Sender) -> None:
        self._suspended.discard(sender)
        sender.resume()


def _distance(sender: Sender) -> int:
    return sender.remaining
