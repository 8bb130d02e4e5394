"""The middlewares of every request: one authenticates, answers errors and logs, one counts bytes.

Rule 1: authentication comes first; a refused request reaches no handler, no store, no provider.
Only a browser's preflight needs no key.
Rule 2: an address that was refused too often gets 429 until its minute is over, but a valid key
passes from any address: another client behind the same one may be at fault.
Rule 3: every error has the form of docs/protocol.md §4.1; a bug's gives the client no detail.
Rule 4: a body counts from its head on, by what it will take in memory. The claim of a create goes
to its response, for as long as that runs (``quotas``).
Rule 5: an answer that does not fit into the connection's buffer counts until it does.
Rule 6: a request has one id, its client's own or a new one: in the answer, and in every log line
that is written while it is served.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable

from aiohttp import web

from ws_bridge.clock import Clock
from ws_bridge.config.memory import COPIES
from ws_bridge.errors import BridgeError, InvalidApiKey, OriginNotAllowed, UpstreamError
from ws_bridge.logs import CALLER, UNKNOWN, Caller
from ws_bridge.server.auth import KEY_DIGEST, KEY_NAME, OWNER, Authenticator
from ws_bridge.server.cors import ALLOWED_ORIGIN, is_preflight, preflight_answer
from ws_bridge.server.http.json import CLAIM
from ws_bridge.server.json_responses import (
    REQUEST_ID,
    error_response,
    from_http_exception,
    new_request_id,
)
from ws_bridge.server.metrics import Metrics
from ws_bridge.server.quotas import Quotas
from ws_bridge.server.refusal_log import RefusalLog
from ws_bridge.server.websocket.outbox import BUFFER_BYTES

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# They ask a provider as a create does, for as long as the request lasts.
LIKE_A_CREATE = frozenset({("POST", "/v1/responses/compact")})

# A client's own id is taken over if it is so: it can stand in a header and in a log line.
GIVEN_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
UNKNOWN_ROUTE = "unknown"
CLIENT_GONE = 499  # stands for the status of a request whose client did not wait for the answer


class AccessMiddleware:
    """Authenticates each request, answers each error, and counts and logs what became of it."""

    def __init__(
        self,
        authenticator: Authenticator,
        quotas: Quotas,
        clock: Clock,
        *,
        metrics: Metrics,
        refusal_log: RefusalLog,
    ) -> None:
        self.authenticator = authenticator
        self.logs_access = False
        self._quotas = quotas
        self._metrics = metrics
        self._refusal_log = refusal_log
        self._now = clock.monotonic

    @web.middleware
    async def run(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Authenticate, run the handler, and answer errors in the form of docs/protocol.md §4.1."""
        given = request.headers.get(REQUEST_ID, "")
        request_id = given if GIVEN_ID.fullmatch(given) else new_request_id()
        caller = Caller(request_id, request.remote or UNKNOWN)
        token = CALLER.set(caller)
        began = self._now()
        answer: web.StreamResponse | None = None
        try:
            answer = await self._answer(request, handler, caller)
            if not answer.prepared:
                answer.headers[REQUEST_ID] = request_id
        finally:
            self._record(request, answer, self._now() - began)
            CALLER.reset(token)
        return answer

    async def _answer(
        self, request: web.Request, handler: Handler, caller: Caller
    ) -> web.StreamResponse:
        try:
            return await self._run_authenticated(request, handler, caller)
        except BridgeError as error:
            refusal = error.without_traceback()
        except web.HTTPException as raised:
            if raised.status < 400:
                raise
            refusal = from_http_exception(raised)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception:  # the edge of the request: a bug tells the client nothing
            log.exception("request_crashed")
            return error_response(BridgeError())
        if not isinstance(refusal, UpstreamError):  # the response's own line has a provider's
            self._refusal_log.refused(refusal.status, refusal.code)
        return error_response(refusal)

    def _record(
        self, request: web.Request, answer: web.StreamResponse | None, seconds: float
    ) -> None:
        """Count a request that is over, and log it if the operator wants that."""
        status = CLIENT_GONE if answer is None else answer.status
        resource = request.match_info.route.resource
        route = UNKNOWN_ROUTE if resource is None else resource.canonical
        self._metrics.answered(route, request.method, status)
        if not self.logs_access:
            return
        sent = 0 if answer is None else answer.body_length or answer.content_length or 0
        fields = (request.method, request.path, status, seconds * 1000, sent)
        log.info("request method=%s path=%s status=%d ms=%.1f bytes=%d", *fields)

    async def _run_authenticated(
        self, request: web.Request, handler: Handler, caller: Caller
    ) -> web.StreamResponse:
        if not request.path.startswith("/v1/") and request.path != "/metrics":
            return await handler(request)
        try:
            if (origin := self.authenticator.allowed_origin(request)) is not None:
                request[ALLOWED_ORIGIN] = origin
                if is_preflight(request) and request.path != "/metrics":
                    return preflight_answer(request)
            client = self.authenticator.authenticate(request)
        except (InvalidApiKey, OriginNotAllowed):
            self._quotas.refused(request.remote)
            raise
        request[OWNER], request[KEY_NAME], request[KEY_DIGEST] = client
        caller.known_as(client.key_name)
        if (request.method, request.path) not in LIKE_A_CREATE:
            return await handler(request)
        with self._quotas.response(client.owner):
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
