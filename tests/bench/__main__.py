"""The command line: run, print the tables, and keep them in ``tests/bench/results``."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from tests.bench.loads import FULL, QUICK, RATES, WARM_UP, Size
from tests.bench.report import markdown, plain
from tests.bench.rounds import Field, Window, field, rounds
from tests.bench.store import measure

RESULTS = Path(__file__).parent / "results"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute, and rough")
    parser.add_argument("--rounds", type=int, help="measured rounds, after one that is dropped")
    parser.add_argument("--streams", default="1,50,200", help="concurrent streams of paced loads")
    parser.add_argument("--dialects", default=",".join(RATES), help="native, chat, or both")
    return parser.parse_args()


def about(on: Field, size: Size, seconds: float) -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": f"{os.cpu_count()} x {_cpu_name()}, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("litellm", "aiohttp", "uvloop")},
        "measured rounds": size.rounds,
        "whole run": f"{seconds:.0f} s",
        "load average at the end": f"{os.getloadavg()[0]:.1f}",
        "bridge ready after": f"{on.ready_seconds:.1f} s",
    }


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def watched(window: Window) -> Window:
    """Show that it goes on."""
    cpu = window.cpu_us_per_delta
    cost = "" if cpu is None else f", {cpu:.1f} µs/event"
    sys.stderr.write(f"round {window.round}: {window.load.name}, {window.subject}{cost}\n")
    return window


def main() -> None:
    options = arguments()
    size = QUICK if options.quick else FULL
    warm_up = WARM_UP[size]
    size = replace(size, rounds=options.rounds or size.rounds)
    streams = [int(count) for count in options.streams.split(",")]
    dialects = options.dialects.split(",")
    begin = time.monotonic()
    with TemporaryDirectory() as folder, ExitStack() as stack:
        on = field(stack, Path(folder), dialects)
        windows = [watched(window) for window in rounds(on, warm_up, size, streams, dialects)]
        store = measure(on.store_url)
        facts = about(on, size, time.monotonic() - begin)
    told = markdown(windows, facts, store)
    sys.stdout.write(told)
    RESULTS.mkdir(exist_ok=True)
    kept = RESULTS / ("quick" if options.quick else "latest")  # a rough run replaces no real one
    kept.with_suffix(".md").write_text(told)
    document = orjson.dumps(plain(windows, facts) | {"store": store}, option=orjson.OPT_INDENT_2)
    kept.with_suffix(".json").write_bytes(document)


if __name__ == "__main__":
    main()
