"""What is measured once in a run, and not in rounds: idle sockets, and the start."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import ProxyHandler, build_opener

from tests.bench import gauges
from tests.bench.field import Field
from tests.bench.processes import (
    ROOT,
    START_SECONDS,
    Server,
    Worker,
    free_port,
    raise_descriptors,
    surroundings,
)

Json = dict[str, Any]

IDLE = 1000
IDLE_WARM_UP = 50
OPEN_SECONDS = 2.0
STILL_SECONDS = 1.0
STARTS = 3
STEP_SECONDS = 0.005
HOME = ["127.0.0.1"]


def idle(on: Field) -> Json:
    """Memory of the process's own for each socket on which nothing is asked."""
    raise_descriptors()
    bridge = on.bridge("bridge-idle", on.config)
    limit = on.start("passthrough-idle", "tests.bench.passthrough", on.upstream.url)
    return {
        f"KiB per idle socket, {IDLE} of them, {name}": round(_each(server), 1)
        for name, server in (("pass-through", limit), ("bridge", bridge))
    }


def _each(server: Server) -> float:
    holder = Worker("tests.bench.holder")
    try:
        _hold(holder, server, IDLE_WARM_UP)
        before = gauges.private_kib(server.pid)
        _hold(holder, server, IDLE)
        return (gauges.private_kib(server.pid) - before) / IDLE
    finally:
        holder.stop()


def _hold(holder: Worker, server: Server, count: int) -> None:
    opened = holder.ask(
        do="open", url=server.url, count=count, seconds=OPEN_SECONDS, addresses=HOME
    )
    assert opened["failed"] == 0, opened
    time.sleep(STILL_SECONDS)


def start_up(on: Field) -> Json:
    """Seconds from the process's start to its first yes, beside those of importing litellm."""
    found: dict[str, list[float]] = {"import litellm": [], "/healthz": [], "/readyz": []}
    for _ in range(STARTS):
        found["import litellm"].append(_import_seconds())
        healthy, ready = _start_seconds(on.config)
        found["/healthz"].append(healthy)
        found["/readyz"].append(ready)
    imported = median(found["import litellm"])
    told = {f"{name}: seconds": round(median(values), 2) for name, values in found.items()}
    return told | {
        "/readyz as a multiple of the import": round(median(found["/readyz"]) / imported, 2)
    }


def _import_seconds() -> float:
    begin = time.monotonic()
    local = surroundings() | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # asks nobody for prices
    subprocess.run([sys.executable, "-c", "import litellm"], env=local, check=True)
    return time.monotonic() - begin


def _start_seconds(config: Path) -> tuple[float, float]:
    """Until it answers, and until it is ready."""
    port = free_port()
    command = [sys.executable, "-m", "ws_bridge", "serve", "--config", str(config)]
    begin = time.monotonic()
    process = subprocess.Popen(  # noqa: S603  # our own module
        [*command, "--port", str(port)],
        cwd=ROOT,
        env=surroundings(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        answers = [_until_yes(f"http://127.0.0.1:{port}{path}") for path in ("/healthz", "/readyz")]
        return answers[0] - begin, answers[1] - begin
    finally:
        process.kill()
        process.wait()


def _until_yes(url: str) -> float:
    """When the address said yes."""
    opener = build_opener(ProxyHandler({}))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            with opener.open(url, timeout=5):  # 503 raises
                return time.monotonic()
        except OSError:  # URLError too
            time.sleep(STEP_SECONDS)
    raise RuntimeError(f"{url} never said yes; {os.getloadavg()}")
