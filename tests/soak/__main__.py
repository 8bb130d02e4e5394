"""The command line: tides for some minutes, a table, a plot; exit status 1 if anything grew."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import sys
import time
from pathlib import Path

from soak.judge import judge
from soak.report import markdown, picture
from soak.tides import AGAIN, ANSWERS, VISITS, Seen, field_of, soak

RESULTS = Path(__file__).parents[1] / "bench" / "results"


async def main(options: argparse.Namespace) -> int:
    seen = Seen()
    began = time.monotonic()
    async with field_of(options.servers) as on:
        await soak(on, seen, options.seed, options.minutes * 60, options.visits)
    findings = judge(seen.samples)
    checked, again = seen.counts.pop(ANSWERS), seen.counts.pop(AGAIN)
    about = {
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "command": f"python -m tests.soak --minutes {options.minutes:g} --seed {options.seed}",
        "whole run": f"{time.monotonic() - began:.0f} s",
        "servers": f"{options.servers}, one store, {os.cpu_count()} cores for everything",
        "tides": sum(sample.is_ebb for sample in seen.samples),
        "visits": sum(seen.counts.values()),
        ANSWERS: checked,
        AGAIN: again,
        "warnings logged": dict(seen.warnings) or "none",
    }
    told = markdown(seen, findings, about)
    sys.stdout.write(told)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "soak.md").write_text(told)
    (RESULTS / "soak.svg").write_text(picture(seen.samples))
    grows = [finding for finding in findings if not finding.is_bounded]
    return 1 if grows or seen.problems else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, help="default: a random one")
    parser.add_argument("--servers", type=int, default=2)
    parser.add_argument("--visits", type=int, default=VISITS, help="of a tide")
    given = parser.parse_args()
    if given.seed is None:
        given.seed = secrets.randbelow(1_000_000)
    sys.exit(asyncio.run(main(given)))
