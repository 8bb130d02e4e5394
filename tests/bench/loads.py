"""What is measured, as data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch

DIRECT, PASS_THROUGH, BRIDGE, UNSTORED, SHARED, SOCKET, WORKERS, PEER = (
    "direct",
    "pass-through",
    "bridge",
    "bridge, store:false",
    "bridge, redis",
    "bridge, provider's socket",
    "bridge, 2 workers",
    "litellm proxy",
)
USUAL = (DIRECT, PASS_THROUGH, BRIDGE)
EXTRAS = ("idle", "start-up", "store", "heavy")  # measured once, and not in rounds


@dataclass(frozen=True, slots=True)
class Load:
    """One scenario. ``rate`` 0 is unpaced; ``repeats`` answers follow each other on a stream."""

    kind: str  # "paced", "burst", "first", "starts"
    dialect: str  # "native", "chat", "anthropic"
    streams: int
    deltas: int
    rate: int
    repeats: int = 1
    subjects: tuple[str, ...] = USUAL
    # That begin all at once while the streams run; their answers are short.
    starters: int = 0

    @property
    def key(self) -> str:
        """What ``--only`` calls it."""
        return f"{self.dialect}-{self.kind}"

    @property
    def name(self) -> str:
        paced = f"{self.dialect}, {self.streams} x {self.rate}/s"
        names = {
            "paced": paced,
            "burst": f"{self.dialect}, {self.streams} x {self.deltas} unpaced",
            "first": f"{self.dialect}, one at a time",
            "starts": f"{self.dialect}, {self.starters} start at once beside {paced}",
        }
        return names[self.kind]

    @property
    def total(self) -> int:
        """Deltas of all its answers."""
        return self.streams * self.deltas * self.repeats + self.starters * STARTER_DELTAS

    @property
    def answers(self) -> int:
        """All of them."""
        return self.streams * self.repeats + self.starters


RATES = {"native": 100, "chat": 50, "anthropic": 50}  # deltas a second of one stream
SECONDS = {"native": 4.0, "chat": 3.0, "anthropic": 3.0}  # of one paced answer
BURST_STREAMS = 20
BURST_DELTAS = {"native": 1000, "chat": 300, "anthropic": 300}
FIRSTS = {"native": 100, "chat": 30, "anthropic": 30}  # answers asked for one at a time
FIRST_DELTAS = 8
MIRROR_STREAMS = 50  # where storing and not storing are compared
STARTERS, STARTER_DELTAS, STARTER_RATE = 200, 20, 20
BESIDE, BESIDE_SECONDS = 20, 5.0  # the streams that run while others start
STARTS_AFTER_SECONDS = 1.0


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


def loads(size: Size, streams: Sequence[int], missing: Sequence[str] = ()) -> Iterator[Load]:
    """The scenarios of one round, without the subjects that are ``missing``."""
    for load in (*_native(size, streams), *_bridged(size)):
        has = tuple(subject for subject in load.subjects if subject not in missing)
        yield replace(load, subjects=has)


def chosen(key: str, only: Sequence[str]) -> bool:
    """Whether ``--only`` asks for it; nothing is everything."""
    return not only or any(fnmatch(key, pattern) for pattern in only)


def _native(size: Size, streams: Sequence[int]) -> Iterator[Load]:
    for count in sorted({min(count, size.most_streams or count) for count in streams}):
        load = _paced(size, "native", count)
        if count == MIRROR_STREAMS:
            load = replace(load, subjects=(*USUAL, UNSTORED, SHARED, SOCKET, PEER))
        yield load
    yield _starts(size)
    yield replace(_burst(size, "native"), subjects=(*USUAL, PEER))
    yield replace(_first(size, "native"), subjects=(*USUAL, PEER))


def _bridged(size: Size) -> Iterator[Load]:
    for dialect in ("chat", "anthropic"):
        yield _paced(size, dialect, min(MIRROR_STREAMS, size.most_streams or MIRROR_STREAMS))
        yield _burst(size, dialect)
        yield _first(size, dialect)


def _paced(size: Size, dialect: str, streams: int) -> Load:
    rate = RATES[dialect]
    return Load("paced", dialect, streams, round(size.paced * SECONDS[dialect] * rate), rate)


def _burst(size: Size, dialect: str) -> Load:
    deltas = round(size.unpaced * BURST_DELTAS[dialect])
    return Load("burst", dialect, BURST_STREAMS, deltas, rate=0)


def _first(size: Size, dialect: str) -> Load:
    repeats = max(10, round(size.unpaced * FIRSTS[dialect]))
    return Load("first", dialect, 1, FIRST_DELTAS, rate=0, repeats=repeats)


def _starts(size: Size) -> Load:
    """Streams that are already running, and what they notice of many others' start."""
    rate, starters = RATES["native"], size.most_streams or STARTERS
    deltas = round(max(size.paced, 0.4) * BESIDE_SECONDS * rate)
    subjects = (*USUAL, SHARED, WORKERS)
    return Load("starts", "native", BESIDE, deltas, rate, subjects=subjects, starters=starters)
