"""One task for all sockets: it pings them, and retires those that have reached their age.

Rule 1: an idle socket costs no task and no timer of its own.
Rule 2: the pings are spread over their period, whenever the sockets were opened: ten thousand
clients that connect in one second are pinged four hundred a second.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from ws_bridge.clock import Clock

TICK_SECONDS = 1.0
SLICES = 25  # a ping every 25 s: proxies cut what is silent for 60 s
AT_ONCE = 50  # pings in a row; then other tasks run


class HeartbeatSocket(Protocol):
    """What the heartbeat asks of a socket."""

    async def ping(self) -> None:
        """Send a ping; never waits for the client."""

    def retire(self) -> None:
        """Begin to close it at its age. Called once."""


class Heartbeat:
    """The open sockets, in the slices in which they are pinged."""

    def __init__(self, clock: Clock, lifetime_seconds: float) -> None:
        self._clock = clock
        self.lifetime = lifetime_seconds
        self._opened: dict[HeartbeatSocket, float] = {}  # those not yet retired; the oldest first
        self._slices: list[set[HeartbeatSocket]] = [set() for _ in range(SLICES)]
        self._added = 0

    def add(self, socket: HeartbeatSocket) -> None:
        """Ping the socket from now on."""
        self._opened[socket] = self._clock.monotonic()
        self._slices[self._added % SLICES].add(socket)
        self._added += 1

    def discard(self, socket: HeartbeatSocket) -> None:
        """Ping the socket no more."""
        self._opened.pop(socket, None)
        for part in self._slices:
            part.discard(socket)

    async def run(self) -> None:
        """Ping and retire sockets for ever."""
        while True:
            for part in self._slices:
                await self._clock.sleep(TICK_SECONDS)
                self._retire_old()
                await _ping(part)

    def _retire_old(self) -> None:
        born = self._clock.monotonic() - self.lifetime
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
        if socket in sockets:  # it may have been closed meanwhile
            await socket.ping()
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
