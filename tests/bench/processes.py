"""The bench's processes: started, found by the address they print, measured from outside, ended.

CPU is the process's own clock in nanoseconds, read by the kernel for whoever asks; what
``/proc/PID/stat`` counts in are steps of 10 ms, which one stream for four seconds does not fill.
"""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

import orjson
import uvloop
from aiohttp import web

from tests.bench import gauges

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120
STOP_SECONDS = 15
_ADDRESS = re.compile(r"(?:listening|running) on (http://[^\s]+)")  # ours, and uvicorn's words


def serve(app: Coroutine[Any, Any, web.Application]) -> None:
    """Serve on any free loopback port under uvloop, and print the address, until SIGTERM."""
    uvloop.run(_serve(app))


async def _serve(app: Coroutine[Any, Any, web.Application]) -> None:
    runner = web.AppRunner(await app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    sys.stdout.write(f"listening on http://127.0.0.1:{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    await runner.cleanup()


def free_port() -> int:
    """A port that nobody has, for a server that cannot be told to take any."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def raise_descriptors() -> int:
    """Let this process and those it starts open as many files as it may; return how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def surroundings() -> dict[str, str]:
    """The environment of the bench's processes: this one's without proxies, all is loopback."""
    kept = {name: value for name, value in os.environ.items() if not _is_proxy(name)}
    return kept | {"BENCH_API_KEY": "bench-key", "PYTHONUNBUFFERED": "1"}


def _is_proxy(name: str) -> bool:
    return name.lower().endswith("_proxy")


class Worker:
    """A process of clients: it reads a line for each job, and answers with lines."""

    def __init__(self, module: str) -> None:
        self._process = subprocess.Popen(  # noqa: S603  # our own modules
            [sys.executable, "-m", module],
            cwd=ROOT,
            env=surroundings(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def send(self, message: dict[str, Any]) -> None:
        """Say something to it."""
        assert self._process.stdin
        self._process.stdin.write(orjson.dumps(message) + b"\n")
        self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """Its next answer. Raises ``EOFError`` if it has ended."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise EOFError("the clients gave up")
        message: dict[str, Any] = orjson.loads(line)
        return message

    def ask(self, **message: Any) -> dict[str, Any]:
        """Its answer to one job."""
        self.send(message)
        return self.receive()

    def stop(self) -> None:
        """End the process."""
        self._process.kill()  # it keeps nothing
        self._process.communicate()


class Server:
    """A process that prints where it listens. Whatever it prints is kept in ``log``.

    ``arguments`` name a module of this environment; with ``python`` and ``home``, of another one.
    """

    def __init__(
        self,
        log: Path,
        *arguments: str,
        python: str = sys.executable,
        home: Path = ROOT,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._log = log
        started = time.monotonic()
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603  # our own modules
                [python, "-m", *arguments],
                cwd=home,
                env=surroundings() | (environ or {}),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            self.url = self._address(started + START_SECONDS)
        except BaseException:
            self.stop()
            raise
        self.start_seconds = time.monotonic() - started

    def _address(self, deadline: float) -> str:
        while not (match := _ADDRESS.search(self._log.read_text())):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"did not start:\n{self.tail()}")
            time.sleep(0.02)
        return match[1]

    def tail(self) -> str:
        """The last of what it printed."""
        return self._log.read_text(errors="replace")[-2000:]

    @property
    def pid(self) -> int:
        """Of the process that was started; it may have started others."""
        return self._process.pid

    def cpu_ns(self) -> int:
        """CPU time since the start, of the process and its living children."""
        return gauges.cpu_ns(self.pid)

    def rss_mib(self) -> float:
        """Resident memory now, of the process and its living children."""
        return gauges.rss_mib(self.pid)

    def stop(self) -> None:
        """End the process: asked first."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
