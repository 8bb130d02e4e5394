"""Connections to providers' WebSockets: which one a turn runs on, and for how long they are kept.

Rule 1: choosing waits for nothing: whoever is seated has its place before anybody else looks.
Rule 2: a turn goes where the provider remembers its parent; else where it makes nobody forgotten.
Rule 3: a lane whose response went wrong is not used again: what else may come on it is unknown.
Rule 4: what is kept is bounded, in number, in idle time and in age.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
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


@dataclass(slots=True)
class LaneLease:
    """A turn's place. ``previous_id`` is the provider's id of the parent, if it remembers it."""

    connection: ProviderConnection
    lane: ProviderLane
    is_warm: bool  # the connection was open already: it may be gone without anybody's knowing
    previous_id: str = ""
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

    The owner runs ``sweep_periodically`` as a task, if it wants idle connections closed in time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._connections: list[ProviderConnection] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._remembered: dict[str, RememberedTurn] = {}  # one a lane at most, by the bridge's id

    def __len__(self) -> int:
        return len(self._connections)

    def acquire(
        self, address: ProviderAddress, parent: str = "", *, fresh: bool = False
    ) -> LaneLease:
        """A place for a turn; ``fresh``: on a connection that is not open yet."""
        self.sweep()
        if not fresh and (lease := self._acquire_near(address, parent)):
            return lease
        connection, lane = self._choose(address, fresh=fresh)
        self._forget(lane)
        return _lease(connection, lane)

    def complete(self, lease: LaneLease, response_id: str, provider_id: str) -> None:
        """The turn has ended well: the provider remembers it now, in the place of its parent."""
        self._forget(lease.lane)
        self.forget(response_id)
        if response_id and provider_id and lease.connection.is_usable:
            self._remembered[response_id] = RememberedTurn(
                lease.connection, lease.lane, provider_id
            )
            lease.lane.remembered_id = response_id
        self._end_lease(lease)

    def forget(self, response_id: str) -> None:
        """The provider does not know a turn any more."""
        if turn := self._remembered.pop(response_id, None):
            turn.lane.remembered_id = ""

    async def release(self, lease: LaneLease) -> None:
        """The turn has ended in any other way. What still runs of it is stopped, or nobody's."""
        if lease.is_released:
            return
        self._end_lease(lease)
        if not lease.is_used:
            return
        self._forget(lease.lane)
        if not lease.lane.is_running:
            self._spend(lease)
        elif not lease.connection.is_leased:
            lease.connection.close()  # the protocol has no cancel: this is what stops the provider
            await lease.connection.wait_until_closed()

    def sweep(self) -> None:
        """Close what is idle and worn, idle for too long, or one too many."""
        now = self._clock.monotonic()
        idle = [connection for connection in self._connections if not connection.is_leased]
        idle.sort(key=lambda connection: connection.idle_since)
        surplus = len(idle) - MAX_IDLE
        for index, connection in enumerate(idle):
            is_old = now - connection.idle_since >= IDLE_SECONDS
            if is_old or not connection.is_usable or index < surplus:
                connection.close()

    async def sweep_periodically(self) -> None:
        """Sweep now and then, for as long as it runs."""
        while True:
            await self._clock.sleep(SWEEP_SECONDS)
            self.sweep()

    async def close(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            connection.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _acquire_near(self, address: ProviderAddress, parent: str) -> LaneLease | None:
        """A place where the provider remembers the parent; None if there is no such or no room."""
        turn = self._remembered.get(parent)
        if turn is None or turn.connection.address != address or not turn.connection.is_usable:
            return None
        if turn.lane.is_free:
            return _lease(turn.connection, turn.lane, turn.provider_id)
        lane = _best(_free([turn.connection]))
        if lane is None:
            return None
        self._forget(lane[1])
        return _lease(*lane, turn.provider_id)

    def _choose(
        self, address: ProviderAddress, *, fresh: bool
    ) -> tuple[ProviderConnection, ProviderLane]:
        connections = [
            connection
            for connection in self._connections
            if connection.address == address and connection.is_usable
        ]
        if fresh:
            connections = [connection for connection in connections if not connection.is_open]
        best = _best(_free(connections))
        if best and (not best[1].remembered_id or len(connections) >= WARM):
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

    def _end_lease(self, lease: LaneLease) -> None:
        lease.is_released = True
        lease.lane.release()
        lease.lane.used_at = lease.connection.idle_since = self._clock.monotonic()

    def _spend(self, lease: LaneLease) -> None:
        lease.lane.is_spent = True
        spent = sum(lane.is_spent for lane in lease.connection.lanes)
        if 2 * spent >= len(lease.connection.lanes):
            lease.connection.is_retired = True
        self.sweep()


def _lease(connection: ProviderConnection, lane: ProviderLane, previous_id: str = "") -> LaneLease:
    lane.is_leased = True
    return LaneLease(connection, lane, connection.is_open, previous_id)


def _free(
    connections: Iterable[ProviderConnection],
) -> Iterator[tuple[ProviderConnection, ProviderLane]]:
    return (
        (connection, lane)
        for connection in connections
        for lane in connection.lanes
        if lane.is_free
    )


def _best(
    places: Iterable[tuple[ProviderConnection, ProviderLane]],
) -> tuple[ProviderConnection, ProviderLane] | None:
    """The place whose use makes nobody forgotten; else the one that was used longest ago."""
    return min(
        places, key=lambda place: (bool(place[1].remembered_id), place[1].used_at), default=None
    )
