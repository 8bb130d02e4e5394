"""The HTTP side of `/v1/responses`: create, poll, resume, cancel, delete, input_items.

Rule 1: only the request that created a response reads its job; every later one reads the store.
Rule 2: unknown, foreign, deleted and unstored ids get one and the same 404.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from functools import partial

from aiohttp import HttpVersion11, hdrs, web

from ws_bridge.clock import Clock
from ws_bridge.errors import (
    BridgeError,
    InvalidRequest,
    ResponseNotFound,
    StoreUnavailable,
    UpgradeRequired,
)
from ws_bridge.jobs.idempotency import FoundResponse
from ws_bridge.jobs.job import Job
from ws_bridge.jobs.log_reader import LogReader
from ws_bridge.jobs.registry import JobRegistry
from ws_bridge.jobs.spec import Create, EndReason
from ws_bridge.jobs.takeover import Takeover
from ws_bridge.pacing import aside
from ws_bridge.protocol.history import Chain, Turn, input_items
from ws_bridge.protocol.request import CreateResponse
from ws_bridge.server.auth import OWNER
from ws_bridge.server.http.json import (
    CLAIM,
    flag,
    idempotency_key,
    integer,
    page,
    read_create,
    read_json,
)
from ws_bridge.server.http.long_poll import NUMBER_HEADER, LongPolls, PollQuery
from ws_bridge.server.http.sse import send_events
from ws_bridge.server.json_responses import json_response, large_response
from ws_bridge.server.quotas import LimitedCreates, Quotas
from ws_bridge.server.websocket.sockets import Sockets
from ws_bridge.store.base import Record, Snapshot, Store
from ws_bridge.types import Json

CANCEL_SECONDS = 5.0  # for a response that runs on another server


class ResponseRoutes:
    """The handlers. The middleware has set the request's owner."""

    def __init__(
        self,
        jobs: JobRegistry,
        store: Store,
        takeover: Takeover,
        sockets: Sockets,
        clock: Clock,
        *,
        logs: LogReader,
        creates: LimitedCreates,
        quotas: Quotas,
        finish: Callable[[], bool],
    ) -> None:
        self._jobs = jobs
        self._takeover = takeover
        self._store = store
        self._logs = logs
        self._sockets = sockets
        self._clock = clock
        self._creates = creates
        self._quotas = quotas
        self._polls = LongPolls(store, logs.drained, clock)
        self._finish = finish  # stored responses outlive their client

    def routes(self) -> list[web.RouteDef]:
        """Method, path, handler."""
        return [
            web.get("/v1/responses", self.connect, allow_head=False),
            web.post("/v1/responses", self.create),
            web.get("/v1/responses/{id}", self.retrieve, allow_head=False),
            web.delete("/v1/responses/{id}", self.delete),
            web.post("/v1/responses/{id}/cancel", self.cancel),
            web.get("/v1/responses/{id}/input_items", self.input_items, allow_head=False),
        ]

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """Serve a WebSocket; a plain GET gets 426."""
        if not _is_upgrade(request):
            raise UpgradeRequired
        with self._quotas.connection(request[OWNER]):
            return await self._sockets.serve(request)

    async def create(self, request: web.Request) -> web.StreamResponse:
        """Create a response: answered as JSON at its end, as SSE, or at once in the background."""
        body = await read_create(await read_json(request), idempotency_key(request))
        transport = "background" if body.background else "sse" if body.stream else "http"
        create = Create(body, request[OWNER], transport)
        job = await self._creates.start(create, request.get(CLAIM))
        if isinstance(job, FoundResponse):
            return await self._answer_found(request, body, job)
        with self._cancel_on_disconnect(job):
            if body.stream:
                events = job.stream.read()
                return await send_events(request, events, self._clock, is_first_awaited=True)
            if body.background:
                return json_response(job.snapshot())
            await job.stream.wait_until_closed()
        if job.result is None:
            raise job.stream.error or BridgeError
        return await large_response(job.result)

    async def retrieve(self, request: web.Request) -> web.StreamResponse:
        """Answer with the snapshot, or with all events after a number, live to the end."""
        query = PollQuery.of(request)
        if not flag(request, "stream"):
            return await self._poll(request, query)
        if query.wait:
            raise InvalidRequest("'wait' is for a poll; 'stream' waits anyway.", param="wait")
        with self._quotas.follower(request[OWNER]):
            snapshot = await self._find(request)
            after = integer(request, "starting_after", default=-1)
            is_there = after < snapshot.number  # else the first event may be long in coming
            events = self._logs.read(snapshot.record.id, request[OWNER], after=after)
            return await send_events(request, events, self._clock, is_first_awaited=is_there)

    async def _answer_found(
        self, request: web.Request, body: CreateResponse, found: FoundResponse
    ) -> web.StreamResponse:
        """Answer a create that was sent before as the one before it is, or was, answered."""
        if body.stream:
            return await send_events(request, found.events, self._clock, is_first_awaited=True)
        if not body.background:
            async with contextlib.aclosing(found.events) as events:
                async for _ in events:
                    pass
        return await large_response((await self._snapshot(found.id, found.owner)).response)

    async def cancel(self, request: web.Request) -> web.Response:
        """Cancel a running response, here or on another server.

        The provider's connection is closed when this answers, unless the other server is slow.
        """
        snapshot = await self._find(request)
        if not snapshot.is_terminal:
            await self._stop(snapshot)
            snapshot = await self._find(request)
        if snapshot.is_terminal and snapshot.status != "cancelled":
            raise InvalidRequest(f"Cannot cancel a {snapshot.status} response.")
        return await large_response(snapshot.response)

    async def delete(self, request: web.Request) -> web.Response:
        """Delete a response. A running one is cancelled first, one in the background refused."""
        snapshot = await self._find(request)
        response_id, owner = snapshot.record.id, request[OWNER]
        if snapshot.record.background and not snapshot.is_terminal:
            raise InvalidRequest("Cannot delete an in-flight response.")
        if not snapshot.is_terminal:
            await self._stop(snapshot)
        if not await self._store.delete(response_id, owner):
            raise ResponseNotFound(response_id)
        return json_response({"id": response_id, "object": "response", "deleted": True})

    async def input_items(self, request: web.Request) -> web.Response:
        """The input of the response with the history before it, as a page."""
        snapshot = await self._find(request)
        record = snapshot.record
        parent: Turn | None = None
        if record.previous_response_id is not None:
            # An unstored part of the lineage cannot be read (docs/protocol.md §6.2).
            with contextlib.suppress(InvalidRequest):
                parent = await self._jobs.lineage.resolve(record.previous_response_id, record.owner)
        listed = partial(_listed, parent, record)
        items = await aside(listed, values=Chain(parent, record.input).count())
        return await large_response(page(request, items))

    async def _poll(self, request: web.Request, query: PollQuery) -> web.Response:
        """Answer with the snapshot, once there is something newer or the time is over."""
        snapshot = await self._find(request)
        if not query.is_answered_by(snapshot):
            with self._quotas.follower(request[OWNER]):
                await self._polls.wait(query, snapshot)
            snapshot = await self._find(request)
        answer = await large_response(snapshot.response)
        answer.headers[NUMBER_HEADER] = str(snapshot.number)
        return answer

    async def _find(self, request: web.Request) -> Snapshot:
        return await self._snapshot(request.match_info["id"], request[OWNER])

    async def _snapshot(self, response_id: str, owner: str) -> Snapshot:
        snapshot = await self._store.get(response_id, owner)
        if snapshot is not None and snapshot.is_overdue:
            await self._takeover.settle(response_id)
            snapshot = await self._store.get(response_id, owner)
        is_coming = snapshot is None and self._jobs.is_being_stored(response_id, owner)
        if is_coming or (snapshot is not None and not snapshot.response):
            raise StoreUnavailable  # it was created while the store was away
        if snapshot is None:
            raise ResponseNotFound(response_id)
        return snapshot

    async def _stop(self, snapshot: Snapshot) -> None:
        """Cancel a response and wait for its end, for a limited time if another server runs it."""
        record = snapshot.record
        if job := self._jobs.find(record.id, record.owner):
            await job.stop(EndReason.CANCELLED)
            return
        await self._store.cancel(record.id, record.owner)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_SECONDS):
                async for _ in self._store.read(record.id, record.owner, after=snapshot.number):
                    pass

    @contextlib.contextmanager
    def _cancel_on_disconnect(self, job: Job) -> Iterator[None]:
        """When the client goes: a stored response runs on, others end (docs/protocol.md §6.6)."""
        try:
            yield
        except (asyncio.CancelledError, ConnectionError):
            envelope = job.spec.envelope
            if not envelope.background and not (envelope.store and self._finish()):
                job.stop_soon(EndReason.CANCELLED)
            raise


def _listed(parent: Turn | None, record: Record) -> list[Json]:
    """The input of a response, after all items of its lineage."""
    items: list[Json] = []
    for turn in parent.lineage() if parent else ():
        items += [*input_items(turn.id, turn.input), *turn.output]
    return items + input_items(record.id, record.input)


def _is_upgrade(request: web.Request) -> bool:
    """Whether this is an upgrade as RFC 6455 has it; aiohttp takes HTTP/1.0 and old drafts too."""
    is_standard = request.version >= HttpVersion11 and not request.can_read_body
    is_current = request.headers.get(hdrs.SEC_WEBSOCKET_VERSION, "") == "13"
    return is_standard and is_current and bool(web.WebSocketResponse().can_prepare(request))
