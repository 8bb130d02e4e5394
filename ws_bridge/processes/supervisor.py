"""Several serving processes on one port, and the one that watches over them.

Rule 1: the supervisor serves nobody and loads nothing heavy: it outlives what it starts.
Rule 2: it holds every listening socket itself, so that what connects while a worker is being
replaced waits in the socket's queue instead of being refused.
Rule 3: a worker that ends unasked is replaced; one that wants to be relieved serves until its
successor is ready; one that cannot use the configuration ends it all.
Rule 4: no worker outlives the supervisor: its standard input ends with it (`worker`, rule 2).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from dataclasses import dataclass, field

from ws_bridge.config import Config
from ws_bridge.errors import ConfigError
from ws_bridge.processes import orders
from ws_bridge.processes.listening import listen, tls
from ws_bridge.processes.orders import Orders, first_of

log = logging.getLogger(__name__)

# What is said between them, a word a line: to a worker ...
DRAIN, HURRY = "drain", "hurry"
# ... and by a worker.
LISTENING, READY, RELIEVE, UNUSABLE = "listening", "ready", "relieve", "unusable"

STEADY_SECONDS = 30.0  # a worker that lived so long did not fail to start
PAUSES = (0.0, 0.5, 1.0, 2.0, 4.0)  # before the next start, by deaths in a row
# Beside `drain_seconds`, for idle sockets, for what flushes and closes; then it is killed.
GRACE_SECONDS = 30.0


@dataclass(eq=False)
class Worker:
    """A started process."""

    number: int
    process: Process
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)  # it has ended, or wants to
    code: int | None = None  # minus a signal's number if one ended it

    def tell(self, word: str) -> None:
        """Say a word to it; nothing if it has ended."""
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.write(f"{word}\n".encode())

    def kill(self) -> None:
        """End it without a word."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()


def run(config: Config, announce: Callable[[socket.socket], None]) -> int:
    """Serve with so many processes until stopped; the exit code. Raises ``ConfigError``.

    ``announce`` is called once, when all of them accept connections.
    """
    if config.store.url.startswith("memory://"):
        raise ConfigError(
            f"key 'server.workers': {config.server.workers} processes cannot share the store "
            "memory://, which lives in one: set 'store.url' to a Redis or Valkey, or 'workers' to 1"
        )
    tls(config)  # what is wrong with it is said once, by this process
    return asyncio.run(_run(config, announce))


async def _run(config: Config, announce: Callable[[socket.socket], None]) -> int:
    sockets = listen(config, config.server.workers)
    return await Supervisor(config, sockets, orders.of_signals(), announce).run()


