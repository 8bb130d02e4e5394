"""Run the rounds: every load against every subject, one window after the other.

Subjects of one load follow each other directly and take turns in going first, so that what the
machine does meanwhile hits them alike. The first, short round is dropped: it warms everything up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.bench.field import Field, Window
from tests.bench.loads import Load, Size, chosen, loads


def in_turn(load: Load, number: int) -> list[str]:
    """The load's subjects, another one first in each round."""
    shift = number % len(load.subjects)
    return [*load.subjects[shift:], *load.subjects[:shift]]


def wanted(size: Size, streams: Sequence[int], only: Sequence[str], on: Field) -> list[Load]:
    """The loads of one round that were asked for, with the subjects that there are."""
    return [load for load in loads(size, streams, [*on.missing]) if chosen(load.key, only)]


def rounds(
    on: Field, warm_up: Size, size: Size, streams: Sequence[int], only: Sequence[str]
) -> Iterator[Window]:
    """Every window of the measured rounds, after a short round that is dropped."""
    for number in range(size.rounds + 1):
        for load in wanted(size if number else warm_up, streams, only, on):
            for subject in in_turn(load, number):
                window = on.window(number, load, subject)
                if number:
                    yield window
