"""The finished turns of one connection that a chain can go on from.

So many are kept, the oldest go first; each lane's latest stays, and what somebody still needs.
"""

from __future__ import annotations

from collections.abc import Iterable

from ws_bridge.protocol.history import Turn

Lane = str | None


class Turns:
    """Turns by id, each at home on the lane where it was made."""

    __slots__ = ("_kept", "_latest", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: dict[str, tuple[Lane, Turn]] = {}
        self._latest: dict[Lane, str] = {}

    def __contains__(self, response_id: str) -> bool:
        return response_id in self._kept

    def get(self, response_id: object) -> Turn | None:
        """The turn with this id."""
        known = self._kept.get(response_id) if isinstance(response_id, str) else None
        return known[1] if known else None

    def is_home(self, response_id: object, lane: Lane) -> bool:
        """Whether it is a turn of this connection, and of this lane."""
        return isinstance(response_id, str) and self._kept.get(response_id, ())[:1] == (lane,)

    def keep(self, lane: Lane, turn: Turn) -> None:
        """It is now the lane's latest."""
        self._kept[turn.id] = (lane, turn)
        self._latest[lane] = turn.id

    def surplus(self, needed: Iterable[str]) -> str:
        """The turn to be dropped because there are too many; "" if there is none."""
        if len(self._kept) <= self._most:
            return ""
        spared = {*self._latest.values(), *needed}
        return next((known for known in self._kept if known not in spared), "")

    def drop(self, response_id: str) -> None:
        """Nothing goes on from it any more."""
        self._kept.pop(response_id, None)
