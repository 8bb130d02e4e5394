"""The control socket, on which `ws-bridge reload` asks a server to reload and gets the outcome.

Rule: only its owner can open the socket's file: who reaches it may reload, and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator

from ws_bridge.errors import ConfigError
from ws_bridge.processes.reload_requests import RELOADED, STOPPED, ReloadRequests

RELOAD = b"reload\n"
MOST_ANSWER_BYTES = 2**20
ACCEPT_PAUSE_SECONDS = 1.0

log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def reloads(
    requests: ReloadRequests, control: socket.socket | None
) -> AsyncIterator[ReloadRequests]:
    """Carry out requests, and answer those of the control socket, within the block."""
    tasks = [asyncio.create_task(requests.run())]
    if control is not None:
        tasks.append(asyncio.create_task(_accept(requests, control)))
    try:
        yield requests
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _accept(requests: ReloadRequests, control: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    control.setblocking(False)
    with control:
        async with asyncio.TaskGroup() as answering:
            while True:
                try:
                    connection, _ = await loop.sock_accept(control)
                except OSError as failure:  # of one client, or there are no files left for now
                    log.warning("control_cannot_accept reason=%s", failure.strerror)
                    await asyncio.sleep(ACCEPT_PAUSE_SECONDS)
                else:
                    answering.create_task(_answer(requests, connection))


async def _answer(requests: ReloadRequests, connection: socket.socket) -> None:
    """Answer one client; one that asks for nothing known gets nothing."""
    loop = asyncio.get_running_loop()
    with connection, contextlib.suppress(OSError):
        connection.setblocking(False)
        asked = b""
        while not asked.endswith(b"\n") and len(asked) < len(RELOAD):
            if not (received := await loop.sock_recv(connection, len(RELOAD))):
                return
            asked += received
        if asked == RELOAD:
            answer = f"{await requests.ask()}\n".encode(errors="backslashreplace")
            await loop.sock_sendall(connection, answer)


def ask(path: str) -> tuple[bool, str]:
    """Have the server at a control socket reload: whether it has, and the outcome in words.

    Raises ``ConfigError`` if no server is there.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(path)
            connection.sendall(RELOAD)
            answer = connection.makefile().readline(MOST_ANSWER_BYTES).strip() or STOPPED
        except OSError as failure:
            raise ConfigError(
                f"no server answers at the control socket {path} ({failure.strerror or failure}): "
                "start one with this 'server.control_socket'"
            ) from None
    return answer.startswith(RELOADED), answer
