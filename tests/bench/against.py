"""`python -m tests.bench.against --against PATH`: the CPU of this checkout beside another one's.

Both are asked by the same clients for the same answers of the same loopback provider, in turns
(A B, B A, …), so that what the machine does meanwhile hits them alike. The other checkout has its
own ``.venv``. Medians of the rounds are printed, after one round that is dropped.

With ``--everything`` this checkout does what an operator can ask of it: a client with limits over
the store and a budget, prices, the page of metrics, JSON lines and an access log. Both are on one
store then.

Rule: figures of a busy machine are no figures; the load average stands beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from support.redis_servers import Node, valkey_binary

from tests.bench.field import CONFIG, OPTIONS, Driver, await_ready
from tests.bench.loads import SOCKET, Load
from tests.bench.processes import ROOT, START_SECONDS, Server, free_port

OTHER, THIS = "before", "after"
WAYS = {"chat": "chat", "anthropic": "anthropic", "native": "native", "socket": "native"}
ANSWERS, ANSWER_DELTAS = 200, 10  # one at a time
STREAMS, STREAM_DELTAS, RATE = 20, 200, 50  # paced
KEY = "bench-client-key"  # a server without keys takes any
PRICE = "price = {input = 1.0, output = 2.0}\n"


def everything() -> dict[str, str]:
    """The variables that switch on what is off by default; no limit of them is reached."""
    client = {"name": "bench", "key_env": "BENCH_CLIENT_KEY", "budget_usd": 1e9}
    most = dict.fromkeys(("creates_per_minute", "tokens_per_minute"), 10**9)
    slots = dict.fromkeys(("running", "connections"), 10**6)
    return {
        "BENCH_CLIENT_KEY": KEY,
        "WS_BRIDGE__KEYS": json.dumps([client | most | slots]),
        "WS_BRIDGE__LIMITS__SCOPE": "store",
        "WS_BRIDGE__METRICS__LISTEN": f"127.0.0.1:{free_port()}",
        "WS_BRIDGE__SERVER__ACCESS_LOG": "true",
        "WS_BRIDGE__SERVER__LOG_FORMAT": "json",
    }


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
    spent, _ = driver.run(asdict(load) | aim | {"is_foreign": False, "key": KEY}, server)
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
    parser.add_argument("--everything", action="store_true", help="on, in this checkout")
    parser.add_argument("--ways", default=",".join(WAYS), help=f"of {', '.join(WAYS)}")
    options = parser.parse_args()
    homes = {OTHER: options.against.resolve(), THIS: ROOT}
    with TemporaryDirectory() as name, ExitStack() as ends:
        folder = Path(name)
        upstream = Server(folder / "upstream.log", "tests.bench.upstream")
        ends.callback(upstream.stop)
        config = folder / "config.toml"
        store, environ = "memory://", {}
        if options.everything:
            store, environ = ends.enter_context(Node(valkey_binary())).url, everything()
        text = CONFIG.format(upstream=upstream.url, store=store)
        if options.everything:  # the other one has them too, if it knows them
            text = text.replace("[[models]]\n", "[[models]]\n" + PRICE)
        config.write_text(text)
        servers = {}
        for checkout, home in homes.items():
            log, python = folder / f"{checkout}.log", str(home / ".venv" / "bin" / "python")
            flags = ("ws_bridge", "serve", "--config", str(config))
            own = environ if checkout == THIS else {}
            servers[checkout] = Server(log, *flags, python=python, home=home, environ=own)
            ends.callback(servers[checkout].stop)
            await_ready(servers[checkout], time.monotonic() + START_SECONDS)
        driver = Driver()
        ends.callback(driver.stop)
        costs = list(measured(driver, servers, options.ways.split(","), options.rounds))
    sys.stdout.write(told(costs))
    sys.stdout.write(f"\n{options.rounds} rounds; load average {os.getloadavg()[0]:.1f}\n")


if __name__ == "__main__":
    main()
