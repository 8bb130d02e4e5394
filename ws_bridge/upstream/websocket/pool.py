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
    """A turn's place. ``previous`` is the provider's id of the parent, if it remembers it."""

    wire: ProviderConnection
    lane: ProviderLane
    is_warm: bool  # the connection was open already: it may be gone without anybody's knowing
    previous: str = ""
    is_used: bool = False  # a create was sent
    is_left: bool = False


@dataclass(frozen=True, slots=True)
class ParentPlaces:
    """Where a provider remembers a turn, and by which id."""

    wire: ProviderConnection
    lane: ProviderLane
    provider_id: str


class ConnectionPool:
    """The connections of this process. ``keep`` is the body of a task that somebody may run."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wires: list[ProviderConnection] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._memories: dict[str, ParentPlaces] = {}  # one a lane at most, by the bridge's id

    def __len__(self) -> int:
        return len(self._wires)

    def seat(self, address: ProviderAddress, parent: str = "", *, anew: bool = False) -> LaneLease:
        """A place for a turn; ``anew``: on a connection that is not open yet."""
        self.sweep()
        if not anew and (seat := self._beside(address, parent)):
            return seat
        wire, lane = self._place(address, anew=anew)
        self._forget(lane)
        return _seated(wire, lane)

    def finish(self, seat: LaneLease, response_id: str, provider_id: str) -> None:
        """The turn has ended well: the provider remembers it now, in the place of its parent."""
        self._forget(seat.lane)
        self.forget(response_id)
        if response_id and provider_id and seat.wire.is_usable:
            self._memories[response_id] = ParentPlaces(seat.wire, seat.lane, provider_id)
            seat.lane.holds = response_id
        self._release(seat)

    def forget(self, response_id: str) -> None:
        """The provider does not know a turn any more."""
        if memory := self._memories.pop(response_id, None):
            memory.lane.holds = ""

    async def leave(self, seat: LaneLease) -> None:
        """The turn has ended in any other way. What still runs of it is stopped, or nobody's."""
        if seat.is_left:
            return
        self._release(seat)
        if not seat.is_used:
            return
        self._forget(seat.lane)
        if not seat.lane.is_running:
            self._spend(seat)
        elif not seat.wire.is_wanted:
            seat.wire.hang_up()  # the protocol has no cancel: this is what stops the provider
            await seat.wire.gone()

    def sweep(self) -> None:
        """Close what is idle and worn, idle for too long, or one too many."""
        now = self._clock.monotonic()
        idle = [wire for wire in self._wires if not wire.is_wanted]
        idle.sort(key=lambda wire: wire.idle_since)
        surplus = len(idle) - MAX_IDLE
        for index, wire in enumerate(idle):
            is_old = now - wire.idle_since >= IDLE_SECONDS
            if is_old or not wire.is_usable or index < surplus:
                wire.hang_up()

    async def keep(self) -> None:
        """Sweep now and then, for as long as it runs."""
        while True:
            await self._clock.sleep(SWEEP_SECONDS)
            self.sweep()

    async def close(self) -> None:
        """Close all connections."""
        for wire in self._wires:
            wire.hang_up()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _beside(self, address: ProviderAddress, parent: str) -> LaneLease | None:
        """A place where the provider remembers the parent; None if there is no such or no room."""
        memory = self._memories.get(parent)
        if memory is None or memory.wire.address != address or not memory.wire.is_usable:
            return None
        if memory.lane.is_free:
            return _seated(memory.wire, memory.lane, memory.provider_id)
        lane = _best(_free([memory.wire]))
        if lane is None:
            return None
        self._forget(lane[1])
        return _seated(*lane, memory.provider_id)

    def _place(
        self, address: ProviderAddress, *, anew: bool
    ) -> tuple[ProviderConnection, ProviderLane]:
        wires = [wire for wire in self._wires if wire.address == address and wire.is_usable]
        if anew:
            wires = [wire for wire in wires if not wire.is_open]
        best = _best(_free(wires))
        if best and (not best[1].holds or len(wires) >= WARM):
            return best
        wire = self._opened(address)
        return wire, wire.lanes[0]

    def _opened(self, address: ProviderAddress) -> ProviderConnection:
        wire = ProviderConnection(address, self._clock.monotonic)
        task = wire.start()
        self._wires.append(wire)
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._drop(wire, task))
        return wire

    def _drop(self, wire: ProviderConnection, task: asyncio.Task[None]) -> None:
        self._wires.remove(wire)
        self._tasks.discard(task)
        for lane in wire.lanes:
            self._forget(lane)

    def _forget(self, lane: ProviderLane) -> None:
        self.forget(lane.holds)
        lane.holds = ""

    def _release(self, seat: LaneLease) -> None:
        seat.is_left = True
        seat.lane.leave()
        seat.lane.used_at = seat.wire.idle_since = self._clock.monotonic()

    def _spend(self, seat: LaneLease) -> None:
        seat.lane.is_spent = True
        spent = sum(lane.is_spent for lane in seat.wire.lanes)
        if 2 * spent >= len(seat.wire.lanes):
            seat.wire.is_retired = True
        self.sweep()


def _seated(wire: ProviderConnection, lane: ProviderLane, previous: str = "") -> LaneLease:
    lane.is_taken = True
    return LaneLease(wire, lane, wire.is_open, previous)


def _free(wires: Iterable[ProviderConnection]) -> Iterator[tuple[ProviderConnection, ProviderLane]]:
    return ((wire, lane) for wire in wires for lane in wire.lanes if lane.is_free)


def _best(
    places: Iterable[tuple[ProviderConnection, ProviderLane]],
) -> tuple[ProviderConnection, ProviderLane] | None:
    """The place whose use makes nobody forgotten; else the one that was used longest ago."""
    return min(places, key=lambda place: (bool(place[1].holds), place[1].used_at), default=None)
