"""Ways: what happened from the bytes that came to the bytes that left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ways.recorder import Bytes, Entered, Happened, LoopStep


@dataclass(frozen=True)
class Way:
    """One way; ``all_calls`` are those of Python, of whatever module."""

    happened: tuple[Happened, ...]
    all_calls: int

    @property
    def entered(self) -> list[Entered]:
        """The project's functions, in their order."""
        return [each for each in self.happened if isinstance(each, Entered)]

    @property
    def files(self) -> list[str]:
        """The project's files, in the order in which they are entered first."""
        return list(dict.fromkeys(each.function.file for each in self.entered))

    @property
    def calls(self) -> int:
        """How often a function of the project begins."""
        return sum(not each.is_resumed for each in self.entered)

    @property
    def resumptions(self) -> int:
        """How often one goes on."""
        return sum(each.is_resumed for each in self.entered)

    @property
    def depth(self) -> int:
        """Of the project's functions in each other, at most."""
        return max(each.depth for each in self.entered)

    @property
    def async_generators(self) -> int:
        """How many of the functions are asynchronous generators."""
        functions = {each.function for each in self.entered}
        return sum(function.is_async_generator for function in functions)

    @property
    def loop_steps(self) -> int:
        """How many callbacks of the event loop entered the project."""
        steps, is_counted = 0, True
        for each in self.happened:
            if isinstance(each, LoopStep):
                is_counted = False
            elif isinstance(each, Entered) and not is_counted:
                steps, is_counted = steps + 1, True
        return steps


@dataclass(frozen=True)
class Steady:
    """The way that is seen most often, and how many of all were the same."""

    way: Way
    alike: int
    count: int


def ways(happened: Sequence[Happened], source: str, target: str) -> Iterator[Way]:
    """Each way from the last bytes of the source to the first ones that leave for the target."""
    begin: tuple[int, Bytes] | None = None
    for place, each in enumerate(happened):
        if not isinstance(each, Bytes):
            continue
        if (each.direction, each.peer) == ("from", source):
            begin = place, each
        elif begin is not None and (each.direction, each.peer) == ("to", target):
            between = tuple(happened[begin[0] : place + 1])
            yield Way(between, each.calls - begin[1].calls)
            begin = None


def steady(found: Sequence[Way]) -> Steady:
    """Of several ways of the same thing the one that is seen most often, the first of equals.

    A timer of the bridge that runs out amid a way makes it another one. Raises ``LookupError`` if
    there is none.
    """
    if not found:
        raise LookupError("no bytes went this way")
    counted = Counter(tuple(way.entered) for way in found)
    most, alike = counted.most_common(1)[0]
    return Steady(next(way for way in found if tuple(way.entered) == most), alike, len(found))
