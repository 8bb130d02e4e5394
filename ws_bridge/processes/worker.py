"""One of several workers: ``python -m ws_bridge.processes.worker NUMBER FDS [replacement]``.

Rule 1: all that it needs comes from its supervisor: the listening sockets are inherited, the
settings are the first line of its standard input. Nothing is read or decided twice.
Rule 2: its standard input has the supervisor's commands, to drain and to stop by force. A signal to
the worker itself asks for a replacement: it serves until that is ready. A SIGHUP is ignored. When
the input ends, the supervisor has ended: the worker stops at once, in order.
Rule 3: it reports on standard output, a message a line; its log goes to stderr.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Sequence

from ws_bridge import logs
from ws_bridge.config import Settings
from ws_bridge.errors import ConfigError
from ws_bridge.processes import serving, signals
from ws_bridge.processes.messages import (
    COMMIT,
    COMMITTED,
    DRAIN,
    FORCE,
    LEAVE,
    LISTENING,
    MOST_LINE_BYTES,
    MOST_REASON,
    PREPARE,
    PREPARED,
    READY,
    REFUSED,
    RELIEVE,
    STORED,
    UNUSABLE,
    USAGE,
)
from ws_bridge.processes.reload import OwnReload, Reloader
from ws_bridge.processes.signals import StopSignals
from ws_bridge.processes.sockets import tls
from ws_bridge.processes.worker_usage import UsageAnswers

log = logging.getLogger(__name__)

Changes = asyncio.Queue[tuple[str, int, str]]  # word, generation, the settings as JSON


def main(number: int, fds: Sequence[int], *, is_replacement: bool = False) -> int:
    """Serve until stopped, and return the exit code."""
    signals.exit_on_signal()
    # Unbuffered: what comes after the line is for another reader.
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as commands:
        line = commands.readline()
    if not line.endswith(b"\n"):  # the supervisor has ended already
        return 0
    settings = Settings.from_json(line.split(maxsplit=2)[2])
    server = settings.config.server
    logs.set_up(server.log_level, logs.secrets_of(settings), server.log_format)
    try:
        listening = [socket.socket(fileno=fd) for fd in fds]
        return serving.run(_serve(settings, number, listening, is_replacement=is_replacement))
    except ConfigError as unusable:
        _send(f"{UNUSABLE} {' '.join(str(unusable).split())}")
        return 2


async def _serve(
    settings: Settings, number: int, listening: Sequence[socket.socket], *, is_replacement: bool
) -> int:
    stop_signals = StopSignals()
    loop = asyncio.get_running_loop()
    for one in signals.SIGNALS:
        loop.add_signal_handler(one, _send, RELIEVE)
    loop.add_signal_handler(signal.SIGHUP, _ignore_hangup)
    reload = OwnReload()
    usage = UsageAnswers(_send)
    changes: Changes = asyncio.Queue()
    store_reached = asyncio.Event()
    tasks = [
        asyncio.create_task(_read_commands(stop_signals, changes, store_reached, usage)),
        asyncio.create_task(_report(store_reached)),
        asyncio.create_task(_change(changes, reload)),
    ]

    def listens(reloader: Reloader) -> None:
        reload.begin(reloader)
        _send(LISTENING)

    try:
        return await serving.serve(
            settings,
            listening,
            stop_signals,
            tls=tls(settings.config),
            on_listening=listens,
            on_ready=lambda: _send(READY),
            store_reached=store_reached,
            usage=usage,
            worker=number,
            is_replacement=is_replacement,
        )
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await usage.close()


def _ignore_hangup() -> None:
    log.info("hangup_ignored: the supervisor reloads")


async def _report(store_reached: asyncio.Event) -> None:
    await store_reached.wait()
    _send(STORED)


async def _read_commands(
    stop_signals: StopSignals,
    changes: Changes,
    store_reached: asyncio.Event,
    usage: UsageAnswers,
) -> None:
    """Read the supervisor's commands until its end."""
    reader = asyncio.StreamReader(limit=MOST_LINE_BYTES)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        word, *more = line.decode().strip().split(" ", 2)
        if word == LEAVE:
            stop_signals.leave.set()
        elif word == DRAIN:
            stop_signals.stop.set()
        elif word == FORCE:
            stop_signals.stop_now()
        elif word == STORED:
            store_reached.set()
        elif word == USAGE:
            usage.answer(" ".join(more))
        else:
            changes.put_nowait((word, int(more[0]), more[1] if len(more) > 1 else ""))
    stop_signals.stop_now()


async def _change(changes: Changes, reload: OwnReload) -> None:
    """Prepare, commit and discard settings as the supervisor asks."""
    while True:
        word, generation, text = await changes.get()
        try:
            if word == PREPARE:
                await reload.prepare(generation, Settings.from_json(text))
                _send(f"{PREPARED} {generation}")
            elif word == COMMIT:
                await reload.commit(generation)
                _send(f"{COMMITTED} {generation}")
            else:
                await reload.discard(generation)
        except ConfigError as refused:
            reason = " ".join(str(refused).split())[:MOST_REASON]
            _send(f"{REFUSED} {generation} {reason}")
        except Exception:  # the edge: a worker of which the settings are not known is replaced
            log.exception("reload_crashed")
            _send(RELIEVE)


def _send(message: str) -> None:
    with contextlib.suppress(OSError):  # the supervisor is gone, and the input ends too
        print(message, flush=True)  # noqa: T201 - what standard output is for, rule 3


if __name__ == "__main__":
    given, inherited, *more = sys.argv[1:]
    raise SystemExit(
        signals.exit_process(
            main(int(given), [int(fd) for fd in inherited.split(",")], is_replacement=bool(more))
        )
    )
