"""Whether this process stood still: a beat that came late tells.

A process that was stopped, or whose event loop did something else, finds all its timeouts expired
when it goes on, answers that lie ready included. What expired so says nothing about the other side.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

BEAT_SECONDS = 0.25
LATE_SECONDS = 0.5


class StandstillDetector:
    """Beats while ``run`` runs; ``now`` is monotonic, in seconds."""

    def __init__(
        self,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._now = now
        self._sleep = sleep
        self._beat_at: float | None = None  # None: it does not beat
        self._woke_at = float("-inf")

    async def run(self) -> None:
        """Beat until cancelled."""
        try:
            while True:
                self._beat()
                await self._sleep(BEAT_SECONDS)
        finally:
            self._beat_at = None

    def stood_still_since(self, then: float) -> bool:
        """Whether the process stood still at any time after ``then``."""
        if self._beat_at is not None:
            self._beat()  # it may be asked before the beat that is late
        return self._woke_at > then

    def _beat(self) -> None:
        now = self._now()
        if self._beat_at is not None and now - self._beat_at > BEAT_SECONDS + LATE_SECONDS:
            self._woke_at = now
            log.warning("stood_still seconds=%.1f", now - self._beat_at)
        self._beat_at = now
