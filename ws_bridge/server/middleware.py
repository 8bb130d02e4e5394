"""The middlewares of every request: one authenticates and answers every error, one counts bytes.

Rule 1: authentication comes first; a refused request reaches no handler, no store, no provider.
Only a browser's preflight needs no key.
Rule 2: an address that was refused too often gets 429 until its minute is over, but a valid key
passes from any address: another client behind the same one may be at fault.
Rule 3: every error has the form of docs/protocol.md §4.1; a bug's gives the client no detail.
Rule 4: a body counts from its head on, by what it will take in memory. The claim of a create goes
to its response, for as long as that runs (``quotas``).
Rule 5: an answer that does not fit into the connection's buffer counts until it does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from ws_bridge.config.memory import COPIES
from ws_bridge.errors import BridgeError, InvalidApiKey, OriginNotAllowed
from ws_bridge.server.auth import KEY_NAME, OWNER, Authenticator
from ws_bridge.server.cors import ALLOWED_ORIGIN, is_preflight, preflight_answer
from ws_bridge.server.http.json import CLAIM
from ws_bridge.server.json_responses import error_response, from_http_exception, new_request_id
from ws_bridge.server.quotas import Quotas
from ws_bridge.server.websocket.outbox import BUFFER_BYTES

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# They ask a provider as a create does, for as long as the request lasts.
LIKE_A_CREATE = frozenset({("POST", "/v1/responses/compact")})


class AccessMiddleware:
    """Authenticates each request, and answers each error."""

    def __init__(self, authenticator: Authenticator, quotas: Quotas) -> None:
        self.authenticator = authenticator
        self._quotas = quotas

    @web.middleware
    async def run(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Authenticate, run the handler, and answer errors in the form of docs/protocol.md §4.1."""
        request_id = new_request_id()
        try:
            return await self._run_authenticated(request, handler)
        except BridgeError as error:
            return error_response(error.without_traceback(), request_id)
        except web.HTTPException as refusal:
            if refusal.status < 400:
                raise
            return error_response(from_http_exception(refusal), request_id)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception:  # the edge of the request: a bug tells the client nothing
            log.exception("request_crashed request_id=%s", request_id)
            return error_response(BridgeError(), request_id)

    async def _run_authenticated(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        if not request.path.startswith("/v1/") and request.path != "/metrics":
            return await handler(request)
        try:
            if (origin := self.authenticator.allowed_origin(request)) is not None:
                request[ALLOWED_ORIGIN] = origin
                if is_preflight(request) and request.path != "/metrics":
                    return preflight_answer(request)
            owner, request[KEY_NAME] = self.authenticator.authenticate(request)
        except (InvalidApiKey, OriginNotAllowed) as refusal:
            self._quotas.refused(request.remote)
            log.info("request_refused status=%d code=%s", refusal.status, refusal.code)
            raise
        request[OWNER] = owner
        if (request.method, request.path) not in LIKE_A_CREATE:
            return await handler(request)
        with self._quotas.response(owner):
            return await handler(request)


class RequestQuota:
    """Counts each request's bytes; inside of ``AccessMiddleware``, which answers its refusals."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas

    @web.middleware
    async def run(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Run the handler within the quotas of the request's key. Raises ``RateLimited``."""
        if OWNER not in request:
            return await handler(request)
        with self._quotas.asked(request[OWNER], COPIES * _announced(request)) as claim:
            request[CLAIM] = claim
            answer = await handler(request)
        size = answer.content_length or 0
        if isinstance(answer, web.Response) and size > BUFFER_BYTES:
            with self._quotas.asked(request[OWNER], size):
                await answer.prepare(request)
                await answer.write_eof()  # it returns when the client has taken nearly all
        return answer


def _announced(request: web.Request) -> int:
    """The bytes of the body that its head announces."""
    length = request.content_length if request.can_read_body else 0
    return min(length or 0, request.client_max_size)  # more is not received
