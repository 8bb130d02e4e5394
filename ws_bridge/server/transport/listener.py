"""Where clients connect: a listening socket, a transport for each connection, and its end.

Rule 1: at the end the listener first accepts no connection, then what runs finishes, then the last
bytes are sent.
Rule 2: an answer quotes nothing that a client sent, not even the line that could not be parsed: it
may be the one with the key.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

from aiohttp import hdrs, web

from ws_bridge.config import Config, Limits
from ws_bridge.errors import BridgeError, InvalidRequest
from ws_bridge.logs import CALLER, UNKNOWN, Caller
from ws_bridge.server.json_responses import (
    REQUEST_ID,
    error_response,
    from_http_exception,
    new_request_id,
)
from ws_bridge.server.refusal_log import REFUSAL_LOG
from ws_bridge.server.transport.transport import MIB, ClientTransport, ListenerState

log = logging.getLogger(__name__)

BACKLOG = 1024  # connections that wait to be accepted: after a restart all clients come at once
PY313 = sys.version_info >= (3, 13)
SEND_BUFFER = 64 * 1024  # a client that does not read hides megabytes in the kernel otherwise

CONTINUE = "100-continue"
UNREADABLE = "The request cannot be read: it is not valid HTTP, or a line of it is too long."

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpHandler(web.RequestHandler):
    """aiohttp's handler of one connection; the errors that it answers itself have our form."""

    __slots__ = ()

    @classmethod
    def of(cls, server: web.Server) -> HttpHandler:
        """A connection's handler; aiohttp makes them, and has no place to name another class."""
        handler = server()
        handler.__class__ = cls
        return cast("HttpHandler", handler)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes the client
    ) -> web.StreamResponse:
        """Answer a request that could not be parsed, or that crashed; the connection ends."""
        if request.writer.output_size > 0:
            raise ConnectionError
        error = BridgeError()
        # aiohttp quotes the expectation, and cannot where it is no text. Nothing else of such a
        # request is looked at.
        if request.headers.get(hdrs.EXPECT, CONTINUE).lower() != CONTINUE:
            status = HTTPStatus.EXPECTATION_FAILED
        if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            error = InvalidRequest(UNREADABLE, status=status)
        caller = Caller(new_request_id(), request.remote or UNKNOWN)
        token = CALLER.set(caller)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("request_crashed", exc_info=exc)
        elif isinstance(request.transport, ClientTransport):
            request.transport.refused(status, "unreadable")
        CALLER.reset(token)
        answer = error_response(error)
        answer.headers[REQUEST_ID] = caller.request_id
        answer.force_close()
        return answer

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer. An error of aiohttp's that passed no middleware becomes one of ours."""
        if isinstance(resp, web.HTTPException) and resp.status >= HTTPStatus.BAD_REQUEST:
            resp = error_response(from_http_exception(resp))
            resp.headers[REQUEST_ID] = new_request_id()
        return await super().finish_response(request, resp, start_time)


@dataclass(frozen=True, slots=True)
class Listener:
    """The sockets that are served, from ``serve_on`` to ``close``."""

    state: ListenerState
    _servers: Sequence[asyncio.Server]
    _runner: web.AppRunner

    def set_limits(self, limits: Limits) -> None:
        """Have these limits for connections that are made from now on, and in sum."""
        self.state.set_limits(limits)

    async def close(self) -> None:
        """Accept no connection, drain the application, return when all connections are over."""
        for server in self._servers:
            server.close()
        # Before the runner's own end, which does this again, but stops all reading before it: a
        # client whose pings are not answered would leave amid its response.
        await self._runner.app.shutdown()
        await self._runner.cleanup()
        await self.state.close()


async def serve_on(
    runner: web.AppRunner,
    listening: Sequence[socket.socket],
    config: Config,
    tls: ssl.SSLContext | None = None,
) -> Listener:
    """Serve a set-up runner on bound sockets, each connection through a ``ClientTransport``.

    ``tls`` is for connections over a network: a UNIX socket has none.
    """
    server, limits = runner.server, config.limits
    if server is None:
        raise RuntimeError("the runner is not set up")
    largest = config.server.max_message_mib * MIB
    state = ListenerState(limits, largest, runner.app.get(REFUSAL_LOG))
    served = []
    for one in listening:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        served.append(await _serve_on(one, state, server, tls))
        one.listen(BACKLOG)
    return Listener(state, served, runner)


async def _serve_on(
    listening: socket.socket, state: ListenerState, server: web.Server, tls: ssl.SSLContext | None
) -> asyncio.Server:
    """Accept the connections of one socket.

    The stock loop tries to accept as many at a time as its backlog says, and when the process has
    no files left it logs a traceback for each: a million lines in three seconds were seen. So the
    loop gets a backlog of one, and the kernel the real one, from the caller.
    """

    def protocol() -> ClientTransport:
        return ClientTransport(HttpHandler.of(server), state)

    if listening.family == socket.AF_UNIX:
        # From Python 3.13 on the loop would remove the file, which other processes serve as well.
        options: dict[str, Any] = {"cleanup_socket": False} if PY313 else {}
        return await state.loop.create_unix_server(protocol, sock=listening, backlog=1, **options)
    return await state.loop.create_server(
        protocol,
        sock=listening,
        ssl=tls,
        backlog=1,
        ssl_handshake_timeout=state.limits.head_seconds if tls else None,
    )


@web.middleware
async def track_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell the transport where a request begins and ends; the outermost middleware."""
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


def message_parsed(request: web.Request) -> None:
    """Tell the transport that the last message is text no more: it counts elsewhere."""
    if isinstance(request.transport, ClientTransport):
        request.transport.message_parsed()


def begin_frames(request: web.Request, ws: web.WebSocketResponse) -> None:
    """Tell the transport that frames follow the handshake. Raises ``InvalidRequest``."""
    if isinstance(request.transport, ClientTransport):
        request.transport.begin_frames(ws)
