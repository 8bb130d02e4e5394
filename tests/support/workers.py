"""Servers of several workers, seen from outside; and a supervisor in the process of the test."""

import asyncio
import contextlib
import os
import re
import signal
from dataclasses import replace
from pathlib import Path

from support.fake_clock import FakeClock
from support.hang import HANG_SECONDS

from ws_bridge.config import Config, Settings
from ws_bridge.processes import sockets as sockets_module
from ws_bridge.processes.children import ANSWER_SECONDS
from ws_bridge.processes.signals import StopSignals
from ws_bridge.processes.supervisor import Supervisor

DEMO = {"name": "demo", "model": "demo/demo", "drop_params": True}
STEP_SECONDS = 0.03
ENDLESS = "import threading; threading.Event().wait()"
BROKEN = "raise ImportError('it is broken')"


async def until(is_true):
    async with asyncio.timeout(HANG_SECONDS):
        while not is_true():  # noqa: ASYNC110 - looks at processes
            await asyncio.sleep(STEP_SECONDS)


def children(pid):
    """The processes that a process started and that have not ended."""
    with contextlib.suppress(FileNotFoundError):
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in found if lives(int(child))]
    return []


def lives(pid):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def workers_of(bridge):
    """Their numbers and process ids, of those that run."""
    started = re.findall(r"worker_started number=(\d+) pid=(\d+)", bridge.log())
    return {int(number): int(pid) for number, pid in started if lives(int(pid))}


def is_forked(pid):
    """Whether it is a worker that was forked, or the template."""
    return b"ws_bridge.processes.template" in Path(f"/proc/{pid}/cmdline").read_bytes()


class Watched:
    """A supervisor of one real worker in this process; its pauses end when the test ends them."""

    def __init__(self, caplog):
        config = Config.model_validate({"server": {"port": 0}, "models": [DEMO]}, strict=False)
        self._caplog, settings = caplog, Settings(config)
        self.hands = FakeClock()
        self.paused = []
        self.stop_signals = StopSignals()
        sockets = sockets_module.listen(config, 1)
        clock = replace(self.hands.clock(), sleep=self._sleep)
        self._supervisor = Supervisor(
            settings, lambda: settings, sockets, self.stop_signals, lambda _: None, clock=clock
        )

    async def __aenter__(self):
        self._running = asyncio.create_task(self._supervisor.run())
        return self

    async def __aexit__(self, *_):
        self.stop_signals.stop_now()
        await asyncio.gather(self._running, return_exceptions=True)

    async def _sleep(self, seconds):
        if seconds != ANSWER_SECONDS:
            self.paused.append(seconds)
        await self.hands.sleep(seconds)

    async def code(self):
        return await asyncio.wait_for(self._running, HANG_SECONDS)

    def logged(self, word):
        """The lines that begin with a word."""
        return [line for line in self._caplog.messages if line.startswith(word)]

    async def ready(self, killed=0):
        """The process id of the worker that is ready, other than one that was killed."""

        def pids():
            workers = self._supervisor._workers
            return {one.child.pid for one in workers if one.ready.is_set()} - {killed}

        await until(pids)
        return pids().pop()

    async def template(self):
        """The process id of the template, once it has loaded."""
        await until(lambda: self._supervisor._template._process)
        return self._supervisor._template._process.pid

    async def kill(self, *, with_template=False):
        """Kill the worker that is ready, and perhaps the template; its process id."""
        pid = await self.ready()
        if with_template:
            os.kill(await self.template(), signal.SIGKILL)
            await until(lambda: self.logged("template_ended"))
        os.kill(pid, signal.SIGKILL)
        return pid

    async def pauses(self, count):
        """Return when the last of so many pauses has begun."""
        await until(lambda: len(self.paused) == count and self.hands.sleepers)

    def end_pause(self):
        self.hands.advance(self.paused[-1])
