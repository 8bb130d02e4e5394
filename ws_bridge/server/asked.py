"""What was asked over HTTP counts until its answer is done.

Rule: a create counts where it is begun, for as long as its response runs (``budgets``); everything
else that has a body counts here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from ws_bridge.server.auth import OWNER
from ws_bridge.server.budgets import Budgets
from ws_bridge.server.exchange import read_body

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CREATE = ("POST", "/v1/responses")


class Asked:
    """The middleware of one server, inside of the gate: a refusal is spoken there."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets

    @web.middleware
    async def count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Run the handler within the budget of the request's key. Raises ``RateLimited``."""
        is_create = (request.method, request.path) == CREATE
        if is_create or OWNER not in request or not request.can_read_body:
            return await handler(request)
        size = request.content_length
        if size is None:  # it is not said before
            size = len(await read_body(request))
        with self._budgets.asked(request[OWNER], size):
            return await handler(request)
