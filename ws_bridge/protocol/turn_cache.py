"""The finished turns that a connection's creates can continue from.

Rule 1: their number is bounded, the oldest go first; each lane's latest stays, and those that
steers wait for.
Rule 2: their bytes are bounded for a connection, for an owner and in sum; no turn is spared then.
The largest holder evicts first, and of its turns those without a kept successor: the oldest
first, a lane's latest last. A turn counts with all its ancestors, and shared ancestors count once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ws_bridge.protocol.history import Turn
from ws_bridge.protocol.references import Made, found_in

Lane = str | None

MIB = 2**20


class TurnCache:
    """How many bytes of turns the connections of a process keep. 0 for an owner is no limit."""

    def __init__(
        self,
        per_connection: int = 64 * MIB,
        per_owner: int = 256 * MIB,
        total: int = 512 * MIB,
    ) -> None:
        self.set_limits(per_connection, per_owner, total)
        self._holders: dict[
            str, set[ConnectionTurns]
        ] = {}  # by owner: the connections that keep any
        self._owned: dict[str, int] = {}
        self.size = 0

    def set_limits(self, per_connection: int, per_owner: int, total: int) -> None:
        """Have these limits from the next turn on that is kept."""
        self._per_connection = per_connection
        self._per_owner = per_owner
        self._total = total

    def owner_bytes(self, owner: str) -> int:
        """The bytes that an owner's connections keep."""
        return self._owned.get(owner, 0)

    def add_bytes(self, turns: ConnectionTurns, more: int) -> None:
        """Count ``more`` bytes for a connection; negative: fewer."""
        self.size += more
        turns.size += more
        self._owned[turns.owner] = self.owner_bytes(turns.owner) + more
        holders = self._holders.setdefault(turns.owner, set())
        if turns.size:
            holders.add(turns)
        else:
            holders.discard(turns)
        if not holders:
            del self._holders[turns.owner], self._owned[turns.owner]

    def evict_excess(self, turns: ConnectionTurns) -> None:
        """Evict turns until the limits hold, after a connection has kept one more."""
        while turns.size > self._per_connection:
            turns.evict_one()
        while self._per_owner and turns.owner and self.owner_bytes(turns.owner) > self._per_owner:
            _largest(self._holders[turns.owner]).evict_one()
        while self.size > self._total:
            _largest(each for holders in self._holders.values() for each in holders).evict_one()


def _largest(holders: Iterable[ConnectionTurns]) -> ConnectionTurns:
    return max(holders, key=lambda turns: turns.size)


@dataclass(slots=True)
class CachedTurn:
    """A kept turn, or an ancestor of one."""

    turn: Turn
    size: int
    times: int = 0


class ConnectionTurns:
    """Turns by id, each on the lane where it was made. Without an ``owner`` no owner's limit."""

    __slots__ = ("_cache", "_evicted", "_kept", "_latest", "_most", "_retained", "owner", "size")

    def __init__(self, most: int, cache: TurnCache | None = None, owner: str = "") -> None:
        self._most = most
        self._cache = cache or TurnCache()
        self._kept: dict[str, tuple[Lane, Turn]] = {}
        self._latest: dict[Lane, str] = {}
        self._retained: dict[int, CachedTurn] = {}
        self.owner = owner
        self.size = 0
        self._evicted: list[str] = []

    def __contains__(self, response_id: str) -> bool:
        return response_id in self._kept

    def get(self, response_id: object) -> Turn | None:
        """The turn with this id."""
        known = self._kept.get(response_id) if isinstance(response_id, str) else None
        return known[1] if known else None

    def find_items(self, wanted: Collection[str]) -> dict[str, Made]:
        """Those of the wanted items that a kept turn has; of one id the latest."""
        found: dict[str, Made] = {}
        for _, turn in self._kept.values() if wanted else ():
            found |= found_in(turn, wanted)
        return found

    def is_on_lane(self, response_id: object, lane: Lane) -> bool:
        """Whether it is a turn of this connection, and of this lane."""
        return isinstance(response_id, str) and self._kept.get(response_id, ())[:1] == (lane,)

    def keep(self, lane: Lane, turn: Turn) -> None:
        """Keep the turn as the lane's latest; this may evict others, or the turn itself."""
        self.drop(turn.id)
        self._kept[turn.id] = (lane, turn)
        self._latest[lane] = turn.id
        self._retain(turn)
        self._cache.evict_excess(self)

    def surplus(self, needed: Iterable[str]) -> str:
        """The turn to be dropped because there are too many; "" if there is none."""
        if len(self._kept) <= self._most:
            return ""
        spared = {*self._latest.values(), *needed}
        return next((known for known in self._kept if known not in spared), "")

    def drop(self, response_id: str) -> None:
        """Forget the turn."""
        if known := self._kept.pop(response_id, None):
            self._release(known[1])

    def evict_one(self) -> None:
        """Evict the turn that is least likely to be continued."""
        leaves = [
            key for key, (_, turn) in self._kept.items() if self._retained[id(turn)].times == 1
        ]
        latest = set(self._latest.values())
        victim = next((key for key in leaves if key not in latest), leaves[0])
        self._evicted.append(victim)
        self.drop(victim)

    def pop_evicted(self) -> list[str]:
        """The ids of the turns evicted since the last call."""
        dropped, self._evicted = self._evicted, []
        return dropped

    def close(self) -> None:
        """Forget all turns."""
        for response_id in list(self._kept):
            self.drop(response_id)

    def _retain(self, turn: Turn | None) -> None:
        more = 0
        while turn is not None:
            held = self._retained.get(id(turn))
            if held is not None:
                held.times += 1
                break
            size = turn.weight()
            self._retained[id(turn)] = CachedTurn(turn, size, 1)
            more, turn = more + size, turn.parent
        self._cache.add_bytes(self, more)

    def _release(self, turn: Turn | None) -> None:
        less = 0
        while turn is not None:
            held = self._retained[id(turn)]
            held.times -= 1
            if held.times:
                break
            del self._retained[id(turn)]
            less, turn = less + held.size, turn.parent
        self._cache.add_bytes(self, -less)
