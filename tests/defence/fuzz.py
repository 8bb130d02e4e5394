"""``python -m tests.defence.fuzz --inputs 1000000 --minutes 5 [TARGET ...]``: long runs.

Each input has a number; the one that broke a promise is printed with its target, and
``--first NUMBER --inputs 1`` repeats it.
"""

from __future__ import annotations

import argparse
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1]))

from defence.targets import TARGETS

HANG_SECONDS = 5  # of one input
SHOWN = 5  # different failures of one target


def run(name: str, first: int, inputs: int, seconds: float) -> tuple[int, int]:
    """How many inputs were tried, and how many broke a promise."""
    target, end, broken = TARGETS[name], time.monotonic() + seconds, 0
    seen: set[str] = set()
    number = first
    while number < first + inputs and time.monotonic() < end:
        signal.alarm(HANG_SECONDS)
        try:
            target(Random(number))  # noqa: S311 - inputs are to be repeatable, not secret
        except Exception:  # noqa: BLE001 - any but the documented ones is what is looked for
            broken += 1
            told = traceback.format_exc(limit=-4)
            if told not in seen and len(seen) < SHOWN:
                seen.add(told)
                sys.stdout.write(f"{name} {number}:\n{told}\n")
        number += 1
    signal.alarm(0)
    return number - first, broken


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.defence.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", default=list(TARGETS), help=", ".join(TARGETS))
    parser.add_argument("--inputs", type=int, default=100_000, help="of each target")
    parser.add_argument("--minutes", type=float, default=5, help="of each target, at most")
    parser.add_argument("--first", type=int, default=0, help="the first input's number")
    given = parser.parse_args()
    signal.signal(signal.SIGALRM, signal.default_int_handler)  # a hang ends the run, with its place
    all_broken = 0
    for name in given.targets:
        run(name, given.first, 200, 60)  # what is imported and cached once is no leak
        before, began = _peak_kib(), time.monotonic()
        tried, broken = run(name, given.first, given.inputs, given.minutes * 60)
        grown, seconds = _peak_kib() - before, time.monotonic() - began
        told = f"{tried} inputs in {seconds:.0f} s, {broken} broken, peak memory +{grown} KiB"
        sys.stdout.write(f"{name}: {told}\n")
        sys.stdout.flush()
        all_broken += broken
    return 1 if all_broken else 0


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    sys.exit(main())
