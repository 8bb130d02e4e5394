"""aiohttp's own handler of one connection, with the refusals that it speaks itself in our words.

Rule: nothing of what a client sent is said back, not even the line that could not be read: it may
be the one with the key.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import cast

from aiohttp import hdrs, web

from ws_bridge.errors import BridgeError, InvalidRequest
from ws_bridge.server.http.json import error_response, from_http_exception

log = logging.getLogger(__name__)

CONTINUE = "100-continue"
UNREADABLE = "The request cannot be read: it is not valid HTTP, or a line of it is too long."


class HttpHandler(web.RequestHandler):
    """What comes before any middleware is asked, and after all of them have spoken."""

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
        """What a request is told that could not be read, or that crashed; the connection ends."""
        if request.writer.output_size > 0:
            raise ConnectionError
        error = BridgeError()
        # aiohttp says back what is expected, and cannot where that is no text; nothing else of such
        # a request is looked at.
        if request.headers.get(hdrs.EXPECT, CONTINUE).lower() != CONTINUE:
            status = HTTPStatus.EXPECTATION_FAILED
        if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            error = InvalidRequest(UNREADABLE)
            error.status = status
            log.info("request_unreadable status=%d kind=%s", status, type(exc).__name__)
        else:
            log.error("request_crashed", exc_info=exc)
        answer = error_response(error)
        answer.force_close()
        return answer

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer; a refusal that no middleware has seen becomes one of ours."""
        if isinstance(resp, web.HTTPException) and resp.status >= HTTPStatus.BAD_REQUEST:
            resp = error_response(from_http_exception(resp))
        return await super().finish_response(request, resp, start_time)
