"""The bench's processes: started, found by the address they print, measured from outside, ended.

CPU is the process's own clock (user and system, all threads, the ended ones too) in nanoseconds,
read by the kernel for whoever asks: ``/proc/PID/stat`` counts the same time in 10 ms steps, which
one stream for four seconds does not fill.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60
STOP_SECONDS = 15
_ADDRESS = re.compile(r"listening on (http://[^\s]+)")
_PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20


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


def surroundings() -> dict[str, str]:
    """The environment of the bench's processes: this one's without proxies, all is loopback."""
    kept = {name: value for name, value in os.environ.items() if not _is_proxy(name)}
    return kept | {"BENCH_API_KEY": "bench-key", "PYTHONUNBUFFERED": "1"}


def _is_proxy(name: str) -> bool:
    return name.lower().endswith("_proxy")


class Server:
    """A process that prints where it listens. Whatever it prints is kept in ``log``."""

    def __init__(self, log: Path, *arguments: str) -> None:
        self._log = log
        started = time.monotonic()
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603  # our own modules
                [sys.executable, "-m", *arguments],
                cwd=ROOT,
                env=surroundings(),
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

    def cpu_ns(self) -> int:
        """CPU time since the start, of the process and its living children."""
        # the clock id that clock_getcpuclockid(3) makes of a process id: all its threads together
        return sum(time.clock_gettime_ns((~pid << 3) | 2) for pid in _family(self._process.pid))

    def rss_mib(self) -> float:
        """Resident memory now, of the process and its living children."""
        pages = (_resident_pages(pid) for pid in _family(self._process.pid))
        return sum(pages) * _PAGE_MIB

    def stop(self) -> None:
        """End the process: asked first."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _family(pid: int) -> list[int]:
    """The process, and those it started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for task in tasks for child in task.read_text().split()]
    return [pid, *(each for child in children for each in _family(child))]


def _resident_pages(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
