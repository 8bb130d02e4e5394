"""The rounds of one task through all sockets: it pings them, and ends those of their age.

Rule 1: a socket that nobody talks to costs no task and no timer of its own.
Rule 2: the pings are spread over their period, whenever the sockets came: ten thousand clients that
come back in one second are pinged four hundred a second.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from ws_bridge.clock import Clock

TICK_SECONDS = 1.0
SLICES = 25  # a ping every 25 s: proxies cut what is silent for 60 s
AT_ONCE = 50  # pings, before others have a turn


class HeartbeatSocket(Protocol):
    """What a round comes to."""

    async def ping(self) -> None:
        """Send a ping; never waits for the client."""

    def retire(self) -> None:
        """It has reached its age: begin its end. Called once."""


class Heartbeat:
    """Sockets, and the visits to them."""

    def __init__(self, clock: Clock, lifetime_seconds: float) -> None:
        self._clock = clock
        self._lifetime = lifetime_seconds
        self._opened: dict[HeartbeatSocket, float] = {}  # those before their age; the oldest first
        self._slices: list[set[HeartbeatSocket]] = [set() for _ in range(SLICES)]
        self._came = 0

    def add(self, socket: HeartbeatSocket) -> None:
        """Visit it from now on."""
        self._opened[socket] = self._clock.monotonic()
        self._slices[self._came % SLICES].add(socket)
        self._came += 1

    def discard(self, socket: HeartbeatSocket) -> None:
        """Visit it no more."""
        self._opened.pop(socket, None)
        for each in self._slices:
            each.discard(socket)

    async def run(self) -> None:
        """Go round for ever."""
        while True:
            for each in self._slices:
                await self._clock.sleep(TICK_SECONDS)
                self._retire_old()
                await _ping(each)

    def _retire_old(self) -> None:
        born = self._clock.monotonic() - self._lifetime
        old: list[HeartbeatSocket] = []
        for socket, opened in self._opened.items():
            if opened > born:
                break
            old.append(socket)
        for socket in old:
            del self._opened[socket]
            socket.retire()


async def _ping(sockets: set[HeartbeatSocket]) -> None:
    for number, socket in enumerate(list(sockets), start=1):
        if socket in sockets:  # it may have gone while others had a turn
            await socket.ping()
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
