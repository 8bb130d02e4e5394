"""What is asked over HTTP counts until its answer is done, and so does a large answer.

Rule 1: a create counts where it is begun, for as long as its response runs (``budgets``);
everything else that has a body counts here.
Rule 2: an answer that does not fit into the connection's buffer counts until it does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from ws_bridge.server.auth import OWNER
from ws_bridge.server.http.json import read_body
from ws_bridge.server.quotas import Quotas
from ws_bridge.server.websocket.outbox import BUFFER_BYTES

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CREATE = ("POST", "/v1/responses")


class RequestQuota:
    """The middleware of one server, inside of the gate: a refusal is spoken there."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas

    @web.middleware
    async def count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Run the handler within the budget of the request's key. Raises ``RateLimited``."""
        if OWNER not in request:
            return await handler(request)
        with self._quotas.asked(request[OWNER], await _size(request)):
            answer = await handler(request)
        size = answer.content_length or 0
        if isinstance(answer, web.Response) and size > BUFFER_BYTES:
            with self._quotas.asked(request[OWNER], size):
                await answer.prepare(request)
                await answer.write_eof()  # it returns when nearly all was taken
        return answer


async def _size(request: web.Request) -> int:
    if (request.method, request.path) == CREATE or not request.can_read_body:
        return 0
    if request.content_length is not None:
        return min(request.content_length, request.client_max_size)  # more is not received
    return len(await read_body(request))  # it is not said before
