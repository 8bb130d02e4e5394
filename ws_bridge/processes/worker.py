"""One of several serving processes: ``python -m ws_bridge.processes.worker NUMBER FD [relieves]``.

Rule 1: what it needs comes from its supervisor: the listening socket is inherited, the
configuration is the first line of its standard input. Nothing is read or decided twice.
Rule 2: it is told on standard input to drain and to hurry. A signal of its own is a wish to be
relieved: it serves on until its successor does. The input's end is the supervisor's: it leaves at
once, in order.
Rule 3: what it says of itself, it says on standard output, a word a line; its log goes to stderr.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys

from ws_bridge import logs
from ws_bridge.config import Config
from ws_bridge.errors import ConfigError
from ws_bridge.processes import serving, signals
from ws_bridge.processes.signals import StopSignals
from ws_bridge.processes.sockets import tls
from ws_bridge.processes.supervisor import DRAIN, LISTENING, READY, RELIEVE, UNUSABLE


def main(number: int, fd: int, *, is_replacement: bool = False) -> int:
    """Serve until told to stop, and return the exit code."""
    signals.exit_on_signal()
    # Unbuffered: what comes after the line is for another reader.
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as given:
        config = Config.model_validate_json(given.readline())
    logs.set_up(config.server.log_level, logs.secrets_of(config, os.environ))
    try:
        return serving.run(
            _serve(config, number, socket.socket(fileno=fd), is_replacement=is_replacement)
        )
    except ConfigError as unusable:
        _send(f"{UNUSABLE} {unusable}")
        return 2


async def _serve(
    config: Config, number: int, listening: socket.socket, *, is_replacement: bool
) -> int:
    stop_signals = StopSignals()
    loop = asyncio.get_running_loop()
    for one in signals.SIGNALS:
        loop.add_signal_handler(one, _send, RELIEVE)
    obeying = asyncio.create_task(_read_commands(stop_signals))
    try:
        return await serving.serve(
            config,
            listening,
            stop_signals,
            tls=tls(config),
            on_listening=lambda: _send(LISTENING),
            on_ready=lambda: _send(READY),
            worker=number,
            is_replacement=is_replacement,
        )
    finally:
        obeying.cancel()
        await asyncio.gather(obeying, return_exceptions=True)


async def _read_commands(stop_signals: StopSignals) -> None:
    """Pass on what the supervisor says, to its end."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        if line.decode().strip() == DRAIN:
            stop_signals.stop.set()
        else:
            stop_signals.stop_now()
    stop_signals.stop_now()


def _send(word: str) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more; the input's end says so too
        print(word, flush=True)  # noqa: T201 - what standard output is for, rule 3


if __name__ == "__main__":
    given, inherited, *more = sys.argv[1:]
    raise SystemExit(
        signals.exit_process(main(int(given), int(inherited), is_replacement=bool(more)))
    )
