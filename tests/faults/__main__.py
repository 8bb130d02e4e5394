"""The command line: rounds until the time is over, a table, exit status 1 on any violation."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import time

from faults.rounds import EXCEPTIONS, field_of, play, table

ROUND_SECONDS = 60.0  # with less left, no round begins
SHOWN = 100  # lines of a round's violations


async def main(options: argparse.Namespace) -> int:
    end = time.monotonic() + options.minutes * 60
    results = []
    async with field_of() as on:
        for seed in range(options.seed, options.seed + 10_000):
            done = sum(result.counts["faults"] for result in results)
            is_late = time.monotonic() + ROUND_SECONDS > end
            if results and (done >= options.faults if options.faults else is_late):
                break
            sys.stdout.write(f"seed {seed}\n")
            results.append(await play(on, seed, options.responses))
            sys.stdout.write(table(results[-1:]) + "\n")
            sys.stdout.write("".join(f"  {one}\n" for one in results[-1].violations[:SHOWN]))
            sys.stdout.flush()
    sys.stdout.write("\n" + table(results) + "\n")
    faults = sum(result.counts["faults"] for result in results)
    wrong = sum(len(result.violations) for result in results)
    apart = (f"{name} {sum(each.counts[name] for each in results)}" for name in EXCEPTIONS)
    sys.stdout.write(f"{faults} faults, {wrong} violations; apart: {', '.join(apart)}\n")
    return 1 if any(result.violations for result in results) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="tests.faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="10 by default")
    parser.add_argument(
        "--faults", type=int, help="until there were so many, however long it takes"
    )
    parser.add_argument("--seed", type=int, help="of the first round; default: a random one")
    parser.add_argument("--responses", type=int, default=200, help="of a round")
    given = parser.parse_args()
    if given.seed is None:
        given.seed = secrets.randbelow(1_000_000)
    sys.exit(asyncio.run(main(given)))
