"""Connections to providers' WebSockets: which lane a turn gets, and how long connections are kept.

Rule 1: `acquire` does not wait: a lane is leased before anything else can run.
Rule 2: a turn goes where the provider remembers its parent; else to a lane that remembers nothing,
or to a new connection.
Rule 3: a lane whose response failed is not used again: late events of it may still come.
Rule 4: connections are bounded in number, in idle time and in age.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass

from ws_bridge.clock import Clock
from ws_bridge.upstream.websocket.connection import (
    ProviderAddress,
    ProviderConnection,
    ProviderLane,
)

IDLE_SECONDS = 5 * 60.0
SWEEP_SECONDS = 30.0
WARM = 8  # connections of one address that are opened before a remembered turn is given up
MAX_IDLE = 32  # of all addresses

Place = tuple[ProviderConnection, ProviderLane]


@dataclass(slots=True)
class LaneLease:
    """One turn's use of a lane, from `acquire` to `release`."""

    connection: ProviderConnection
    lane: ProviderLane
    is_warm: bool  # the connection was open already: it may be lost without a sign of it
    previous_id: str = ""  # the provider's id of the turn's parent, if the provider remembers it
    is_used: bool = False  # a create was sent
    is_released: bool = False


@dataclass(frozen=True, slots=True)
class RememberedTurn:
    """Where a provider remembers a turn, and by which id."""

    connection: ProviderConnection
    lane: ProviderLane
    provider_id: str


class ConnectionPool:
    """The connections of this process.

    Each `acquire` also closes what is too old or too much; an owner that wants this in quiet times
    too runs `sweep_periodically` as a task.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._connections: list[ProviderConnection] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._remembered: dict[str, RememberedTurn] = {}  # by the bridge's id; at most one a lane

    def __len__(self) -> int:
        return len(self._connections)

    def acquire(
        self, address: ProviderAddress, parent_id: str = "", *, fresh: bool = False
    ) -> LaneLease:
        """Lease a lane for a turn; the connection may not be open yet. ``release`` must follow.

        ``fresh``: only a connection that is not open yet will do.
        """
        self.sweep()
        if not fresh and (lease := self._acquire_near(address, parent_id)):
            return lease
        connection, lane = self._choose(address, fresh=fresh)
        self._forget(lane)
        return _lease(connection, lane)

    def complete(self, lease: LaneLease, response_id: str, provider_id: str) -> None:
        """Release the lane of a turn that ended well; the provider now remembers that turn here."""
        self._forget(lease.lane)
        self.forget(response_id)
        if response_id and provider_id and lease.connection.is_usable:
            turn = RememberedTurn(lease.connection, lease.lane, provider_id)
            self._remembered[response_id] = turn
            lease.lane.remembered_id = response_id
        self._end(lease)

    def forget(self, response_id: str) -> None:
        """Record that the provider does not know a turn any more."""
        if turn := self._remembered.pop(response_id, None):
            turn.lane.remembered_id = ""

    async def release(self, lease: LaneLease) -> None:
        """Release the lane of a turn that ended in any other way than ``complete``; twice is once.

        A response that still runs loses its connection, or its events are dropped if other turns
        share that.
        """
        if lease.is_released:
            return
        self._end(lease)
        if not lease.is_used:
            return
        self._forget(lease.lane)
        if not lease.lane.is_running:
            self._spend(lease)
        elif not lease.connection.is_leased:
            lease.connection.close()  # the protocol has no cancel: this stops the provider
            await lease.connection.wait_until_closed()

    def sweep(self) -> None:
        """Close idle connections that are too old, idle for too long, or too many."""
        now = self._clock.monotonic()
        idle = [connection for connection in self._connections if not connection.is_leased]
        idle.sort(key=lambda connection: connection.idle_since)
        surplus = len(idle) - MAX_IDLE
        for index, connection in enumerate(idle):
            is_old = now - connection.idle_since >= IDLE_SECONDS
            if is_old or not connection.is_usable or index < surplus:
                connection.close()

    def retire_others(self, addresses: Container[ProviderAddress]) -> None:
        """Use no connection of any other address for a new turn; idle ones are closed."""
        for connection in self._connections:
            if connection.address not in addresses:
                connection.is_retired = True
        self.sweep()

    async def sweep_periodically(self) -> None:
        """Sweep every ``SWEEP_SECONDS`` until cancelled."""
        while True:
            await self._clock.sleep(SWEEP_SECONDS)
            self.sweep()

    async def close(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            connection.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _acquire_near(self, address: ProviderAddress, parent_id: str) -> LaneLease | None:
        """A lane of the connection that remembers the parent; None if there is none to be had."""
        turn = self._remembered.get(parent_id)
        if turn is None or turn.connection.address != address or not turn.connection.is_usable:
            return None
        if turn.lane.is_free:
            return _lease(turn.connection, turn.lane, turn.provider_id)
        place = _best(_free([turn.connection]))
        if place is None:
            return None
        self._forget(place[1])
        return _lease(*place, turn.provider_id)

    def _choose(self, address: ProviderAddress, *, fresh: bool) -> Place:
        connections = [each for each in self._connections if each.address == address]
        usable = [each for each in connections if each.is_usable and not (fresh and each.is_open)]
        best = _best(_free(usable))
        if best and (not best[1].remembered_id or len(usable) >= WARM):
            return best
        connection = self._open(address)
        return connection, connection.lanes[0]

    def _open(self, address: ProviderAddress) -> ProviderConnection:
        connection = ProviderConnection(address, self._clock.monotonic)
        task = connection.start()
        self._connections.append(connection)
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._remove(connection, task))
        return connection

    def _remove(self, connection: ProviderConnection, task: asyncio.Task[None]) -> None:
        self._connections.remove(connection)
        self._tasks.discard(task)
        for lane in connection.lanes:
            self._forget(lane)

    def _forget(self, lane: ProviderLane) -> None:
        self.forget(lane.remembered_id)
        lane.remembered_id = ""

    def _end(self, lease: LaneLease) -> None:
        lease.is_released = True
        lease.lane.release()
        lease.lane.used_at = lease.connection.idle_since = self._clock.monotonic()

    def _spend(self, lease: LaneLease) -> None:
        """Take the lane out of use, and the connection too once half of its lanes are."""
        lease.lane.is_spent = True
        spent = sum(lane.is_spent for lane in lease.connection.lanes)
        if 2 * spent >= len(lease.connection.lanes):
            lease.connection.is_retired = True
        self.sweep()


def _lease(connection: ProviderConnection, lane: ProviderLane, previous_id: str = "") -> LaneLease:
    lane.is_leased = True
    return LaneLease(connection, lane, connection.is_open, previous_id)


def _free(connections: Iterable[ProviderConnection]) -> Iterator[Place]:
    return ((each, lane) for each in connections for lane in each.lanes if lane.is_free)


def _best(places: Iterable[Place]) -> Place | None:
    """A lane that remembers no turn, if there is one; of equals the one used longest ago."""
    return min(
        places, key=lambda place: (bool(place[1].remembered_id), place[1].used_at), default=None
    )
