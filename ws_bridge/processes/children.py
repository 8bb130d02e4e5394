"""What the supervisor starts: the template, and workers, which are forked from it.

Rule 1: where there is no template, because the platform cannot fork safely or the template could
not load, workers are started by themselves, and load by themselves.
Rule 2: a template that had loaded is replaced when it ends. One that could not load is tried again
when a worker could. Workers do not depend on it once they are forked.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Sequence
from typing import Self

from ws_bridge.clock import Clock
from ws_bridge.processes.template import (
    FAILED,
    FORK,
    FORKED,
    LOADED,
    MESSAGE_BYTES,
    adopt_orphans,
)

log = logging.getLogger(__name__)

TEMPLATE = "ws_bridge.processes.template"
ANSWER_SECONDS = (
    60.0  # a fork takes milliseconds; a template that is silent for so long is replaced
)


class TemplateLost(Exception):
    """There is no template that could fork."""


class Child:
    """A started worker process: its pipes, its end."""

    def __init__(
        self,
        pid: int,
        commands: asyncio.WriteTransport,
        messages: asyncio.StreamReader,
        process: Process | None,
    ) -> None:
        self.pid = pid
        self.messages = messages
        self._commands = commands
        self._process = process  # None: it was forked from the template
        self._has_ended = False

    def send(self, message: str) -> None:
        """Send a line; to one that has ended, nothing."""
        if not self._commands.is_closing():
            self._commands.write(f"{message}\n".encode())

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            if self._process is not None:
                self._process.kill()
            elif not self._has_ended:  # else its number may be another's by now
                os.kill(self.pid, signal.SIGKILL)

    async def wait(self) -> int:
        """Its exit code, after its end; minus the signal's number if a signal ended it."""
        if self._process is not None:
            code = await self._process.wait()
        else:
            code = await self._exit_code()
        self._commands.close()
        return code

    async def _exit_code(self) -> int:
        try:
            # Its number stays its own until this thread has taken its status.
            await asyncio.to_thread(os.waitid, os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            self._has_ended = True
            _, status = os.waitpid(self.pid, 0)  # noqa: ASYNC222 - it has ended
            return os.waitstatus_to_exitcode(status)
        except ChildProcessError:  # this process ignores SIGCHLD, so there is no status
            self._has_ended = True
            return 255


class Pipes:
    """The pipes of a worker that is being started, for its commands and its messages.

    At the end of the ``with`` block its ends are closed, and ours unless ``connect`` was called.
    """

    def __init__(self) -> None:
        self.commands, self._writes = os.pipe()
        self._reads, self.messages = os.pipe()
        self._is_connected = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        ours = () if self._is_connected else (self._reads, self._writes)
        for file in (self.commands, self.messages, *ours):
            os.close(file)

    async def connect(self, pid: int, process: Process | None = None) -> Child:
        """The process that has got its ends."""
        self._is_connected = True
        loop = asyncio.get_running_loop()
        messages = asyncio.StreamReader()
        await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(messages), os.fdopen(self._reads, "rb", 0)
        )
        commands, _ = await loop.connect_write_pipe(
            asyncio.BaseProtocol, os.fdopen(self._writes, "wb", 0)
        )
        return Child(pid, commands, messages, process)


async def fork_worker(
    template: Template, arguments: Sequence[str], listening: Sequence[socket.socket]
) -> Child:
    """Have a worker forked from the template. Raises ``OSError`` and ``TemplateLost``."""
    with Pipes() as pipes:
        files = (pipes.commands, pipes.messages, *(one.fileno() for one in listening))
        return await pipes.connect(await template.fork(arguments, files))


async def run_worker(arguments: Sequence[str], listening: Sequence[socket.socket]) -> Child:
    """Start a worker that loads by itself. Raises ``OSError``."""
    number, *more = arguments
    inherited = [one.fileno() for one in listening]
    with Pipes() as pipes:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ws_bridge.processes.worker"),
            *(number, ",".join(map(str, inherited)), *more),
            stdin=pipes.commands,
            stdout=pipes.messages,
            pass_fds=inherited,
            process_group=0,  # a terminal's Ctrl-C goes to the supervisor alone
        )
        return await pipes.connect(process.pid, process)


