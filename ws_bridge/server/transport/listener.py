"""Where clients come in: a listening socket with a guard for each connection, and its end.

Rule: nobody new comes in, then what runs finishes, then the last bytes go out; in this order.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from ws_bridge.config import Config
from ws_bridge.server.transport.http_handler import HttpHandler
from ws_bridge.server.transport.shared import MIB, ListenerState
from ws_bridge.server.transport.transport import ClientTransport

BACKLOG = 1024  # connections that wait to be accepted: all clients come back at once
SEND_BUFFER = 64 * 1024  # a client that does not read hides megabytes in the kernel otherwise

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that is served, from ``serve_on`` to ``close``."""

    state: ListenerState
    _server: asyncio.Server
    _runner: web.AppRunner

    async def close(self) -> None:
        """Accept nobody, drain the application, let the rest go."""
        self._server.close()
        # Before the runner's own end, which does this again, but has made all connections deaf by
        # then: a client whose pings nobody answers would leave amid its response.
        await self._runner.app.shutdown()
        await self._runner.cleanup()
        await self.state.close()


async def serve_on(
    runner: web.AppRunner,
    listening: socket.socket,
    config: Config,
    tls: ssl.SSLContext | None = None,
) -> Listener:
    """Serve a set-up runner on a bound socket, with a guard before every connection."""
    server, limits = runner.server, config.limits
    if server is None:
        raise RuntimeError("the runner is not set up")
    state = ListenerState(limits, config.server.max_message_mib * MIB)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    # The stock loop tries to accept as many at a time as its backlog says, and when the process has
    # no files left it logs a traceback for each: a million lines in three seconds were seen. So it
    # hears of one, and the kernel of the others.
    served = await state.loop.create_server(
        lambda: ClientTransport(HttpHandler.of(server), state),
        sock=listening,
        ssl=tls,
        backlog=1,
        ssl_handshake_timeout=limits.head_seconds if tls else None,
    )
    listening.listen(BACKLOG)
    return Listener(state, served, runner)


@web.middleware
async def track_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell the connection's guard where a request begins and ends; outermost of all."""
    transport = request.transport
    if not isinstance(transport, ClientTransport):  # a test's server, or the client is gone
        return await handler(request)
    transport.head_received(request)
    is_late = False
    try:
        answer = await handler(request)
    finally:
        is_late = transport.answered()
    if is_late:
        answer.force_close()
    return answer


def begin_frames(request: web.Request, ws: web.WebSocketResponse) -> None:
    """Tell the guard that frames follow the handshake. Raises ``InvalidRequest``."""
    if isinstance(request.transport, ClientTransport):
        request.transport.begin_frames(ws)
