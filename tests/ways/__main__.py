"""The command line: the counts, as tables."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from ways.entry import HOUSE
from ways.field import ALL
from ways.house import House, told
from ways.measure import Counted, Size, counted
from ways.report import listing, table


async def main(options: argparse.Namespace) -> None:
    families = [family for family in ALL if options.family in ("", family.name)]
    size = Size(options.deltas, options.more, options.rounds)
    rows: list[Counted] = []
    for is_shared in (False, True):
        rows += [row async for row in counted(families, size, is_shared=is_shared)]
    sys.stdout.write(table(rows))
    if options.list:
        sys.stdout.write("\n" + "\n".join(map(listing, rows)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="tests.ways", description=__doc__)
    parser.add_argument("--house", action="store_true", help="how the code is laid out, instead")
    parser.add_argument("--list", action="store_true", help="files and functions, in their order")
    parser.add_argument(
        "--family", default="", choices=["", *(family.name for family in ALL)], help="only this one"
    )
    parser.add_argument("--deltas", type=int, default=Size.deltas, help="of the shorter stream")
    parser.add_argument("--more", type=int, default=Size.more, help="of the longer stream")
    parser.add_argument(
        "--rounds", type=int, default=Size.rounds, help="after one that is not seen"
    )
    given = parser.parse_args()
    if given.house:
        sys.stdout.write(told(House.of(HOUSE, Path(__file__).parents[1])))
    else:
        asyncio.run(main(given))
