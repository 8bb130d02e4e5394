"""Bridge servers without the seconds that their imports take: forked off a `forkserver_stem.py`.

For tests that need a server, not for those about its start, nor for what is measured: those start
from nothing.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from support.redis_servers import Process

PROGRAM = Path(__file__).with_name("forkserver_stem.py")
SHARED = "WS_BRIDGE_TESTS_STEM"  # in the environment: where the run's stem is asked
STEP_SECONDS = 0.01


class Stem:
    """The process that is forked. It can be asked at once; it answers when its imports are done."""

    def __init__(self, *program: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="stem-")
        self.path = str(Path(self._folder.name, "socket"))
        said = _said_beside(self.path).open("wb")
        with said, socket.socket(socket.AF_UNIX) as listening:
            listening.bind(self.path)
            listening.listen(128)
            self._process = subprocess.Popen(  # noqa: S603 - a program of ours
                [sys.executable, *program, str(listening.fileno())],
                stdin=subprocess.PIPE,
                stderr=said,
                pass_fds=[listening.fileno()],
            )
        self.end = weakref.finalize(self, _end, self._process)  # at the latest when Python exits


def _end(process: subprocess.Popen[bytes]) -> None:
    process.communicate()


_stems: list[Stem] = []  # of this process: one, or none yet
_planting = threading.Lock()  # servers are started side by side, in threads


def stem() -> Stem:
    """The one of this process."""
    with _planting:
        if not _stems:
            _stems.append(Stem(str(PROGRAM)))
        return _stems[0]


def share() -> None:
    """From now on there is one, for this process and those that it starts."""
    os.environ[SHARED] = stem().path


def end() -> None:
    """Leave no stem of this process behind, nor what was forked off it."""
    for one in _stems:
        one.end()


def ask(path: str, what: str, *more: Any) -> Any:
    """A question to the stem at a path. Raises ``RuntimeError`` if it has ended, and says why."""
    answer = ""
    with (
        contextlib.suppress(ConnectionError),
        socket.socket(socket.AF_UNIX) as line,
        line.makefile("rw") as text,
    ):
        line.connect(path)
        text.write(json.dumps([what, *more]) + "\n")
        text.flush()
        answer = text.readline()
    if not answer:
        raise RuntimeError(f"the stem has ended:\n{_said_beside(path).read_text(errors='replace')}")
    return json.loads(answer)


def _said_beside(path: str) -> Path:
    """Where a stem's standard error goes."""
    return Path(path).with_name("stderr")


class Fork:
    """To the child of a stem what ``subprocess.Popen`` is to a child."""

    def __init__(self, path: str, *given: Any) -> None:
        self._path = path
        self.pid: int = ask(path, "fork", *given)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code; None while it lives."""
        if self.returncode is None:
            self.returncode = ask(self._path, "code", self.pid)
        return self.returncode

    def wait(self, timeout: float = threading.TIMEOUT_MAX) -> int:
        """Its exit code. Raises ``TimeoutExpired``."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("ws-bridge", timeout)
            time.sleep(STEP_SECONDS)
        return code

    def send_signal(self, number: int) -> None:
        """Nothing if it has ended: its number may be another's by now."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def stopped(self) -> None:
        """Return when it has stopped, or ended."""
        ask(self._path, "stopped", self.pid)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it without a word."""
        self.send_signal(signal.SIGKILL)


class Forked(Process):
    """``python -m ws_bridge …`` as a fork."""

    def _begin(
        self,
        command: Sequence[str],
        log: Path,
        environ: Mapping[str, str] | None,
        cwd: Path | None,
    ) -> Fork:
        surroundings = dict(os.environ if environ is None else environ)
        path = os.environ.get(SHARED) or stem().path
        return Fork(path, list(command[3:]), surroundings, str(cwd or Path.cwd()), str(log))

    def _await_stop(self) -> None:
        self._popen.stopped()
