"""A provider's own `/v1/responses` WebSocket as an `Upstream`: one create, its events as they come.

Rule 1: drafts carry the provider's own bytes; only ids, numbers and lanes become the bridge's.
Rule 2: where the provider remembers the parent, only the new items are sent; else all of the
history. Clients see no difference.
Rule 3: a request is sent again only while nothing of its answer has been yielded.
Rule 4: the protocol has no cancel. A response that is not wanted any more loses its connection; if
other responses share that, its events are dropped until it ends.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from functools import partial

import orjson

from ws_bridge.clock import Clock
from ws_bridge.errors import UpstreamError
from ws_bridge.pacing import aside
from ws_bridge.protocol.events import FAILED, TERMINAL, Draft
from ws_bridge.types import Json
from ws_bridge.upstream.base import Request, Upstream
from ws_bridge.upstream.deadlines import Deadlines
from ws_bridge.upstream.dialects.request_adapter import Dialect, fit_input, fit_options
from ws_bridge.upstream.errors import LOST, TOO_LARGE, NeverBegan, TooLarge, classify
from ws_bridge.upstream.retry import Jitter, next_pause
from ws_bridge.upstream.websocket.connection import ERROR, ProviderAddress
from ws_bridge.upstream.websocket.errors import parse_error
from ws_bridge.upstream.websocket.pool import ConnectionPool, LaneLease

log = logging.getLogger(__name__)

SupportsReasoning = Callable[[str], bool | None]

# The provider's codes.
FORGOTTEN = "previous_response_not_found"
TOO_OLD = "websocket_connection_limit_reached"


class WebSocketUpstream:
    """A ``Service``. ``counter`` counts tokens; ``supports_reasoning`` knows the reasoning models.

    It works without ``open`` too; then idle connections are closed at the next turn only.
    """

    def __init__(
        self,
        counter: Upstream,
        *,
        supports_reasoning: SupportsReasoning = lambda _: None,
        clock: Clock = Clock(),  # noqa: B008 - frozen
        jitter: Jitter = random.random,
    ) -> None:
        self._counter = counter
        self._supports_reasoning = supports_reasoning
        self._clock = clock
        self._jitter = jitter
        self._pool = ConnectionPool(clock)
        self._sweeper: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start to close idle connections in time."""
        self._sweeper = asyncio.create_task(self._pool.sweep_periodically(), name="native")

    async def close(self) -> None:
        """Close every connection; ``respond`` must not be called afterwards."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        await self._pool.close()

    async def respond(self, request: Request) -> AsyncGenerator[Draft, None]:
        """See ``Upstream``."""
        deadlines = Deadlines(request.target.timeout_seconds, request.target.stall_seconds)
        lease = None
        try:
            lease, draft = await self._begin(request, ProviderAddress.of(request.target), deadlines)
            while draft.type not in TERMINAL:
                yield draft
                draft = await self._receive(lease, deadlines, has_begun=True)
                if lease.lane.bytes > request.target.most_bytes:
                    raise TooLarge(TOO_LARGE)
            await self._end(request, lease, draft)
            yield draft
        except UpstreamError as failure:
            _log_failure(request, failure)
            raise
        finally:
            deadlines.cancel()
            if lease is not None:
                await self._pool.release(lease)

    async def count_tokens(self, request: Request) -> int:
        """See ``Upstream``."""
        return await self._counter.count_tokens(request)

    async def _begin(
        self, request: Request, address: ProviderAddress, deadlines: Deadlines
    ) -> tuple[LaneLease, Draft]:
        """A lane and the first draft, after as many attempts as are allowed."""
        target = request.target
        attempt, fresh = 0, False
        while True:
            try:
                return await self._attempt(request, address, deadlines, fresh=fresh)
            except StaleConnection:
                fresh = True  # the loss could not be known: that was no attempt
                continue
            except UpstreamError as failure:
                never_began = isinstance(failure, NeverBegan)
                pause = next_pause(
                    failure,
                    attempt,
                    allowed=target.ws_reconnects if never_began else target.retries,
                    remaining=deadlines.remaining(),
                    jitter=self._jitter,
                )
                if pause is None:
                    raise
            await self._clock.sleep(pause)
            deadlines.record_activity()
            attempt += 1

    async def _attempt(
        self, request: Request, address: ProviderAddress, deadlines: Deadlines, *, fresh: bool
    ) -> tuple[LaneLease, Draft]:
        parent = request.chain.parent
        lease = self._pool.acquire(address, parent.id if parent else "", fresh=fresh)
        try:
            with deadlines:
                await lease.connection.wait_until_open()
            deadlines.record_activity()
            return lease, await self._create(request, lease, deadlines)
        except BaseException as failure:  # a cancelled caller leaves nothing running either
            await self._pool.release(lease)
            if isinstance(failure, NeverBegan) and lease.is_warm:
                raise StaleConnection from None
            if isinstance(failure, Exception):
                raise classify(failure) from None
            raise

    async def _create(self, request: Request, lease: LaneLease, deadlines: Deadlines) -> Draft:
        """Send the create; the first draft of its answer."""
        while True:
            encode = partial(self._encode, request, lease)
            frame = await aside(encode, values=request.weight())
            lease.lane.start()
            lease.is_used = True
            with deadlines:
                await lease.connection.send(frame)
            try:
                return await self._receive(lease, deadlines, has_begun=False)
            except UpstreamError as failure:
                if not lease.previous_id or failure.code != FORGOTTEN:
                    raise
            parent = request.chain.parent
            self._pool.forget(parent.id if parent else "")
            lease.previous_id = ""

    def _encode(self, request: Request, lease: LaneLease) -> bytes:
        """The create: with the parent's id and the new items, or with all of the history."""
        target, native = request.target, Dialect.NATIVE
        chain = replace(request.chain, parent=None) if lease.previous_id else request.chain
        items = replace(request, chain=chain).input()
        reasons = self._supports_reasoning(target.model)
        frame: Json = {
            **fit_options(request.options, native, supports_reasoning=reasons),
            "type": "response.create",
            "model": target.model.partition("/")[2],
            "input": fit_input(items, native),
            "store": request.store,
        }
        if lease.previous_id:
            frame["previous_response_id"] = lease.previous_id
        if lease.lane.name is not None:
            frame["stream_id"] = lease.lane.name
        return orjson.dumps(frame)

    async def _receive(self, lease: LaneLease, deadlines: Deadlines, *, has_begun: bool) -> Draft:
        """The next draft. Raises ``UpstreamError``."""
        while True:
            if lease.lane.has_frame():
                frame = await lease.lane.receive()
            else:
                with deadlines:
                    frame = await lease.lane.receive()
            deadlines.record_activity()
            if frame is None:
                raise UpstreamError(LOST) if has_begun else NeverBegan(LOST)
            if frame.type == ERROR:
                raise _answer_error(frame.fields, has_begun=has_begun)
            if frame.type.startswith("response."):  # all others are about the connection
                return frame.draft

    async def _end(self, request: Request, lease: LaneLease, draft: Draft) -> None:
        """Release the lane before the last draft is yielded: the next turn may come at once."""
        response = draft.fields.get("response")
        provider_id = response.get("id") if isinstance(response, dict) else None
        if draft.type == FAILED or not isinstance(provider_id, str):
            await self._pool.release(lease)
        else:
            self._pool.complete(lease, request.response_id, provider_id)


class StaleConnection(Exception):
    """A kept connection had been lost without a sign of it."""


def _answer_error(fields: Json, *, has_begun: bool) -> UpstreamError:
    """The error of an error frame; a connection that is too old is a lost one."""
    error = parse_error(fields)
    if error.code == TOO_OLD:
        return UpstreamError(LOST) if has_begun else NeverBegan(LOST)
    return error


def _log_failure(request: Request, failure: UpstreamError) -> None:
    """Log one line: the failure's kind, and no content."""
    log.info(
        "provider_failed model=%s kind=%s status=%d code=%s",
        request.target.model,
        type(failure).__name__,
        failure.status,
        failure.code,
    )
