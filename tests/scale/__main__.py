"""The command line: the acts, a table in the bench's results, exit status 1 if a limit broke."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scale.acts import RATE, STREAMS, Pace, Stage, churn, hold, storm
from scale.limits import broken, markdown

RESULTS = Path(__file__).parents[1] / "bench" / "results"
SPARE = 500  # descriptors of a process that are no held sockets


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.scale", description=__doc__)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60, help="of streams beside all of them")
    parser.add_argument("--churn", type=int, default=20_000, help="sockets that come and go")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    began = time.monotonic()
    figures: dict[str, dict[str, Any]] = {}
    with TemporaryDirectory() as folder, ExitStack() as stack:
        stage = Stage(stack, Path(folder), Pace())
        most = min(options.connections, stage.most_descriptors - SPARE)
        acts = {
            "hold": lambda: hold(stage, most, options.seconds),
            "storm": lambda: storm(stage, most),
            "churn": lambda: churn(stage, options.churn),
        }
        for name, act in acts.items():
            sys.stderr.write(f"{name} …\n")
            figures[name] = act()
    about = {
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": f"{os.cpu_count()} cores for all of it, {platform.system()}",
        "streams": f"{STREAMS} x {RATE}/s",
        "whole run": f"{time.monotonic() - began:.0f} s",
        "load average at the end": f"{os.getloadavg()[0]:.1f}",
    }
    if most < options.connections:
        about["fewer than asked for"] = f"RLIMIT_NOFILE is {stage.most_descriptors:,}"
    told = markdown(figures, about)
    sys.stdout.write(told)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "scale.md").write_text(told)
    return 1 if list(broken(figures)) else 0


if __name__ == "__main__":
    sys.exit(main())
