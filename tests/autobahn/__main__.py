"""Build the fuzzing client's environment where it is missing, run the cases, keep the result."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from autobahn.runs import Result, build, run

RESULTS = Path(__file__).with_name("results.md")
ALL = "1.*,2.*,3.*,4.*,5.*,6.*,7.*,9.*,10.*"  # there is no 8
KINDS = {
    1: "Framing",
    2: "Pings and pongs",
    3: "Reserved bits",
    4: "Opcodes",
    5: "Fragmentation",
    6: "UTF-8",
    7: "Closing",
    9: "Limits: up to 16 MiB, up to 65,536 fragments",
    10: "Fragments of a library's own",
}
HEAD = """\
# Autobahn

`make autobahn` runs Autobahn's cases 1-10 against the socket of `ws-bridge serve`: its listening
socket, its gate, its upgrade, its reading. Only the loop that reads messages is replaced by one
that says them back (`echo.py`), and the limits on fragments and control frames are raised, which
some cases exceed on purpose. Compression (12, 13) is not offered.

"Not strict" is 6.4.1-6.4.4: bad UTF-8 is found at the end of its message, not in its first
fragment, since aiohttp decodes a message when it is whole. "Informational" has no wrong answer.

| cases | passed | not strict | informational | failed |
|---|---|---|---|---|
"""
COLUMNS = ("OK", "NON-STRICT", "INFORMATIONAL", "FAILED")


def table(results: list[Result]) -> str:
    """One line a kind of case, and the sum."""
    counts = {number: Counter[str]() for number in KINDS}
    for one in results:
        counts[one.kind][one.verdict] += 1
    lines = [line(f"{number} {KINDS[number]}", counts[number]) for number in KINDS]
    return HEAD + "".join([*lines, line("all", sum(counts.values(), Counter()))])


def line(name: str, count: Counter[str]) -> str:
    return f"| {name} | {' | '.join(str(count[column]) for column in COLUMNS)} |\n"


if __name__ == "__main__":
    build()
    results = asyncio.run(run(ALL))
    text = table(results)
    RESULTS.write_text(text, encoding="utf-8")
    failed = [one for one in results if one.verdict == "FAILED"]
    sys.stdout.write(text + "".join(f"{one}\n" for one in failed))
    sys.exit(1 if failed else 0)
