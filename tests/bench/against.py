"""`python -m tests.bench.against --against PATH`: the CPU of this checkout beside another one's.

Both are asked by the same clients for the same answers of the same loopback provider, in turns
(A B, B A, …), so that what the machine does meanwhile hits them alike. The other checkout has its
own ``.venv``. Medians of the rounds are printed, after one round that is dropped.

Rule: figures of a busy machine are no figures; the load average stands beside them.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.bench.field import CONFIG, OPTIONS, Driver, await_ready
from tests.bench.loads import SOCKET, Load
from tests.bench.processes import ROOT, START_SECONDS, Server

OTHER, THIS = "before", "after"
WAYS = {"chat": "chat", "anthropic": "anthropic", "native": "native", "socket": "native"}
ANSWERS, ANSWER_DELTAS = 200, 10  # one at a time
STREAMS, STREAM_DELTAS, RATE = 20, 200, 50  # paced


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU µs of one window: of each response, one at a time, or of each event of paced streams."""

    way: str
    unit: str
    checkout: str
    cpu_us: float


def loads_of(way: str, share: float) -> dict[str, Load]:
    """What a way is measured by: the unit of its cost, and the load."""
    answers, deltas = round(ANSWERS * share), round(STREAM_DELTAS * share)
    one = Load("first", WAYS[way], 1, ANSWER_DELTAS, rate=0, repeats=answers)
    return {"response": one, "event": Load("paced", WAYS[way], STREAMS, deltas, RATE)}


def measured(
    driver: Driver, servers: Mapping[str, Server], ways: Sequence[str], rounds: int
) -> Iterator[Cost]:
    """Every window of the measured rounds; a checkout goes first in every second one."""
    for number in range(rounds + 1):
        turn = [OTHER, THIS] if number % 2 else [THIS, OTHER]
        for way in ways:
            for unit, load in loads_of(way, 1.0 if number else 0.2).items():
                for checkout in turn:
                    spent = _spent(driver, servers[checkout], way, load)
                    count = load.answers if unit == "response" else load.total
                    if number:
                        yield Cost(way, unit, checkout, spent / 1e3 / count)


def _spent(driver: Driver, server: Server, way: str, load: Load) -> int:
    """CPU ns of a server during one load."""
    options = OPTIONS[SOCKET] if way == "socket" else {}
    aim = {"subject": "bridge", "url": server.url, "options": options}
    spent, _ = driver.run(asdict(load) | aim | {"is_foreign": False, "key": ""}, server)
    return spent


def told(costs: Sequence[Cost]) -> str:
    """One line a way and unit, as Markdown."""
    lines = [f"| way | CPU µs per | {OTHER} | {THIS} | ratio |", "| --- | --- | --: | --: | --: |"]
    for way, unit in dict.fromkeys((cost.way, cost.unit) for cost in costs):
        old, new = (
            median(c.cpu_us for c in costs if (c.way, c.unit, c.checkout) == (way, unit, checkout))
            for checkout in (OTHER, THIS)
        )
        lines.append(f"| {way} | {unit} | {old:.1f} | {new:.1f} | {new / old:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.bench.against", description=__doc__)
    parser.add_argument("--against", type=Path, required=True, help="the other checkout")
    parser.add_argument("--rounds", type=int, default=10, help="after one that is dropped")
    parser.add_argument("--ways", default=",".join(WAYS), help=f"of {', '.join(WAYS)}")
    options = parser.parse_args()
    homes = {OTHER: options.against.resolve(), THIS: ROOT}
    with TemporaryDirectory() as name, ExitStack() as ends:
        folder = Path(name)
        upstream = Server(folder / "upstream.log", "tests.bench.upstream")
        ends.callback(upstream.stop)
        config = folder / "config.toml"
        config.write_text(CONFIG.format(upstream=upstream.url, store="memory://"))
        servers = {}
        for checkout, home in homes.items():
            log, python = folder / f"{checkout}.log", str(home / ".venv" / "bin" / "python")
            flags = ("ws_bridge", "serve", "--config", str(config))
            servers[checkout] = Server(log, *flags, python=python, home=home)
            ends.callback(servers[checkout].stop)
            await_ready(servers[checkout], time.monotonic() + START_SECONDS)
        driver = Driver()
        ends.callback(driver.stop)
        costs = list(measured(driver, servers, options.ways.split(","), options.rounds))
    sys.stdout.write(told(costs))
    sys.stdout.write(f"\n{options.rounds} rounds; load average {os.getloadavg()[0]:.1f}\n")


if __name__ == "__main__":
    main()