class Supervisor:
    """Starts the workers, replaces those that end, ends them all. ``run`` returns the exit code."""

    def __init__(
        self,
        config: Config,
        sockets: list[socket.socket],
        told: Orders,
        announce: Callable[[socket.socket], None],
    ) -> None:
        self._config = config
        self._sockets = sockets
        self._orders = told
        self._announce = announce
        self._workers: set[Worker] = set()
        self._listening: set[int] = set()  # numbers that listened once
        self._refusal = ""  # why the configuration cannot be used
        self._failed = False  # whether a drain ended otherwise than it should

    async def run(self) -> int:
        """Until all workers have ended. Raises ``ConfigError``."""
        ending = asyncio.create_task(self._end_in_time())
        try:
            async with asyncio.TaskGroup() as tasks:
                for number, listening in enumerate(self._sockets, start=1):
                    tasks.create_task(self._keep(number, listening, tasks))
        finally:
            ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)
        if self._refusal:
            raise ConfigError(self._refusal)
        log.info("stopped")
        return 1 if self._failed else 0

    async def _keep(self, number: int, listening: socket.socket, tasks: asyncio.TaskGroup) -> None:
        """Have one worker on the socket until all are to stop."""
        deaths = 0
        stop = self._orders.stop
        predecessors: list[Worker] = []  # they serve until another does, or all stop
        with listening:
            while not stop.is_set():
                began = time.monotonic()
                worker = await self._start(number, listening, relieves=bool(predecessors))
                if worker is not None:
                    tasks.create_task(self._attend(worker))
                    await first_of(worker.ready, worker.left, stop)
                    while worker.ready.is_set() and predecessors:
                        predecessors.pop().tell(DRAIN)
                    await first_of(worker.left, stop)
                    if worker.code is None:
                        predecessors.append(worker)
                        continue
                is_steady = time.monotonic() - began >= STEADY_SECONDS
                deaths = 0 if is_steady else min(deaths + 1, len(PAUSES) - 1)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), PAUSES[deaths])

    async def _start(
        self, number: int, listening: socket.socket, *, relieves: bool
    ) -> Worker | None:
        """A new process; None if this machine has no room for one now."""
        fd = listening.fileno()
        more = ("relieves",) if relieves else ()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "ws_bridge.processes.worker", str(number), str(fd), *more),
                stdin=PIPE,
                stdout=PIPE,
                pass_fds=(fd,),
                # A terminal's Ctrl-C is for the supervisor, which passes it on.
                process_group=0,
            )
        except OSError as failure:
            log.error("worker_cannot_start number=%d reason=%s", number, failure.strerror)  # noqa: TRY400 - says all
            return None
        worker = Worker(number, process)
        worker.tell(self._config.model_dump_json())
        self._workers.add(worker)
        log.info("worker_started number=%d pid=%d", number, process.pid)
        if self._orders.stop.is_set():
            worker.tell(HURRY if self._orders.hurry.is_set() else DRAIN)
        return worker

    async def _attend(self, worker: Worker) -> None:
        """Hear what the worker says, and its end."""
        assert worker.process.stdout is not None  # noqa: S101 - it was asked for
        async for line in worker.process.stdout:
            word, _, more = line.decode(errors="replace").strip().partition(" ")
            self._hear(worker, word, more)
        worker.code = await worker.process.wait()
        self._workers.discard(worker)
        worker.left.set()
        self._judge(worker)

    def _hear(self, worker: Worker, word: str, more: str) -> None:
        if word == LISTENING and worker.number not in self._listening:
            self._listening.add(worker.number)
            if len(self._listening) == len(self._sockets):
                self._announce(self._sockets[0])
        elif word == READY:
            worker.ready.set()
        elif word == RELIEVE:
            log.info("worker_relieved number=%d pid=%d", worker.number, worker.process.pid)
            worker.left.set()
        elif word == UNUSABLE and len(self._listening) < len(self._sockets):
            self._refusal = more
            self._orders.at_once()
        elif word == UNUSABLE:  # it could be used so far: what has changed may change again
            log.error("worker_refused number=%d reason=%s", worker.number, more)

    def _judge(self, worker: Worker) -> None:
        """Log an end; remember one that must not be: of a worker that could be used."""
        is_well = worker.code == 0 or bool(self._refusal)
        said = f"number={worker.number} pid={worker.process.pid} {_how(worker.code or 0)}"
        (log.info if is_well else log.error)("worker_ended %s", said)
        if self._orders.stop.is_set() and worker.ready.is_set() and not is_well:
            self._failed = True

    async def _end_in_time(self) -> None:
        """Pass on the orders; kill who does not obey."""
        await self._orders.stop.wait()
        self._tell_all(DRAIN)
        patience = self._config.server.drain_seconds + GRACE_SECONDS
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._orders.hurry.wait(), patience)
        self._tell_all(HURRY)
        await asyncio.sleep(GRACE_SECONDS)
        for worker in self._workers:
            worker.kill()

    def _tell_all(self, word: str) -> None:
        for worker in self._workers:
            worker.tell(word)


def _how(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"code={code}"
    with contextlib.suppress(ValueError):
        return f"signal={signal.Signals(-code).name}"
    return f"signal={-code}"
