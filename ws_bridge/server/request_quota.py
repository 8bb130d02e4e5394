"""What is asked over HTTP counts until its answer is done, and so does a large answer.

Rule 1: a body counts from its head on, by what it will take in memory. A create's claim goes to its
response, for as long as that runs (``budgets``).
Rule 2: an answer that does not fit into the connection's buffer counts until it does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from ws_bridge.server.auth import OWNER
from ws_bridge.server.http.json import CLAIM
from ws_bridge.server.quotas import COPIES, Quotas
from ws_bridge.server.websocket.outbox import BUFFER_BYTES

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RequestQuota:
    """The middleware of one server, inside of the gate: a refusal is spoken there."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas

    @web.middleware
    async def count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Run the handler within the budget of the request's key. Raises ``RateLimited``."""
        if OWNER not in request:
            return await handler(request)
        with self._quotas.asked(request[OWNER], COPIES * _announced(request)) as claim:
            request[CLAIM] = claim
            answer = await handler(request)
        size = answer.content_length or 0
        if isinstance(answer, web.Response) and size > BUFFER_BYTES:
            with self._quotas.asked(request[OWNER], size):
                await answer.prepare(request)
                await answer.write_eof()  # it returns when nearly all was taken
        return answer


def _announced(request: web.Request) -> int:
    """The size of the body, as far as it is said before."""
    length = request.content_length if request.can_read_body else 0
    return min(length or 0, request.client_max_size)  # more is not received
