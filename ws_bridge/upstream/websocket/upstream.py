"""A provider's own `/v1/responses` WebSocket as an `Upstream`: one create, its events as they come.

Rule 1: drafts carry the provider's own bytes; only ids, numbers and lanes become the bridge's.
Rule 2: where the provider remembers the parent, only what is new is sent; else all of the history,
and nobody hears that there was a difference.
Rule 3: a request is sent again only while nothing of its answer has been yielded.
Rule 4: there is no cancel in the protocol: a response nobody wants loses its connection, or, where
others share that, its events are dropped until it ends.
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
from ws_bridge.upstream.errors import LOST, classify
from ws_bridge.upstream.litellm.size_limits import TOO_LARGE, TooLarge
from ws_bridge.upstream.websocket.connection import ERROR, ProviderAddress
from ws_bridge.upstream.websocket.errors import NeverBegan, is_worth_repeating, spoken
from ws_bridge.upstream.websocket.pool import ConnectionPool, LaneLease

log = logging.getLogger(__name__)

Jitter = Callable[[], float]  # uniform in [0, 1)
Reasons = Callable[[str], bool | None]

FIRST_PAUSE = 0.5  # seconds, doubled each time
LONGEST_PAUSE = 8.0
MAX_RETRY_WAIT = 10.0  # a provider that asks for more is told of at once
FORGOTTEN = "previous_response_not_found"
TOO_OLD = "websocket_connection_limit_reached"


class WebSocketUpstream:
    """An ``Upstream`` with a life. ``counter`` counts tokens; ``reasons``: whether a model does.

    It works without ``open`` too; then idle connections are closed at the next turn only.
    """

    def __init__(
        self,
        counter: Upstream,
        *,
        reasons: Reasons = lambda _: None,
        clock: Clock = Clock(),  # noqa: B008 - frozen
        jitter: Jitter = random.random,
    ) -> None:
        self._counter = counter
        self._reasons = reasons
        self._clock = clock
        self._jitter = jitter
        self._pool = ConnectionPool(clock)
        self._keeper: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to look after idle connections."""
        self._keeper = asyncio.create_task(self._pool.keep(), name="native")

    async def close(self) -> None:
        """Close every connection; nothing is asked of it afterwards."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        await self._pool.close()

    async def respond(self, request: Request) -> AsyncGenerator[Draft, None]:
        """See ``Upstream``."""
        watch = Deadlines(request.target.timeout_seconds, request.target.stall_seconds)
        seat = None
        try:
            seat, draft = await self._begin(request, ProviderAddress.of(request.target), watch)
            while draft.type not in TERMINAL:
                yield draft
                draft = await self._next(seat, watch, has_begun=True)
                if seat.lane.bytes > request.target.most_bytes:
                    raise TooLarge(TOO_LARGE)
            await self._end(request, seat, draft)
            yield draft
        except UpstreamError as failure:
            _note(request, failure)
            raise
        finally:
            watch.stop()
            if seat is not None:
                await self._pool.leave(seat)

    async def count_tokens(self, request: Request) -> int:
        """See ``Upstream``."""
        return await self._counter.count_tokens(request)

    async def _begin(
        self, request: Request, address: ProviderAddress, watch: Deadlines
    ) -> tuple[LaneLease, Draft]:
        """A place and the first draft, after as many attempts as are allowed."""
        attempt, anew = 0, False
        while True:
            try:
                return await self._attempt(request, address, watch, anew=anew)
            except StaleConnection:
                anew = True  # nobody could know: that was no attempt
                continue
            except UpstreamError as failure:
                pause = self._pause(request, failure, attempt)
                if pause is None or pause >= watch.left():
                    raise
            await self._clock.sleep(pause)
            watch.fed()
            attempt += 1

    def _pause(self, request: Request, failure: UpstreamError, attempt: int) -> float | None:
        """Seconds to the next attempt (full jitter, or what the provider asks); None: give up."""
        target = request.target
        allowed = target.ws_reconnects if isinstance(failure, NeverBegan) else target.retries
        if attempt >= allowed or not is_worth_repeating(failure):
            return None
        asked = failure.retry_after
        if asked is not None:
            return asked if asked <= MAX_RETRY_WAIT else None
        return self._jitter() * min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**attempt)

    async def _attempt(
        self, request: Request, address: ProviderAddress, watch: Deadlines, *, anew: bool
    ) -> tuple[LaneLease, Draft]:
        parent = request.chain.parent
        seat = self._pool.seat(address, parent.id if parent else "", anew=anew)
        try:
            with watch:
                await seat.wire.ready()
            watch.fed()
            return seat, await self._asked(request, seat, watch)
        except BaseException as failure:  # a cancelled caller leaves nothing running either
            await self._pool.leave(seat)
            if isinstance(failure, NeverBegan) and seat.is_warm:
                raise StaleConnection from None
            if isinstance(failure, Exception):
                raise classify(failure) from None
            raise

    async def _asked(self, request: Request, seat: LaneLease, watch: Deadlines) -> Draft:
        """Send the create; the first draft of its answer."""
        while True:
            create = partial(self._create, request, seat)
            frame = await aside(create, values=request.weight())
            seat.lane.begin()
            seat.is_used = True
            with watch:
                await seat.wire.send(frame)
            try:
                return await self._next(seat, watch, has_begun=False)
            except UpstreamError as failure:
                if not seat.previous or failure.code != FORGOTTEN:
                    raise
            parent = request.chain.parent
            self._pool.forget(parent.id if parent else "")
            seat.previous = ""

    def _create(self, request: Request, seat: LaneLease) -> bytes:
        """The frame: with the parent's id and what is new, or with all of the history."""
        target, native = request.target, Dialect.NATIVE
        chain = replace(request.chain, parent=None) if seat.previous else request.chain
        items = replace(request, chain=chain).input()
        frame: Json = {
            **fit_options(request.options, native, reasons=self._reasons(target.model)),
            "type": "response.create",
            "model": target.model.partition("/")[2],
            "input": fit_input(items, native),
            "store": request.store,
        }
        if seat.previous:
            frame["previous_response_id"] = seat.previous
        if seat.lane.name is not None:
            frame["stream_id"] = seat.lane.name
        return orjson.dumps(frame)

    async def _next(self, seat: LaneLease, watch: Deadlines, *, has_begun: bool) -> Draft:
        """The next draft. Raises ``UpstreamError``."""
        while True:
            if seat.lane.heard():
                frame = await seat.lane.next()
            else:
                with watch:
                    frame = await seat.lane.next()
            watch.fed()
            if frame is None:
                raise UpstreamError(LOST) if has_begun else NeverBegan(LOST)
            if frame.type == ERROR:
                raise _told(spoken(frame.fields), has_begun=has_begun)
            if frame.type.startswith("response."):  # all else is for the connection's own ends
                return frame.draft

    async def _end(self, request: Request, seat: LaneLease, draft: Draft) -> None:
        """Before the last draft is told: whoever hears it may go on from it at once."""
        response = draft.fields.get("response")
        provider_id = response.get("id") if isinstance(response, dict) else None
        if draft.type == FAILED or not isinstance(provider_id, str):
            await self._pool.leave(seat)
        else:
            self._pool.finish(seat, request.response_id, provider_id)


class StaleConnection(Exception):
    """A connection that was kept open had been lost, and nobody knew."""


def _told(error: UpstreamError, *, has_begun: bool) -> UpstreamError:
    """The provider's error as the seam's: a connection that is too old is a lost one."""
    if error.code == TOO_OLD:
        return UpstreamError(LOST) if has_begun else NeverBegan(LOST)
    return error


def _note(request: Request, failure: UpstreamError) -> None:
    """A line in the log: the failure's kind, and no content."""
    log.info(
        "provider failed model=%s kind=%s status=%d code=%s",
        request.target.model,
        type(failure).__name__,
        failure.status,
        failure.code,
    )
