"""Several serving processes on one port, and the one that watches over them.

Rule 1: the supervisor serves nobody and loads nothing heavy: it outlives what it starts.
Rule 2: it holds every listening socket itself, so that what connects while a worker is being
replaced waits in the socket's queue instead of being refused.
Rule 3: a worker that ends unasked is replaced; one that wants to be relieved serves until its
successor is ready; one that cannot use the configuration ends it all.
Rule 4: what a worker's end means is told by whether it was ever ready, never by its age: a slow
machine is no fault. One that was is replaced at once, one that was not after a pause that grows;
where none of all was ever ready, so many tries of each end it all.
Rule 5: no worker outlives the supervisor: its standard input ends with it (`worker`, rule 2).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from dataclasses import dataclass, field

from ws_bridge.clock import Clock
from ws_bridge.config import Config
from ws_bridge.errors import ConfigError
from ws_bridge.processes import signals
from ws_bridge.processes.signals import StopSignals, wait_until_any
from ws_bridge.processes.sockets import listen, tls

log = logging.getLogger(__name__)

# What is said between them, a word a line: to a worker ...
DRAIN, FORCE = "drain", "force"
# ... and by a worker.
LISTENING, READY, RELIEVE, UNUSABLE = "listening", "ready", "relieve", "unusable"

FIRST_PAUSE = 0.5  # seconds before the next start, doubled with each that fails
LONGEST_PAUSE = 30.0
TRIES = 5  # of each worker, while none of all was ever ready: then none will be
# Beside `drain_seconds`, for idle sockets, for what flushes and closes; then it is killed.
GRACE_SECONDS = 30.0


@dataclass(eq=False)
class Worker:
    """A started process."""

    number: int
    process: Process
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    leaving: asyncio.Event = field(default_factory=asyncio.Event)  # it ends, or wants to
    exit_code: int | None = None  # minus a signal's number if one ended it

    def send(self, word: str) -> None:
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
    return await Supervisor(config, sockets, signals.catch_signals(), announce).run()


class Supervisor:
    """Starts the workers, replaces those that end, ends them all. ``run`` returns the exit code."""

    def __init__(
        self,
        config: Config,
        sockets: list[socket.socket],
        stop_signals: StopSignals,
        announce: Callable[[socket.socket], None],
        clock: Clock = Clock(),  # noqa: B008 - frozen
    ) -> None:
        self._config = config
        self._sockets = sockets
        self._signals = stop_signals
        self._announce = announce
        self._clock = clock
        self._workers: set[Worker] = set()
        self._listening: set[int] = set()  # numbers that listened once
        self._refusal = ""  # why the configuration cannot be used
        self._was_ready = False  # whether any worker ever was
        # By number: starts in a row that did not become ready.
        self._failed_starts = dict.fromkeys(range(1, len(sockets) + 1), 0)
        self._failed = False  # whether it ended otherwise than it should

    async def run(self) -> int:
        """Until all workers have ended. Raises ``ConfigError``."""
        ending = asyncio.create_task(self._stop_workers())
        try:
            async with asyncio.TaskGroup() as tasks:
                for number, listening in enumerate(self._sockets, start=1):
                    tasks.create_task(self._keep_running(number, listening, tasks))
        finally:
            ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)
        if self._refusal:
            raise ConfigError(self._refusal)
        log.info("stopped")
        return 1 if self._failed else 0

    async def _keep_running(
        self, number: int, listening: socket.socket, tasks: asyncio.TaskGroup
    ) -> None:
        """Have one worker on the socket until all are to stop."""
        stop = self._signals.stop
        predecessors: list[Worker] = []  # they serve until another does, or all stop
        with listening:
            while not stop.is_set():
                worker = await self._start(number, listening, is_replacement=bool(predecessors))
                if worker is not None:
                    tasks.create_task(self._read_messages(worker))
                    await wait_until_any(worker.ready, worker.leaving, stop)
                    while worker.ready.is_set() and predecessors:
                        predecessors.pop().send(DRAIN)
                    await wait_until_any(worker.leaving, stop)
                    if worker.exit_code is None:
                        predecessors.append(worker)
                        continue
                was_ready = worker is not None and worker.ready.is_set()
                self._failed_starts[number] = failed_starts = (
                    0 if was_ready else self._failed_starts[number] + 1
                )
                if failed_starts:
                    self._give_up_if_hopeless()
                    await self._pause(failed_starts)

    def _give_up_if_hopeless(self) -> None:
        """End it all if no worker was ever ready, and each was tried often enough."""
        is_hopeless = not self._was_ready and min(self._failed_starts.values()) >= TRIES
        if is_hopeless and not self._signals.stop.is_set():
            log.error("no_worker_was_ever_ready tries=%d: giving up", TRIES)
            self._failed = True
            self._signals.stop_now()

    async def _pause(self, failed_starts: int) -> None:
        """Wait before the next start, or for the stop."""
        over = asyncio.Event()
        pause = asyncio.ensure_future(self._clock.sleep(pause_after(failed_starts)))
        pause.add_done_callback(lambda _: over.set())
        try:
            await wait_until_any(over, self._signals.stop)
        finally:
            pause.cancel()

    async def _start(
        self, number: int, listening: socket.socket, *, is_replacement: bool
    ) -> Worker | None:
        """A new process; None if this machine has no room for one now."""
        fd = listening.fileno()
        more = ("relieves",) if is_replacement else ()
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
        worker.send(self._config.model_dump_json())
        self._workers.add(worker)
        log.info("worker_started number=%d pid=%d", number, process.pid)
        if self._signals.stop.is_set():
            worker.send(FORCE if self._signals.force.is_set() else DRAIN)
        return worker

    async def _read_messages(self, worker: Worker) -> None:
        """Hear what the worker says, and its end."""
        assert worker.process.stdout is not None  # noqa: S101 - it was asked for
        async for line in worker.process.stdout:
            word, _, more = line.decode(errors="replace").strip().partition(" ")
            self._receive(worker, word, more)
        worker.exit_code = await worker.process.wait()
        self._workers.discard(worker)
        worker.leaving.set()
        self._record_exit(worker)

    def _receive(self, worker: Worker, word: str, more: str) -> None:
        if word == LISTENING and worker.number not in self._listening:
            self._listening.add(worker.number)
            if len(self._listening) == len(self._sockets):
                self._announce(self._sockets[0])
        elif word == READY:
            self._was_ready = True
            worker.ready.set()
        elif word == RELIEVE:
            log.info("worker_relieved number=%d pid=%d", worker.number, worker.process.pid)
            worker.leaving.set()
        elif word == UNUSABLE and len(self._listening) < len(self._sockets):
            self._refusal = more
            self._signals.stop_now()
        elif word == UNUSABLE:  # it could be used so far: what has changed may change again
            log.error("worker_refused number=%d reason=%s", worker.number, more)

    def _record_exit(self, worker: Worker) -> None:
        """Log an end; remember one that must not be: of a worker that could be used."""
        is_well = worker.exit_code == 0 or bool(self._refusal)
        said = (
            f"number={worker.number} pid={worker.process.pid} {exit_reason(worker.exit_code or 0)}"
        )
        (log.info if is_well else log.error)("worker_ended %s", said)
        if self._signals.stop.is_set() and worker.ready.is_set() and not is_well:
            self._failed = True

    async def _stop_workers(self) -> None:
        """Pass on the orders; kill who does not obey."""
        await self._signals.stop.wait()
        self._send_all(DRAIN)
        patience = self._config.server.drain_seconds + GRACE_SECONDS
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._signals.force.wait(), patience)
        self._send_all(FORCE)
        await asyncio.sleep(GRACE_SECONDS)
        for worker in self._workers:
            worker.kill()

    def _send_all(self, word: str) -> None:
        for worker in self._workers:
            worker.send(word)


def pause_after(failed_starts: int) -> float:
    """Seconds before the next start, after so many in a row that failed, one at least."""
    doublings = min(failed_starts - 1, 16)  # more would be no float in the end
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**doublings)


def exit_reason(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"code={code}"
    with contextlib.suppress(ValueError):
        return f"signal={signal.Signals(-code).name}"
    return f"signal={-code}"