class Template:
    """The template process: started, replaced, asked."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._process: Process | None = None
        self._control: socket.socket | None = None  # of a template that has loaded
        self._is_known = asyncio.Event()  # set: there is one, or there will be none
        self._is_worthwhile = asyncio.Event()  # set: what one needs can be loaded
        self._requests = asyncio.Lock()

    async def run(self) -> None:
        """Keep a template running, until this is cancelled."""
        try:
            while adopt_orphans(adopts=True):
                self._is_known.clear()
                self._is_worthwhile.clear()
                if not await self._live():
                    self._is_known.set()
                    await self._is_worthwhile.wait()
        finally:
            self._is_known.set()
            adopt_orphans(adopts=False)

    def worker_loaded(self) -> None:
        """A worker could load what it needs: so can a template."""
        self._is_worthwhile.set()

    async def _live(self) -> bool:
        """Start a template, wait for its end; whether it had loaded."""
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        control.setblocking(False)
        with control, theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", TEMPLATE, str(theirs.fileno())),
                    str(os.getpid()),
                    stdin=DEVNULL,
                    stdout=DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    process_group=0,  # a terminal's Ctrl-C goes to the supervisor alone
                )
            except OSError as failure:
                log.warning("template_failed reason=%s", failure.strerror)
                return False
            theirs.close()
            try:
                has_loaded = await self._has_loaded(control)
                if has_loaded:
                    self._process, self._control = process, control
                    self._is_known.set()
                    log.info("template_loaded pid=%d", process.pid)
                    code = await process.wait()
                    log.warning("template_ended pid=%d %s", process.pid, exit_reason(code))
            finally:
                self._process = self._control = None
                if process.returncode is None:
                    process.kill()
                await process.wait()
                # Who waits for its answer gets an end, before the socket is closed: its number
                # would be another's, and nothing more would ever be heard of the first.
                control.shutdown(socket.SHUT_RDWR)
                async with self._requests:
                    pass
        return has_loaded

    async def _has_loaded(self, control: socket.socket) -> bool:
        """Wait until a template has loaded, or has not."""
        message = ""
        with contextlib.suppress(OSError):
            received = await asyncio.get_running_loop().sock_recv(control, MESSAGE_BYTES)
            message = received.decode(errors="replace")
        if message == LOADED:
            return True
        reason = message.removeprefix(FAILED).strip() or "it has ended"
        log.warning("template_failed reason=%s", reason)
        return False

    async def fork(self, arguments: Sequence[str], files: Sequence[int]) -> int:
        """Fork a worker with these files; its process id.

        Raises ``OSError`` if this machine has no room for it, and ``TemplateLost``.
        """
        await self._is_known.wait()
        async with self._requests:
            if self._control is None or self._process is None:
                raise TemplateLost
            process, control = self._process, self._control
            with contextlib.suppress(OSError):
                socket.send_fds(control, [" ".join((FORK, *arguments)).encode()], list(files))
            answer = await self._answer(control)
            if not answer:
                self._process = self._control = None
                if process.returncode is None:
                    process.kill()
                raise TemplateLost
        kind, _, more = answer.partition(" ")
        if kind != FORKED:
            raise OSError(0, more)
        return int(more)

    async def _answer(self, control: socket.socket) -> str:
        """The template's answer; empty if it has ended, or gives none."""
        receiving = asyncio.create_task(_receive(control))
        limit = asyncio.ensure_future(self._clock.sleep(ANSWER_SECONDS))
        try:
            await asyncio.wait((receiving, limit), return_when=asyncio.FIRST_COMPLETED)
        finally:
            limit.cancel()
            is_late = not receiving.done()
            receiving.cancel()
            await asyncio.gather(receiving, limit, return_exceptions=True)
        return "" if is_late else receiving.result()


async def _receive(control: socket.socket) -> str:
    try:
        return (await asyncio.get_running_loop().sock_recv(control, MESSAGE_BYTES)).decode()
    except OSError:
        return ""


def exit_reason(code: int) -> str:
    """An exit code as a log field."""
    if code >= 0:
        return f"code={code}"
    with contextlib.suppress(ValueError):
        return f"signal={signal.Signals(-code).name}"
    return f"signal={-code}"
