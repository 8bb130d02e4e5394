"""The acts of a run, each with its figures."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

from support.hang import HANG_SECONDS

from scale.crowd import Crowd
from tests.bench import gauges
from tests.bench.field import Driver, Field
from tests.bench.loads import BRIDGE, DIRECT, Load
from tests.bench.processes import Server, raise_descriptors

Json = dict[str, Any]

STREAMS, RATE = 100, 10  # 100 a second each would leave two cores nothing beside the clients
OPEN_PER_SECOND = 500
HALF = 0.5  # of a stream's time: what it has said by then is in memory
REST_SECONDS = 60.0  # in which a server lets go of all that has left
_GAUGE = re.compile(r"^ws_bridge_(\w+) (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Pace:
    """How long what takes. The defaults are a run's; a test has no such time."""

    idle: float = 30.0  # longer than a ping's turn
    directly: float = 5.0
    storm: float = 10.0
    storm_streams: float = 30.0
    storm_after: float = 5.0  # of the streams
    still: float = 2.0  # after the last has left
    warm_sockets: int = 500
    churn_warm_up: int = 4000


@dataclass(frozen=True, slots=True)
class Held:
    """What the server is made of at one moment."""

    private_mib: float
    descriptors: int
    tasks: float
    blocks: float
    cpu_ns: int


class Stage:
    """One bridge, its provider, and its clients."""

    def __init__(self, stack: ExitStack, folder: Path, pace: Pace) -> None:
        self.pace = pace
        self.most_descriptors = raise_descriptors()
        field = Field(stack, folder)
        self._direct: Server = field.upstream
        self._driver: Driver = field.driver
        self.bridge = field.bridge("bridge", field.config)
        self.crowd = Crowd(self.bridge.url)
        stack.callback(self.crowd.stop)
        self._opener = build_opener(ProxyHandler({}))

    def gauges(self) -> dict[str, float]:
        """What `/metrics` says without labels."""
        with self._opener.open(f"{self.bridge.url}/metrics", timeout=HANG_SECONDS) as answer:
            return {name: float(value) for name, value in _GAUGE.findall(answer.read().decode())}

    def held(self) -> Held:
        """Read it now."""
        pid = self.bridge.pid
        shown = self.gauges()
        private, files = gauges.private_kib(pid) / 1024, gauges.descriptors(pid)
        return Held(private, files, shown["tasks"], shown["blocks"], gauges.cpu_ns(pid))

    def rest(self, connections: int) -> None:
        """Wait until the server knows of no other sockets."""
        deadline = time.monotonic() + REST_SECONDS
        while (known := self.gauges()["connections"]) != connections:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{known:g} sockets after {REST_SECONDS:g} s: {connections}")
            time.sleep(0.1)
        time.sleep(self.pace.still)

    def stream(self, seconds: float, *, directly: bool = False) -> tuple[int, Json]:
        """The streams for so long; CPU ns, and what they saw. Raises if one was not whole."""
        load = Load("paced", "native", STREAMS, round(seconds * RATE), RATE)
        subject, server = (DIRECT, self._direct) if directly else (BRIDGE, self.bridge)
        aim = {"subject": subject, "url": server.url, "options": {}, "key": ""}
        aim["is_foreign"] = False
        return self._driver.run(asdict(load) | aim, server)


def hold(stage: Stage, connections: int, seconds: float) -> Json:
    """All come, and are idle; then streams run beside them (catalogue C24)."""
    pace = stage.pace
    stage.stream(pace.directly)
    stage.crowd.open(pace.warm_sockets, 1)
    stage.crowd.drop()
    stage.rest(0)
    _, directly = stage.stream(pace.directly, directly=True)
    before = stage.held()
    opened = stage.crowd.open(connections, connections / OPEN_PER_SECOND)
    stage.rest(opened["opened"])
    full = stage.held()
    time.sleep(pace.idle)
    idle = stage.held()
    with ThreadPoolExecutor(1) as aside:
        streaming = aside.submit(stage.stream, seconds)
        time.sleep(seconds * HALF)
        flowing = stage.held()
        spent, seen = streaming.result()
    told = stage.crowd.tell()
    return {
        "connections": opened["opened"],
        "refused": opened["failed"],
        "opened a second": opened["opened"] / opened["seconds"],
        "slowest handshake s": opened["slowest"],
        "KiB a connection": (full.private_mib - before.private_mib) * 1024 / connections,
        "CPU % idle, pings answered": _share(full, idle, pace.idle),
        "CPU % with streams": spent / 1e9 / seen["seconds"] * 100,
        "streams' added p50 ms": seen["p50_ms"] - directly["p50_ms"],
        "streams' added p99 ms": seen["p99_ms"] - directly["p99_ms"],
        "streams whole": STREAMS,  # or the driver would have raised
        "KiB a stream, half-way": (flowing.private_mib - idle.private_mib) * 1024 / STREAMS,
        "blocks a stream, half-way": (flowing.blocks - idle.blocks) / STREAMS,
        "seconds held": pace.idle + seen["seconds"],
        "pings answered": told["pings"],
        "pings missed": max(0, opened["opened"] - told["pings"]),  # one each, at the least
        "dropped": told["dropped"],
        "dropped because": told["reasons"],
    }


def storm(stage: Stage, connections: int) -> Json:
    """All go at once and are back within seconds, while streams run (catalogue C25)."""
    stage.crowd.drop()
    stage.rest(0)
    with ThreadPoolExecutor(1) as aside:
        streaming = aside.submit(stage.stream, stage.pace.storm_streams)
        time.sleep(stage.pace.storm_after)
        back = stage.crowd.open(connections, stage.pace.storm)
        _, seen = streaming.result()
    told = stage.crowd.tell()
    return {
        "back": back["opened"],
        "refused": back["failed"],
        "all in after s": back["seconds"],
        "slowest handshake s": back["slowest"],
        "streams' p99 ms": seen["p99_ms"],
        "streams whole": STREAMS,
        "dropped": told["dropped"],
    }


def churn(stage: Stage, times: int) -> Json:
    """Sockets come and go, and leave nothing (catalogue C26)."""
    stage.crowd.drop()
    stage.rest(0)
    stage.crowd.churn(stage.pace.churn_warm_up)
    stage.rest(0)
    before = stage.held()
    went = stage.crowd.churn(times)
    stage.rest(0)
    after = stage.held()
    return {
        "came and went": times - went["failed"],
        "refused": went["failed"],
        "a second": times / went["seconds"],
        "CPU µs each": (after.cpu_ns - before.cpu_ns) / 1e3 / times,
        "descriptors more": after.descriptors - before.descriptors,
        "tasks more": after.tasks - before.tasks,
        "MiB more": after.private_mib - before.private_mib,
    }


def _share(before: Held, after: Held, seconds: float) -> float:
    return (after.cpu_ns - before.cpu_ns) / 1e9 / seconds * 100
