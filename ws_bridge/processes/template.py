"""The template: a process that has loaded all that a worker needs, and forks workers.

``python -m ws_bridge.processes.template FD``, started by the supervisor, which asks over the socket
FD: a message each, with the files of the worker.

Rule 1: it serves no client, and has one thread, no event loop and no connection: such a process can
be forked. What is loaded stays shared with the workers: the collector never touches it.
Rule 2: a worker is a child of the supervisor, which is a subreaper: it is forked twice, and what
stands between ends at once. So its exit code is known, and the template may end before it.
Rule 3: it ends when the supervisor ends, whatever it does then.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

# The messages: to the template, with the arguments of the worker ...
FORK = "fork"
# ... and from it.
LOADED, FAILED, FORKED, REFUSED = "loaded", "failed", "forked", "refused"
MESSAGE_BYTES = 4096
MOST_FILES = 253  # of one message; the kernel allows no more

CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
# Elsewhere threads of the system's libraries make it unsafe, or the calls below are missing.
CAN_FORK = sys.platform == "linux"

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans(*, adopts: bool) -> bool:
    """Whether from now on what a child has started is this process's child when that child ends.

    With ``adopts=False`` no more. False where the system cannot do it.
    """
    return CAN_FORK and _prctl(PR_SET_CHILD_SUBREAPER, int(adopts))


def _prctl(option: int, value: int | bytes) -> bool:
    call = getattr(ctypes.CDLL(None), "prctl", None)
    return call is not None and call(option, value, 0, 0, 0) == 0


def main(fd: int, supervisor: int) -> None:
    """Load, then fork a worker for each request, until the supervisor ends."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _prctl(PR_SET_NAME, b"ws-bridge:templ")
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:  # it ended before the line above
        return
    with socket.socket(fileno=fd) as control:
        try:
            _load()
        except ImportError as failure:
            control.send(f"{FAILED} {failure}".encode()[:MESSAGE_BYTES])
            return
        control.send(LOADED.encode())
        while True:
            request, files, _, _ = socket.recv_fds(
                control, MESSAGE_BYTES, MOST_FILES, CLOSE_ON_EXEC
            )
            if not request:
                return
            control.send(_fork(request.decode().split()[1:], files, control).encode())


def _load() -> None:
    """Import all. Nothing of it ever becomes garbage: the collector does not look at it again."""
    gc.disable()
    from ws_bridge.processes import serving, worker  # noqa: F401, PLC0415 - loaded for the workers
    from ws_bridge.upstream.preload import preload  # noqa: PLC0415

    serving.loop_factory()
    preload()
    gc.freeze()


def _fork(arguments: Sequence[str], files: Sequence[int], control: socket.socket) -> str:
    """Fork a worker, which is the supervisor's child when this returns; the answer."""
    reads, writes = os.pipe()
    with os.fdopen(reads) as pipe:
        try:
            between = os.fork()
            if not between:
                _fork_again(arguments, files, (control.fileno(), reads, writes))
        except OSError as failure:
            return f"{REFUSED} {failure.strerror}"
        finally:
            for file in (writes, *files):
                os.close(file)
        answer = pipe.read()
        os.waitpid(between, 0)
    return answer


def _fork_again(
    arguments: Sequence[str], files: Sequence[int], unneeded: Sequence[int]
) -> NoReturn:
    """In the process between: fork the worker, write the answer to the last of ``unneeded``."""
    try:
        try:
            pid = os.fork()
        except OSError as failure:
            answer = f"{REFUSED} {failure.strerror}"
        else:
            if not pid:
                _run_worker(arguments, files, unneeded)
            answer = f"{FORKED} {pid}"
        os.write(unneeded[-1], answer.encode())
    finally:
        os._exit(0)


def _run_worker(
    arguments: Sequence[str], files: Sequence[int], unneeded: Sequence[int]
) -> NoReturn:
    """In the worker: take its files for standard input and output, and serve."""
    from ws_bridge.processes import signals, worker  # noqa: PLC0415 - loaded already

    code = 1
    try:
        os.setpgid(0, 0)  # a terminal's Ctrl-C goes to the supervisor alone
        commands, messages, *listening = files
        os.dup2(commands, sys.stdin.fileno())
        os.dup2(messages, sys.stdout.fileno())
        for file in (commands, messages, *unneeded):
            os.close(file)
        gc.enable()
        number, *more = arguments
        _prctl(PR_SET_NAME, f"ws-bridge:{number}".encode())  # its command line is the template's
        code = worker.main(int(number), listening, is_replacement=bool(more))
    except BaseException:  # noqa: BLE001 - the edge of the process
        traceback.print_exc()
    finally:
        # Without the interpreter's own end, which would write to all that is shared.
        signals.end_process(code)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
