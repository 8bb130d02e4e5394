"""Several workers that serve one port, and the supervisor that starts and replaces them.

Rule 1: the supervisor serves no client and loads nothing heavy: it outlives the workers.
Rule 2: it keeps every listening socket open, so that clients that connect while a worker is being
replaced wait in the socket's queue instead of being refused.
Rule 3: a worker that ends without being stopped is replaced. One that asks to be relieved serves
until its replacement is ready. One that cannot use the configuration stops all of them.
Rule 4: whether a worker was ever ready decides what its end means, never its age: a slow machine is
no fault. A worker that was ready is replaced at once, one that was not after a pause that grows.
Where no worker was ever ready, the supervisor gives up after so many tries of each.
Rule 5: no worker outlives the supervisor: its standard input ends with it (`worker`, rule 2).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ws_bridge.clock import Clock
from ws_bridge.config import Settings
from ws_bridge.errors import ConfigError
from ws_bridge.processes import notify, signals
from ws_bridge.processes.children import (
    Child,
    Template,
    TemplateLost,
    exit_reason,
    fork_worker,
    run_worker,
)
from ws_bridge.processes.control import reloads
from ws_bridge.processes.messages import (
    DRAIN,
    FORCE,
    LEAVE,
    LISTENING,
    READY,
    RELIEVE,
    SETTINGS,
    STORED,
    UNUSABLE,
    USED,
)
from ws_bridge.processes.metrics_page import WorkerNumbers, numbers_of_workers
from ws_bridge.processes.notify import Notifier
from ws_bridge.processes.reload_requests import ReloadRequests
from ws_bridge.processes.signals import StopSignals, wait_until_any
from ws_bridge.processes.sockets import control_socket, listen, tls
from ws_bridge.processes.worker_reload import ANSWERS, WorkerReload
from ws_bridge.processes.worker_usage import WorkerUsage

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.5  # seconds before the next start, doubled with each that fails
LONGEST_PAUSE = 30.0
TRIES = 5  # of each worker, while none was ever ready: then none will be
# Beyond `drain_seconds`, for idle sockets, flushes and closes; then a worker is killed.
GRACE_SECONDS = 30.0


@dataclass(eq=False)
class Worker:
    """A started worker process."""

    number: int
    child: Child
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    retiring: asyncio.Event = field(default_factory=asyncio.Event)  # it ends, or wants to
    exit_code: int | None = None  # minus the signal's number if a signal ended it


def run(
    settings: Settings,
    load: Callable[[], Settings],
    announce: Callable[[Sequence[socket.socket]], None],
) -> int:
    """Serve with several workers until stopped, and return the exit code. Raises ``ConfigError``.

    ``load`` reads the settings again; ``announce`` is called once, when all of the workers accept
    connections.
    """
    tls(settings.config)  # its error is reported once, by this process
    return asyncio.run(_run(settings, load, announce))


async def _run(
    settings: Settings,
    load: Callable[[], Settings],
    announce: Callable[[Sequence[socket.socket]], None],
) -> int:
    stop_signals = signals.catch_signals()
    notifier = notify.from_environment()
    sockets = listen(settings.config, settings.config.server.workers)
    control = control_socket(settings.config)
    with numbers_of_workers(settings) as numbers:
        parts = (settings, load, sockets, stop_signals, announce)
        supervisor = Supervisor(*parts, numbers=numbers, notifier=notifier)
        async with reloads(supervisor.requests, control):
            return await supervisor.run()


class Supervisor:
    """Starts the workers, replaces those that end, stops them all."""

    def __init__(
        self,
        settings: Settings,
        load: Callable[[], Settings],
        sockets: Sequence[Sequence[socket.socket]],
        stop_signals: StopSignals,
        announce: Callable[[Sequence[socket.socket]], None],
        *,
        clock: Clock = Clock(),  # noqa: B008 - frozen
        numbers: WorkerNumbers | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        self._reload = WorkerReload(clock)
        self._notifier = notifier or Notifier()
        self.requests = ReloadRequests(
            settings, load, self._reload, stop_signals.hangup, self._notifier
        )
        self._numbers = numbers
        self._usage = WorkerUsage(self._send_one)
        if numbers is not None:
            numbers.usage = self._usage
        self._sockets = sockets
        self._signals = stop_signals
        self._announce = announce
        self._clock = clock
        self._template = Template(clock)
        self._workers: set[Worker] = set()
        self._listening: set[int] = set()  # numbers that listened once
        self._unusable = ""  # why the configuration cannot be used
        self._was_ready = False  # whether any worker was ever ready
        self._store_reached = asyncio.Event()  # set: some worker has reached the store once
        # By worker number: starts in a row that did not become ready.
        self._failed_starts = dict.fromkeys(range(1, len(sockets) + 1), 0)
        self._failed = False  # whether the exit code is to be 1

    async def run(self) -> int:
        """Return the exit code when all workers have ended. Raises ``ConfigError``."""
        template = asyncio.create_task(self._keep_template())
        lame_duck = asyncio.create_task(self._leave())
        ending = asyncio.create_task(self._stop_workers())
        try:
            async with asyncio.TaskGroup() as tasks:
                for number, listening in enumerate(self._sockets, start=1):
                    tasks.create_task(self._keep_running(number, listening, tasks))
        finally:
            for task in (template, lame_duck, ending):
                task.cancel()
            await asyncio.gather(template, lame_duck, ending, return_exceptions=True)
        if self._unusable:
            raise ConfigError(self._unusable)
        log.info("stopped")
        return 1 if self._failed else 0

    async def _keep_running(
        self, number: int, listening: Sequence[socket.socket], tasks: asyncio.TaskGroup
    ) -> None:
        """Keep a worker running on its sockets until the stop; start its replacements."""
        stop = self._signals.stop
        predecessors: list[Worker] = []  # they serve until a replacement is ready
        with contextlib.ExitStack() as open_sockets:
            for one in listening:
                open_sockets.enter_context(one)
            while not stop.is_set():
                worker = await self._start(number, listening, is_replacement=bool(predecessors))
                if worker is not None:
                    tasks.create_task(self._read_messages(worker))
                    await wait_until_any(worker.ready, worker.retiring, stop)
                    while worker.ready.is_set() and predecessors:
                        predecessors.pop().child.send(DRAIN)
                    await wait_until_any(worker.retiring, stop)
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
        """Stop all if no worker was ever ready, and each was tried often enough."""
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
        self, number: int, listening: Sequence[socket.socket], *, is_replacement: bool
    ) -> Worker | None:
        """Start a worker; None if this machine has no room for a process now, or at the stop."""
        arguments = (str(number), "replacement") if is_replacement else (str(number),)
        try:
            try:
                child = await fork_worker(self._template, arguments, listening)
            except TemplateLost:
                if self._signals.stop.is_set():
                    return None
                child = await run_worker(arguments, listening)
        except OSError as failure:
            log.error("worker_cannot_start number=%d reason=%s", number, failure.strerror)  # noqa: TRY400 - the reason is enough
            return None
        worker = Worker(number, child)
        requests = self.requests
        child.send(f"{SETTINGS} {requests.generation} {requests.settings.to_json()}")
        self._workers.add(worker)
        self._reload.join(child, number, requests.generation)
        if self._numbers is not None:
            self._numbers.worker_started(number, child.pid)
        log.info("worker_started number=%d pid=%d", number, child.pid)
        for event, word in (
            (self._signals.leave, LEAVE),
            (self._signals.stop, DRAIN),
            (self._signals.force, FORCE),
            (self._store_reached, STORED),
        ):
            if event.is_set():
                child.send(word)
        return worker

    async def _keep_template(self) -> None:
        """Keep a template running until the stop."""
        running = asyncio.create_task(self._template.run())
        try:
            await self._signals.stop.wait()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def _read_messages(self, worker: Worker) -> None:
        """Receive the worker's messages until it ends; record its end."""
        async for line in worker.child.messages:
            message, _, reason = line.decode(errors="replace").strip().partition(" ")
            self._receive(worker, message, reason)
        worker.exit_code = await worker.child.wait()
        self._workers.discard(worker)
        self._reload.leave(worker.child)
        if self._numbers is not None:
            self._numbers.worker_ended(worker.child.pid)
        worker.retiring.set()
        self._record_exit(worker)

    def _receive(self, worker: Worker, message: str, reason: str) -> None:
        if message in ANSWERS:
            self._reload.receive(worker.child, message, reason)
        elif message == USED:
            self._usage.receive(reason)
        if message == LISTENING and worker.number not in self._listening:
            self._listening.add(worker.number)
            if len(self._listening) == len(self._sockets):
                self._announce(self._sockets[0])
        elif message == READY:
            self._was_ready = True
            self._notifier.ready()
            self._template.worker_loaded()
            worker.ready.set()
        elif message == STORED and not self._store_reached.is_set():
            self._store_reached.set()
            self._send_all(STORED)
        elif message == RELIEVE:
            log.info("worker_relieved number=%d pid=%d", worker.number, worker.child.pid)
            worker.retiring.set()
        elif message == UNUSABLE and not (
            self._was_ready and len(self._listening) == len(self._sockets)
        ):
            self._unusable = reason
            self._signals.stop_now()
        elif message == UNUSABLE:  # it was usable so far: what has changed may change back
            log.error("worker_refused number=%d reason=%s", worker.number, reason)

    def _record_exit(self, worker: Worker) -> None:
        """Log the end of a worker. One that fails while it is stopped makes the exit code 1."""
        is_well = worker.exit_code == 0 or bool(self._unusable)
        level = logging.INFO if is_well else logging.ERROR
        reason = exit_reason(worker.exit_code or 0)
        log.log(level, "worker_ended number=%d pid=%d %s", worker.number, worker.child.pid, reason)
        if self._signals.stop.is_set() and worker.ready.is_set() and not is_well:
            self._failed = True

    async def _leave(self) -> None:
        """Have the workers say that they are not ready, a while before the stop."""

        def seconds() -> float:
            self._notifier.stopping()
            self._send_all(LEAVE)
            return self.requests.settings.config.server.lame_duck_seconds if self._was_ready else 0

        await signals.lame_duck(self._signals, seconds, self._clock)

    async def _stop_workers(self) -> None:
        """Drain the workers when the stop comes, force them when it is time, kill the rest."""
        await self._signals.stop.wait()
        self._send_all(DRAIN)
        limit = self.requests.settings.config.server.drain_seconds + GRACE_SECONDS
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._signals.force.wait(), limit)
        self._send_all(FORCE)
        await asyncio.sleep(GRACE_SECONDS)
        for worker in self._workers:
            worker.child.kill()

    def _send_one(self, message: str) -> bool:
        """Send a line to a worker that is ready; false if none is."""
        ready = [one for one in self._workers if one.ready.is_set() and one.exit_code is None]
        for worker in ready[:1]:
            worker.child.send(message)
        return bool(ready)

    def _send_all(self, message: str) -> None:
        for worker in self._workers:
            worker.child.send(message)


def pause_after(failed_starts: int) -> float:
    """Seconds before the next start, after one or more starts in a row that failed."""
    doublings = min(failed_starts - 1, 16)  # beyond some thousand the power is no float
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**doublings)
