"""A process that has done a server's imports: servers are forked from it, as `forkserver.py` asks.

Rule 1: what is forked is a process like any other: it has its own arguments, environment, folder
and output, and runs `ws_bridge.cli.main`. Only what Python loads before that is shared; nothing of
the program has run in it.
Rule 2: this process has one thread and no loop: that is what can be forked.
Rule 3: what was forked ends with it, and it ends with its standard input.
Rule 4: nothing here is in a hurry. Where the first call fails, the reason is printed, and servers
load by themselves what could not be loaded before.
"""

import asyncio
import contextlib
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # `support` is imported by name

from support import long_limits

CONSTANTS = "WS_BRIDGE_TESTS_CONSTANTS"  # in a fork's environment: the product's, as JSON


def load() -> Mapping[str, str]:
    """Import what a server imports; what that has added to the environment."""
    before = dict(os.environ)
    import uvloop  # noqa: F401, PLC0415 - between two looks at the environment, as all of these

    from ws_bridge import cli, logs  # noqa: F401, PLC0415
    from ws_bridge.processes import serving, signals  # noqa: F401, PLC0415
    from ws_bridge.upstream import router  # noqa: PLC0415
    from ws_bridge.upstream.litellm import client  # noqa: F401, PLC0415

    for name in _of_a_first_call(router.Router(())):
        with contextlib.suppress(ImportError):  # a name that was made up
            importlib.import_module(name)
    return {key: text for key, text in os.environ.items() if before.get(key) != text}


def _of_a_first_call(upstream: Any) -> Sequence[str]:
    """The modules that are there after it: made in a fork, for it leaves more behind than those."""
    reads, writes = os.pipe()
    if not os.fork():
        try:
            asyncio.run(upstream.start())
        except BaseException:  # noqa: BLE001 - a fork that is to end here, whatever comes
            traceback.print_exc()
        with os.fdopen(writes, "w") as said:
            json.dump(list(sys.modules), said)
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as heard:
        said_last = heard.read()
    _, status = os.wait()
    if not said_last:
        sys.stderr.write(f"the first call ended with {os.waitstatus_to_exitcode(status)}\n")
    names: Sequence[str] = json.loads(said_last or "[]")
    return names


class Forks:
    """What was forked, by process id; its exit code, once it was asked for and known."""

    def __init__(self, added: Mapping[str, str]) -> None:
        self._added = added
        self._codes: dict[int, int | None] = {}
        self.given: Sequence[str] | None = None  # in a fork: the arguments it is to run with

    def fork(self, given: Sequence[str], environ: dict[str, str], folder: str, log: str) -> int:
        """Its process id; 0 in the fork."""
        pid = os.fork()
        if pid:
            self._codes[pid] = None
        else:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.environ.clear()
            os.environ.update({**environ, **self._added})
            os.chdir(folder)
            _speak_to(log)
            for home, name, value in long_limits.found(json.loads(os.environ.pop(CONSTANTS, "{}"))):
                setattr(home, name, value)
            self.given = given
        return pid

    def code(self, pid: int) -> int | None:
        """None while it lives; minus the signal's number if one ended it."""
        if self._codes[pid] is None:
            ended, status = os.waitpid(pid, os.WNOHANG)
            self._codes[pid] = os.waitstatus_to_exitcode(status) if ended else None
        return self._codes[pid]

    def stopped(self, pid: int) -> None:
        """Return when it has stopped, or ended."""
        if self.code(pid) is None:
            # WNOWAIT leaves the news of it, and of its end, to whoever asks for that.
            os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def kill(self) -> None:
        """End all."""
        for pid, code in self._codes.items():
            if code is None:
                os.kill(pid, signal.SIGKILL)  # nobody else has its number: it was not waited for
                os.waitpid(pid, 0)


def _speak_to(log: str) -> None:
    """Hear nothing; both outputs are the file."""
    for path, numbers in ((os.devnull, (0,)), (log, (1, 2))):
        opened = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        for number in numbers:
            os.dup2(opened, number)
        os.close(opened)


def attend(forks: Forks, listening: socket.socket) -> Sequence[str] | None:
    """Answer questions, a connection and a line each, until the end; in a fork, the arguments."""
    while sys.stdin not in select.select([sys.stdin, listening], [], [])[0]:
        line, _ = listening.accept()
        with line, line.makefile("rw") as text:
            what, *more = json.loads(text.readline())
            answer = getattr(forks, what)(*more)
            if forks.given is None:
                text.write(json.dumps(answer) + "\n")
                text.flush()
        if forks.given is not None:
            listening.close()
            return forks.given
    forks.kill()
    return None


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    questions = socket.socket(fileno=int(sys.argv[1]))
    given = attend(Forks(load()), questions)
    if given is not None:
        from ws_bridge.cli import main

        raise SystemExit(main(list(given)))
