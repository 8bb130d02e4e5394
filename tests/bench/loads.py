"""What is measured, as data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

DIRECT, PASS_THROUGH, BRIDGE, UNSTORED, SHARED, SOCKET = (
    "direct",
    "pass-through",
    "bridge",
    "bridge, store:false",
    "bridge, redis",
    "bridge, provider's socket",
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
SECONDS = {"native": 4.0, "chat": 3.0}  # of one paced answer
BURST_STREAMS = 20
BURST_DELTAS = {"native": 1000, "chat": 300}
ONE_BY_ONE = Load("first", "", streams=1, deltas=8, rate=0, repeats=100)
MIRROR_STREAMS = 50  # where storing and not storing are compared


@dataclass(frozen=True, slots=True)
class Size:
    """How long a run is."""

    paced: float  # share of the seconds above
    unpaced: float  # share of the deltas and repeats above
    rounds: int  # measured ones
    most_streams: int | None = None  # of a paced load, where there must be fewer than asked for


FULL = Size(paced=1.0, unpaced=1.0, rounds=3)
QUICK = Size(paced=0.125, unpaced=0.2, rounds=1)
WARM_UP = {  # the dropped round: short, for connections, caches and first calls
    FULL: Size(paced=0.125, unpaced=0.1, rounds=1),
    QUICK: Size(paced=0.05, unpaced=0.05, rounds=1, most_streams=20),
}


def loads(size: Size, streams: list[int], dialects: list[str]) -> Iterator[Load]:
    """The scenarios of one round."""
    for dialect in dialects:
        rate = RATES[dialect]
        deltas = round(size.paced * SECONDS[dialect] * rate)
        for count in sorted({min(count, size.most_streams or count) for count in streams}):
            load = Load("paced", dialect, count, deltas, rate)
            if dialect == "native" and count == MIRROR_STREAMS:
                load = replace(load, subjects=(*load.subjects, UNSTORED, SHARED, SOCKET))
            yield load
        yield Load("burst", dialect, BURST_STREAMS, round(size.unpaced * BURST_DELTAS[dialect]), 0)
        repeats = max(10, round(size.unpaced * ONE_BY_ONE.repeats))
        yield replace(ONE_BY_ONE, dialect=dialect, repeats=repeats)
