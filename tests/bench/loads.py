"""What is measured, as data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

DIRECT, PASS_THROUGH, BRIDGE, UNSTORED = (
    "direct",
    "pass-through",
    "bridge",
    "bridge, store:false",
)


@dataclass(frozen=True, slots=True)
class Load:
    """One scenario. ``rate`` 0 is unpaced; ``repeats`` answers follow each other on a stream."""

    kind: str  # "paced", "burst", "first"
    dialect: str  # "native", "chat"
    streams: int
    deltas: int
    rate: int
    repeats: int = 1
    subjects: tuple[str, ...] = (DIRECT, PASS_THROUGH, BRIDGE)

    @property
    def name(self) -> str:
        if self.kind == "paced":
            return f"{self.dialect}, {self.streams} x {self.rate}/s"
        if self.kind == "burst":
            return f"{self.dialect}, {self.streams} x {self.deltas} unpaced"
        return f"{self.dialect}, one at a time"

    @property
    def total(self) -> int:
        """Deltas of all its answers."""
        return self.streams * self.deltas * self.repeats


RATES = {"native": 100, "chat": 50}  # deltas a second of one stream
BURST_STREAMS = 20
BURST_DELTAS = {"native": 1000, "chat": 300}
ONE_BY_ONE = Load("first", "", streams=1, deltas=8, rate=0, repeats=100)
MIRROR_STREAMS = 50  # where storing and not storing are compared


@dataclass(frozen=True, slots=True)
class Size:
    """How long a run is."""

    seconds: float  # of a paced answer
    share: float  # of the unpaced loads above
    rounds: int  # measured ones, after one that is dropped


FULL = Size(seconds=4.0, share=1.0, rounds=3)
QUICK = Size(seconds=0.5, share=0.2, rounds=1)


def warm_up(size: Size) -> Size:
    """The dropped round: short, for connections, caches and first calls."""
    return replace(size, seconds=min(size.seconds / 2, 0.5), share=min(size.share / 4, 0.1))


def loads(size: Size, streams: list[int], dialects: list[str]) -> Iterator[Load]:
    """The scenarios of one round."""
    for dialect in dialects:
        rate = RATES[dialect]
        deltas = round(size.seconds * rate)
        for count in streams:
            load = Load("paced", dialect, count, deltas, rate)
            if dialect == "native" and count == MIRROR_STREAMS:
                load = replace(load, subjects=(*load.subjects, UNSTORED))
            yield load
        yield Load("burst", dialect, BURST_STREAMS, round(size.share * BURST_DELTAS[dialect]), 0)
        repeats = max(10, round(size.share * ONE_BY_ONE.repeats))
        yield replace(ONE_BY_ONE, dialect=dialect, repeats=repeats)
