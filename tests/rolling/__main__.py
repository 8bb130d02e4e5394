"""The command line: a table, exit status 1 on any fault."""

from __future__ import annotations

import argparse
import asyncio
import sys

from rolling.rounds import table, three_servers, two_workers

ROUNDS = {"servers": three_servers, "workers": two_workers}


async def main(options: argparse.Namespace) -> int:
    faults = []
    for name in options.only or ROUNDS:
        figures, found = await ROUNDS[name](options.chains)
        sys.stdout.write(table(name, figures) + "".join(f"  {one}\n" for one in found) + "\n")
        sys.stdout.flush()
        faults += found
    return 1 if faults else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="tests.rolling", description=__doc__)
    parser.add_argument("--chains", type=int, default=100)
    parser.add_argument("--only", choices=ROUNDS, action="append", help="default: all")
    sys.exit(asyncio.run(main(parser.parse_args())))
