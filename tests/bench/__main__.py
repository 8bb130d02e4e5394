"""The command line: run, print the tables, and keep them in ``tests/bench/results``."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from tests.bench import heavy, once, store
from tests.bench.field import Field, Window
from tests.bench.loads import EXTRAS, FULL, PEER, QUICK, WARM_UP, Size, chosen, loads
from tests.bench.report import markdown, picture, plain
from tests.bench.rounds import rounds, wanted

RESULTS = Path(__file__).parent / "results"


def arguments() -> argparse.Namespace:
    keys = dict.fromkeys(load.key for load in loads(FULL, [1]))
    parser = argparse.ArgumentParser(prog="tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute, and rough")
    parser.add_argument("--rounds", type=int, help="measured rounds, after one that is dropped")
    parser.add_argument("--streams", default="50", help="concurrent native streams of paced loads")
    parser.add_argument("--peers", action="store_true", help="the litellm proxy too: .venv-peers")
    parser.add_argument(
        "--only",
        default="",
        metavar="SCENARIO[,…]",
        help=f"of {', '.join((*keys, *EXTRAS))}; * is a wildcard",
    )
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
        **{f"not measured: {subject}": why for subject, why in on.missing.items()},
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


def extras(on: Field, only: Sequence[str]) -> dict[str, Any]:
    """Sections of what is measured once."""
    measures = {
        "start-up": ("Start", lambda: once.start_up(on)),
        "idle": ("Idle sockets", lambda: once.idle(on)),
        "store": ("The shared store", lambda: store.measure(on.store_url)),
        "heavy": ("What others notice of the largest requests", lambda: heavy.measure(on)),
    }
    return {title: run() for key, (title, run) in measures.items() if chosen(key, only)}


def main() -> None:
    options = arguments()
    size = QUICK if options.quick else FULL
    warm_up = WARM_UP[size]
    size = replace(size, rounds=options.rounds or size.rounds)
    streams = [int(count) for count in options.streams.split(",")]
    only = [key for key in options.only.split(",") if key]
    begin = time.monotonic()
    with TemporaryDirectory() as folder, ExitStack() as stack:
        on = Field(stack, Path(folder))
        told_once = extras(on, only)  # first: what follows leaves the machine warm
        if not options.peers:
            on.missing[PEER] = "PEERS=1 make bench"
        on.prepare(wanted(size, streams, only, on))
        windows = [watched(window) for window in rounds(on, warm_up, size, streams, only)]
        facts = about(on, size, time.monotonic() - begin)
    # A rough run, or a part of one, replaces no whole one.
    kept = RESULTS / ("quick" if options.quick or only else "latest")
    told = markdown(windows, facts, told_once, kept.with_suffix(".svg").name)
    sys.stdout.write(told)
    RESULTS.mkdir(exist_ok=True)
    kept.with_suffix(".md").write_text(told)
    kept.with_suffix(".svg").write_text(picture(windows))
    document = orjson.dumps(plain(windows, facts) | told_once, option=orjson.OPT_INDENT_2)
    kept.with_suffix(".json").write_bytes(document)


if __name__ == "__main__":
    main()
