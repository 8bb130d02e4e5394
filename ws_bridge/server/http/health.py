"""`/healthz` and `/readyz`: whether the process lives, and whether it should be given clients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from aiohttp import web

from ws_bridge.server.json_responses import json_response


class Readiness(NamedTuple):
    """Whether a server is ready, and what it lacks; it may be ready without a store."""

    is_ready: bool
    missing: Sequence[str]


class HealthRoutes:
    """The handlers."""

    def __init__(self, readiness: Callable[[], Readiness]) -> None:
        self._readiness = readiness

    def routes(self) -> list[web.RouteDef]:
        """Method, path, handler."""
        return [web.get("/healthz", self.live), web.get("/readyz", self.ready)]

    async def live(self, _request: web.Request) -> web.Response:
        """Answer 200."""
        return json_response({"status": "ok"})

    async def ready(self, _request: web.Request) -> web.Response:
        """Answer 200 if the server is ready, else 503; the body says what is missing."""
        is_ready, missing = self._readiness()
        status = {"status": "ready" if is_ready else "not ready"}
        answer = json_response({**status, "missing": missing} if missing else status)
        answer.set_status(200 if is_ready else 503)
        return answer
