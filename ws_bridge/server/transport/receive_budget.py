"""How many bytes of unfinished messages this process holds, and which senders wait beyond that.

Rule 1: no connection is closed for it: senders far from their end wait until there is room.
Rule 2: one sender always goes on, the one nearest to its end; if it stalls, its deadline ends it.
"""

from __future__ import annotations

from typing import Protocol

# What one read brings at most: a resumed sender may add that before the next look.
READ = 256 * 1024
NEARLY = 64 * 1024  # so close to its end, a suspended sender keeps more memory busy than it saves


class Sender(Protocol):
    """A connection in the middle of a message or a body."""

    @property
    def remaining(self) -> int:
        """How many bytes are still to come, as far as is known."""
        ...

    def suspend(self) -> None:
        """Read nothing from it until ``resume``."""
        ...

    def resume(self) -> None:
        """Read from it again."""
        ...


class ReceiveBudget:
    """Bytes of messages and bodies that are not complete, over all senders."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._bytes: dict[Sender, int] = {}
        self._suspended: set[Sender] = set()
        self._first: Sender | None = None  # the one that goes on beyond the limit
        self.total = 0

    def record(self, sender: Sender, count: int) -> None:
        """So many bytes of the sender are here now. It may be suspended for them."""
        self.total += count - self._bytes.get(sender, 0)
        self._bytes[sender] = count
        if self.total > self.limit:
            self._choose()
            if sender is not self._first and sender.remaining > NEARLY:
                self._suspended.add(sender)
                sender.suspend()

    def discard(self, sender: Sender) -> None:
        """The sender is done, or gone. Its bytes count no more, and others may be resumed."""
        self.total -= self._bytes.pop(sender, 0)
        if sender is self._first or self.total <= self.limit:
            self._first = None
        if sender in self._suspended:
            self._resume(sender)
        if not self._suspended:
            return
        if self.total > self.limit:
            self._choose()
            return
        room = max(1, (self.limit - self.total) // READ)
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
