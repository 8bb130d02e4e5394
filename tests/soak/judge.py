"""Samples → slopes → what grows. Pure.

Rule 1: the first third of a run is warming up, and is not judged.
Rule 2: what every response or connection adds for ever must show, however much the load varies: so
a slope is the median of the slopes between any two samples (Theil and Sen), which no peak moves.
Rule 3: what varies with the load is judged at the ebbs, when there is none.
Rule 4: a leak is what is in use, and that is judged tightly: Python's blocks, and malloc's bytes.
Resident memory is more: what peaks took and nobody gives back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf
from statistics import median

Place = tuple[str, str]  # a gauge, and whose it is

RSS, BLOCKS, IN_USE, FDS, TO_STORE, TO_PROVIDERS, TASKS, KEYS, STORED, CPU = (
    "RSS MiB",
    "blocks",  # of Python's objects; each object is one at least
    "malloc's MiB",  # in use: what is too large for a block, and what is not Python's
    "descriptors",  # but for the two pools
    "store's pool",
    "providers' pool",
    "tasks",
    "keys",
    "stored MiB",
    "CPU %",
)
WARM_UP = 1 / 3
FEWEST = 4  # points, for a slope to say anything


@dataclass(frozen=True, slots=True)
class Sample:
    """What was read at one moment. ``at`` is in seconds of the run."""

    at: float
    is_ebb: bool
    values: Mapping[Place, float]


@dataclass(frozen=True, slots=True)
class Bound:
    """How fast a gauge may grow, and how high, at most."""

    gauge: str
    per_minute: float
    at_ebb: bool
    why: str
    most: float = inf


BOUNDS = (
    Bound(
        RSS,
        0.75,
        at_ebb=True,
        most=400,
        why="0.2 at most were seen of 14 minutes: what peaks take comes in steps, ever fewer",
    ),
    Bound(BLOCKS, 400.0, at_ebb=True, why="400 answers a minute of one server: one of each"),
    Bound(IN_USE, 0.25, at_ebb=True, why="400 answers a minute of one server: 650 bytes of each"),
    Bound(
        FDS, 0.5, at_ebb=True, why="at rest a server holds always the same; a tide opens hundreds"
    ),
    Bound(TO_STORE, inf, at_ebb=False, most=70, why="a pool of 64 fills up, and is full then"),
    Bound(TO_PROVIDERS, inf, at_ebb=False, most=150, why="one for each answer of a flood's height"),
    Bound(TASKS, 0.5, at_ebb=True, why="at rest a server runs always the same tasks"),
    # Their level is as high as the machine is fast; that all expire is checked in the end.
    Bound(KEYS, 250.0, at_ebb=False, why="a key of each answer for ever would be 800"),
    Bound(STORED, 0.5, at_ebb=False, why="as keys"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One gauge of one process after the warm-up."""

    place: Place
    bound: Bound
    first: float
    last: float
    highest: float
    slope: float | None  # per minute; None: too few samples

    @property
    def is_bounded(self) -> bool:
        if self.slope is None:
            return False
        return self.slope <= self.bound.per_minute and self.highest <= self.bound.most


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Growth per minute: the median of what any two points (seconds, value) say."""
    pairs = combinations(points, 2)
    return median(60 * (y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in pairs if x2 > x1)


def judge(samples: Sequence[Sample], bounds: Iterable[Bound] = BOUNDS) -> list[Finding]:
    """Every bounded gauge of every process."""
    begin = samples[-1].at * WARM_UP
    judged = [sample for sample in samples if sample.at >= begin]
    places = dict.fromkeys(place for sample in judged for place in sample.values)
    return [
        _finding(place, bound, judged)
        for bound in bounds
        for place in places
        if place[0] == bound.gauge
    ]


def _finding(place: Place, bound: Bound, samples: Sequence[Sample]) -> Finding:
    points = [
        (sample.at, sample.values[place])
        for sample in samples
        if place in sample.values and (sample.is_ebb or not bound.at_ebb)
    ]
    if len(points) < FEWEST:
        return Finding(place, bound, 0, 0, 0, None)
    values = [value for _, value in points]
    return Finding(place, bound, values[0], values[-1], max(values), slope(points))
