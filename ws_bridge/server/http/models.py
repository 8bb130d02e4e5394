"""`/v1/models`, and the requests to a model that make no response: token counts, compaction."""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from aiohttp import web

from ws_bridge.clock import Clock
from ws_bridge.jobs.lineage import build_chain
from ws_bridge.jobs.registry import JobRegistry
from ws_bridge.protocol.sealing import Sealer
from ws_bridge.server.auth import OWNER
from ws_bridge.server.client_rules import ClientRules
from ws_bridge.server.http.json import read_create, read_json
from ws_bridge.server.json_responses import json_response
from ws_bridge.types import Json
from ws_bridge.upstream.base import FindTarget, Request, TokenCounter, Upstream
from ws_bridge.upstream.summary import summarise

# So many large counts of one key run at once: each takes a thread and several times its memory.
# The bodies of others are not even received before their turn.
LARGE_COUNTS = 2
LARGE = 2**20


class ModelRoutes:
    """The handlers. The middleware has set the request's owner."""

    def __init__(
        self,
        names: Callable[[], Sequence[str]],
        find_target: FindTarget,
        *,
        rules: ClientRules,
        upstream: Upstream,
        token_counter: TokenCounter,
        jobs: JobRegistry,
        sealer: Sealer,
        clock: Clock,
    ) -> None:
        self._names = names
        self._find_target = find_target
        self._rules = rules
        self._upstream = upstream
        self._token_counter = token_counter
        self._jobs = jobs
        self._sealer = sealer
        self._clock = clock
        self._started_at = int(clock.wall())
        self._counting: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(LARGE_COUNTS)
        )

    def routes(self) -> list[web.RouteDef]:
        """The routes, to be added before `/v1/responses/{id}`."""
        return [
            web.get("/v1/models", self.list, allow_head=False),
            web.get("/v1/models/{id:.+}", self.retrieve, allow_head=False),
            web.post("/v1/responses/input_tokens", self.input_tokens),
            web.post("/v1/responses/compact", self.compact),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """The names that the client can ask for; of a wildcard those that are known."""
        names = self._rules.allowed(request[OWNER], self._names())
        models = [self._model(name) for name in names]
        return json_response({"object": "list", "data": models})

    async def retrieve(self, request: web.Request) -> web.Response:
        """A name that the client can ask for, also one that only a wildcard serves."""
        name = request.match_info["id"]
        self._rules.check_model(request[OWNER], name)
        self._find_target(name)
        return json_response(self._model(name))

    def _model(self, name: str) -> Json:
        return {"id": name, "object": "model", "created": self._started_at, "owned_by": "ws_bridge"}

    async def input_tokens(self, request: web.Request) -> web.Response:
        """The number of tokens that the input has for the named model."""
        size = request.content_length
        is_small = size is not None and size < LARGE
        async with nullcontext() if is_small else self._counting[request[OWNER]]:
            count = await self._token_counter.count_tokens(await self._read_request(request))
        return json_response({"object": "response.input_tokens", "input_tokens": count})

    async def compact(self, request: web.Request) -> web.Response:
        """The conversation as one compaction item, which this bridge accepts back as input."""
        summary = await summarise(self._upstream, await self._read_request(request))
        compaction: Json = {
            "id": "cmp_" + secrets.token_hex(24),
            "object": "response.compaction",
            "created_at": int(self._clock.wall()),
            "output": [self._sealer.seal(summary.text)],
            "usage": summary.usage,
        }
        return json_response(compaction)

    async def _read_request(self, request: web.Request) -> Request:
        body = await read_json(request)
        create = await read_create({**body, "generate": False})
        self._rules.check_model(request[OWNER], create.model or "")
        target = self._find_target(create.model or "")
        parent, lineage = None, self._jobs.lineage
        if create.previous_response_id is not None:
            parent = await lineage.resolve(create.previous_response_id, request[OWNER])
        given = await lineage.resolve_input(create, request[OWNER], parent)
        chain = await build_chain(parent, create, self._sealer, given)
        return Request(target, chain, create.passed_on())
