"""Run the rounds: every load against every subject, one window after the other.

Subjects of one load follow each other directly and take turns in going first, so that what the
machine does meanwhile hits them alike. The first, short round is dropped: it warms everything up.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import orjson
from valkeys import Node, valkey_binary

from tests.bench.loads import (
    BRIDGE,
    DIRECT,
    PASS_THROUGH,
    SHARED,
    SOCKET,
    UNSTORED,
    Load,
    Size,
    loads,
)
from tests.bench.processes import ROOT, START_SECONDS, Server, surroundings

Json = dict[str, Any]
SETTLE_SECONDS = 0.2  # after the last terminal: what a subject still does for these answers counts
OPTIONS: dict[str, Json] = {UNSTORED: {"store": False}, SOCKET: {"model": "socket"}}

CONFIG = """
[server]
port = 0
drain_seconds = 1
[store]
url = "{store}"
[[models]]
name = "native"
model = "openai/bench-native"
api_base = "{upstream}/v1"
api_key_env = "BENCH_API_KEY"
mode = "managed"
[[models]]
name = "socket"
model = "openai/bench-native"
api_base = "{upstream}/v1"
api_key_env = "BENCH_API_KEY"
mode = "native"
[[models]]
name = "chat"
model = "groq/bench-chat"
api_base = "{upstream}/v1"
api_key_env = "BENCH_API_KEY"
"""


@dataclass(frozen=True, slots=True)
class Window:
    """One load against one subject in one round."""

    round: int
    load: Load
    subject: str
    cpu_ns: int | None  # the client itself is no subject: None for direct
    rss_mib: float | None
    seen: Json  # what the driver saw

    @property
    def cpu_us_per_delta(self) -> float | None:
        return None if self.cpu_ns is None else self.cpu_ns / 1e3 / self.load.total

    @property
    def cpu_ms_per_answer(self) -> float | None:
        answers = self.load.streams * self.load.repeats
        return None if self.cpu_ns is None else self.cpu_ns / 1e6 / answers

    @property
    def deltas_per_second(self) -> float:
        return self.load.total / float(self.seen["seconds"])


class Driver:
    """The clients' process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.driver"],
            cwd=ROOT,
            env=surroundings(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def run(self, job: Json, server: Server) -> tuple[int, Json]:
        """CPU ns of the server while the job ran, and what the clients saw."""
        try:
            self._send(job)
            self._receive()
            before = server.cpu_ns()
            self._send({"go": True})
            self._receive()
            time.sleep(SETTLE_SECONDS)
            spent = server.cpu_ns() - before
            return spent, self._receive()
        except EOFError:
            raise RuntimeError(f"an answer was not whole (above); log:\n{server.tail()}") from None

    def stop(self) -> None:
        """End the process."""
        self._process.kill()  # it keeps nothing
        self._process.communicate()

    def _send(self, message: Json) -> None:
        assert self._process.stdin
        self._process.stdin.write(orjson.dumps(message) + b"\n")
        self._process.stdin.flush()

    def _receive(self) -> Json:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise EOFError("the driver gave up")
        message: Json = orjson.loads(line)
        return message


@dataclass(frozen=True, slots=True)
class Field:
    """All processes of a run, up and ready."""

    upstream: Server
    subjects: dict[tuple[str, str], Server]  # (subject, dialect)
    driver: Driver
    ready_seconds: float  # a bridge's, from its start until it says so
    store_url: str

    def window(self, number: int, load: Load, subject: str) -> Window:
        """Measure once."""
        process = BRIDGE if subject in OPTIONS else subject
        server = self.subjects[process, load.dialect]
        aim = {"subject": subject, "url": server.url, "options": OPTIONS.get(subject, {})}
        spent, seen = self.driver.run(asdict(load) | aim, server)
        if subject == DIRECT:
            return Window(number, load, subject, None, None, seen)
        return Window(number, load, subject, spent, server.rss_mib(), seen)


def field(stack: ExitStack, folder: Path, dialects: list[str]) -> Field:
    """Start everything; the stack ends it."""

    def start(name: str, *arguments: str) -> Server:
        server = Server(folder / f"{name}.log", *arguments)
        stack.callback(server.stop)
        return server

    upstream = start("upstream", "tests.bench.upstream")
    config = folder / "config.toml"
    config.write_text(CONFIG.format(upstream=upstream.url, store="memory://"))
    shared = folder / "shared.toml"
    store = stack.enter_context(Node(valkey_binary()))
    shared.write_text(CONFIG.format(upstream=upstream.url, store=store.url))
    limit = start("passthrough", "tests.bench.passthrough", upstream.url)
    subjects: dict[tuple[str, str], Server] = {}
    ready = 0.0
    for dialect in dialects:
        begin = time.monotonic()
        bridge = start(f"bridge-{dialect}", "ws_bridge", "serve", "--config", str(config))
        await_ready(bridge, begin + START_SECONDS)
        ready = time.monotonic() - begin
        subjects |= {(DIRECT, dialect): upstream, (PASS_THROUGH, dialect): limit}
        subjects[BRIDGE, dialect] = bridge
    if "native" in dialects:
        bridge = start("bridge-redis", "ws_bridge", "serve", "--config", str(shared))
        await_ready(bridge, time.monotonic() + START_SECONDS)
        subjects[SHARED, "native"] = bridge
    driver = Driver()
    stack.callback(driver.stop)
    return Field(upstream, subjects, driver, ready, store.url)


def await_ready(server: Server, deadline: float) -> None:
    """Wait until the server says that it has loaded everything."""
    opener = build_opener(ProxyHandler({}))
    while time.monotonic() < deadline:
        with suppress(URLError), opener.open(f"{server.url}/readyz", timeout=5):  # 503 raises
            return
        time.sleep(0.02)
    raise RuntimeError("the bridge did not become ready")


def in_turn(load: Load, number: int) -> list[str]:
    """The load's subjects, another one first in each round."""
    shift = number % len(load.subjects)
    return [*load.subjects[shift:], *load.subjects[:shift]]


def rounds(
    on: Field, warm_up: Size, size: Size, streams: list[int], dialects: list[str]
) -> Iterator[Window]:
    """Every window of the measured rounds, after a short round that is dropped."""
    for number in range(size.rounds + 1):
        for load in loads(size if number else warm_up, streams, dialects):
            for subject in in_turn(load, number):
                window = on.window(number, load, subject)
                if number:
                    yield window
