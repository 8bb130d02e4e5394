"""The processes of a run: what is measured, what it asks, and who asks it."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

from support.redis_servers import Node, valkey_binary

from tests.bench.loads import (
    BRIDGE,
    DIRECT,
    PASS_THROUGH,
    PEER,
    SHARED,
    SOCKET,
    UNSTORED,
    WORKERS,
    Load,
)
from tests.bench.processes import ROOT, START_SECONDS, Server, Worker, free_port

Json = dict[str, Any]
SETTLE_SECONDS = 0.2  # after the last terminal: what a subject still does for these answers counts
ALL_READY = 8  # answers of /readyz in a row: each worker has its own, and any of them may answer
OPTIONS: dict[str, Json] = {UNSTORED: {"store": False}, SOCKET: {"model": "socket"}}
PEERS = ROOT / ".venv-peers" / "bin" / "python"

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
[[models]]
name = "anthropic"
model = "anthropic/bench-claude"
api_base = "{upstream}"
api_key_env = "BENCH_API_KEY"
"""
# litellm's own WebSocket mode; for `openai/` models it only passes on a provider's socket.
PEER_CONFIG = """
model_list:
  - model_name: native
    litellm_params:
      model: hosted_vllm/bench-native
      api_base: {upstream}/v1
      api_key: bench-key
litellm_settings:
  telemetry: false
general_settings:
  master_key: {key}
"""
PEER_KEY = f"sk-{secrets.token_hex(24)}"


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
        return None if self.cpu_ns is None else self.cpu_ns / 1e6 / self.load.answers

    @property
    def deltas_per_second(self) -> float:
        return self.load.total / float(self.seen["seconds"])


class Driver:
    """The clients' process."""

    def __init__(self) -> None:
        self._worker = Worker("tests.bench.driver")

    def run(self, job: Json, server: Server) -> tuple[int, Json]:
        """CPU ns of the server while the job ran, and what the clients saw."""
        try:
            self._worker.send(job)
            self._worker.receive()
            before = server.cpu_ns()
            self._worker.send({"go": True})
            self._worker.receive()
            time.sleep(SETTLE_SECONDS)
            spent = server.cpu_ns() - before
            return spent, self._worker.receive()
        except EOFError:
            raise RuntimeError(f"an answer was not whole (above); log:\n{server.tail()}") from None

    def stop(self) -> None:
        """End the process."""
        self._worker.stop()


@dataclass
class Field:
    """All processes of a run, up and ready; the stack ends them."""

    stack: ExitStack
    folder: Path
    subjects: dict[tuple[str, str], Server] = field(default_factory=dict)  # (subject, dialect)
    missing: dict[str, str] = field(default_factory=dict)  # subjects that cannot be, and why

    def __post_init__(self) -> None:
        self.upstream = self.start("upstream", "tests.bench.upstream")
        self.limit = self.start("passthrough", "tests.bench.passthrough", self.upstream.url)
        store = self.stack.enter_context(Node(valkey_binary()))
        self.store_url = store.url
        self.config = self._written("config", "memory://")
        self._shared = self._written("shared", store.url)
        self.driver = Driver()
        self.stack.callback(self.driver.stop)

    def start(self, name: str, *arguments: str, python: str = sys.executable) -> Server:
        """Start a process that prints where it listens."""
        server = Server(self.folder / f"{name}.log", *arguments, python=python)
        self.stack.callback(server.stop)
        return server

    def bridge(self, name: str, config: Path, *flags: str) -> Server:
        """Start a bridge, and wait until it is ready."""
        server = self.start(name, "ws_bridge", "serve", "--config", str(config), *flags)
        await_ready(server, time.monotonic() + START_SECONDS)
        return server

    def prepare(self, wanted: Sequence[Load]) -> None:
        """Start what the loads need."""
        for dialect in dict.fromkeys(load.dialect for load in wanted):
            self.subjects[DIRECT, dialect] = self.upstream
            self.subjects[PASS_THROUGH, dialect] = self.limit
            self.subjects[BRIDGE, dialect] = self.bridge(f"bridge-{dialect}", self.config)
        needed = {subject for load in wanted for subject in load.subjects}
        if SHARED in needed:
            self.subjects[SHARED, "native"] = self.bridge("bridge-redis", self._shared)
        if WORKERS in needed:
            self._try(WORKERS, lambda: self.bridge("workers", self._shared, "--workers", "2"))
        if PEER in needed:
            self._try(PEER, self._peer)

    def window(self, number: int, load: Load, subject: str) -> Window:
        """Measure once."""
        process = BRIDGE if subject in OPTIONS else subject
        server = self.subjects[process, load.dialect]
        aim = {"subject": subject, "url": server.url, "options": OPTIONS.get(subject, {})}
        aim |= {"is_foreign": subject == PEER, "key": PEER_KEY if subject == PEER else ""}
        spent, seen = self.driver.run(asdict(load) | aim, server)
        if subject == DIRECT:
            return Window(number, load, subject, None, None, seen)
        return Window(number, load, subject, spent, server.rss_mib(), seen)

    def _written(self, name: str, store: str) -> Path:
        path = self.folder / f"{name}.toml"
        path.write_text(CONFIG.format(upstream=self.upstream.url, store=store))
        return path

    def _peer(self) -> Server:
        config = self.folder / "peer.yaml"
        config.write_text(PEER_CONFIG.format(upstream=self.upstream.url, key=PEER_KEY))
        if not PEERS.exists():
            raise RuntimeError("it is not installed: PEERS=1 make bench")
        flags = ("--host", "127.0.0.1", "--port", str(free_port()), "--config", str(config))
        return self.start("peer", "litellm.proxy.proxy_cli", *flags, python=str(PEERS))

    def _try(self, subject: str, begin: Any) -> None:
        """Start a subject that may be missing on this machine."""
        try:
            self.subjects[subject, "native"] = begin()
        except RuntimeError as missing:
            self.missing[subject] = str(missing).strip().splitlines()[-1]


def await_ready(server: Server, deadline: float) -> None:
    """Wait until the server, with all its workers, says that it has loaded everything."""
    opener = build_opener(ProxyHandler({}))
    in_a_row = 0
    while time.monotonic() < deadline:
        try:
            with opener.open(f"{server.url}/readyz", timeout=5):  # 503 raises
                in_a_row += 1
        except OSError:  # URLError, and a worker that is not there yet
            in_a_row = 0
            time.sleep(0.02)
        if in_a_row == ALL_READY:
            return
    raise RuntimeError("the bridge did not become ready")
