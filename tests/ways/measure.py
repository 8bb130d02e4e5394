"""Which ways are counted, and how often they are taken until they are steady."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from statistics import median

from ways.field import CLIENT, PROVIDER, STORE, Family, Field, Told, field
from ways.way import Steady, steady, ways

CREATE = "create: socket to provider"
TO_SOCKET = "delta: provider to socket"
TO_STORE = "delta: provider to store"
TO_FOLLOWER = "delta: store to a follower elsewhere"


@dataclass(frozen=True)
class Size:
    """``deltas`` of the shorter stream, and how many ``more`` has the longer one."""

    deltas: int = 4
    more: int = 8
    rounds: int = 3


@dataclass(frozen=True)
class Counted:
    """One way of one family.

    ``whole`` is what one more delta costs in calls of the project in the whole thread, the way and
    all that happens beside it: the difference of a longer and a shorter stream, divided.
    """

    name: str
    family: Family
    steady: Steady
    whole: float | None = None


async def counted(
    families: Sequence[Family], size: Size, *, is_shared: bool
) -> AsyncIterator[Counted]:
    """The ways of each family.

    Through one bridge that keeps responses in memory; or those to the store that two bridges share
    (``is_shared``), and from it.
    """
    async with field(is_shared=is_shared) as on:
        for family in families:
            for _ in range(family.warm_ups):
                await on.turn(family, 1)
            await _round(on, family, size)  # the first of its length fills caches
            rounds = [await _round(on, family, size) for _ in range(size.rounds)]
            for one in (
                _to_others(family, size, rounds) if is_shared else _alone(family, size, rounds)
            ):
                yield one


Round = tuple[list[Told], list[Told]]


async def _round(on: Field, family: Family, size: Size) -> Round:
    return await on.turn(family, size.deltas), await on.turn(family, size.deltas + size.more)


def _alone(family: Family, size: Size, rounds: Sequence[Round]) -> list[Counted]:
    turns = [asked for round_ in rounds for (asked,) in round_]
    creates = [way for turn in turns for way in ways(turn.opening, CLIENT, PROVIDER)]
    deltas = [way for turn in turns for way in ways(turn.steady, PROVIDER, CLIENT)]
    return [
        Counted(CREATE, family, steady(creates)),
        Counted(TO_SOCKET, family, steady(deltas), _whole(0, size, rounds)),
    ]


def _to_others(family: Family, size: Size, rounds: Sequence[Round]) -> list[Counted]:
    turns = [turn for round_ in rounds for turn in round_]
    stored = [way for asked, _ in turns for way in ways(asked.steady, PROVIDER, STORE)]
    followed = [way for _, followed in turns for way in ways(followed.steady, STORE, CLIENT)]
    return [
        Counted(TO_STORE, family, steady(stored), _whole(0, size, rounds)),
        Counted(TO_FOLLOWER, family, steady(followed), _whole(1, size, rounds)),
    ]


def _whole(bridge: int, size: Size, rounds: Sequence[Round]) -> float:
    return median(
        (longer[bridge].calls - shorter[bridge].calls) / size.more for shorter, longer in rounds
    )
