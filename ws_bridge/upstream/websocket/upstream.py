"""A provider's own `/v1/responses` WebSocket as an `Upstream`: one create, its events as they come.

Rule 1: drafts carry the provider's own bytes; only ids, numbers and lanes become the bridge's.
Rule 2: where the provider remembers the parent, only the new items are sent; else all of the
history. Clients see no difference.
Rule 3: a request is sent again only while its answer is being opened.
Rule 4: the protocol has no cancel. A response that is not wanted any more loses its connection; if
other responses share that, its events are dropped until it ends.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

import orjson

from ws_bridge.clock import Clock
from ws_bridge.errors import UpstreamError
from ws_bridge.pacing import HEAVY_BYTES, aside
from ws_bridge.protocol.events import FAILED, TERMINAL, Draft
from ws_bridge.protocol.output.builder import mint_id
from ws_bridge.protocol.references import minting
from ws_bridge.tracing import Traces
from ws_bridge.upstream.attempts import traced
from ws_bridge.upstream.base import Answer, Request, Target
from ws_bridge.upstream.deadlines import Deadlines
from ws_bridge.upstream.dialects.responses.normaliser import Normaliser
from ws_bridge.upstream.dialects.responses.request import write_frame
from ws_bridge.upstream.dialects.writing import ModelFacts, write_request
from ws_bridge.upstream.errors import (
    LOST,
    TOO_LARGE,
    NeverBegan,
    TooLarge,
    as_upstream_error,
    classify,
)
from ws_bridge.upstream.retry import Jitter, next_pause
from ws_bridge.upstream.websocket.connection import ERROR, ProviderAddress, ProviderFrame
from ws_bridge.upstream.websocket.errors import parse_error
from ws_bridge.upstream.websocket.pool import ConnectionPool, LaneLease

FindFacts = Callable[[Target], ModelFacts]

# The provider's codes.
FORGOTTEN = "previous_response_not_found"
TOO_OLD = "websocket_connection_limit_reached"


def named(target: Target) -> ModelFacts:
    """The facts that a target's name tells."""
    provider, _, name = target.model.partition("/")
    return ModelFacts(name, provider)


class WebSocketUpstream:
    """An ``Upstream``. ``facts`` knows the models.

    It works without ``start`` too; then idle connections are closed at the next turn only.
    """

    def __init__(
        self,
        *,
        facts: FindFacts = named,
        clock: Clock = Clock(),  # noqa: B008 - frozen
        jitter: Jitter = random.random,
        traces: Traces | None = None,
    ) -> None:
        self._facts = facts
        self._try = traced(self._attempt, traces, "websocket")
        self._clock = clock
        self._jitter = jitter
        self._pool = ConnectionPool(clock)
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start to close idle connections in time."""
        self._sweeper = asyncio.create_task(self._pool.sweep_periodically(), name="native")

    async def stop(self) -> None:
        """Close every connection; ``open`` must not be called afterwards."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        await self._pool.close()

    def keep_only(self, targets: Iterable[Target]) -> None:
        """Retire the connections that none of the targets would use."""
        addresses: set[ProviderAddress] = set()
        for target in targets:
            with suppress(NeverBegan):  # it has no socket
                addresses.add(ProviderAddress.of(target))
        self._pool.retire_others(addresses)

    async def open(self, request: Request) -> Answer:
        """See ``Upstream``: the answer of the first attempt that goes well."""
        try:
            return await self._attempts(request, ProviderAddress.of(request.target))
        except UpstreamError as failure:
            raise as_upstream_error(failure, request.target.model) from None

    async def _attempts(self, request: Request, address: ProviderAddress) -> Answer:
        target = request.target
        deadlines = Deadlines(target.timeout_seconds, target.stall_seconds)
        attempt, fresh = 0, False
        while True:
            try:
                return await self._try(request, address, deadlines, fresh=fresh)
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
    ) -> Answer:
        parent = request.chain.parent
        lease = self._pool.acquire(address, parent.id if parent else "", fresh=fresh)
        answer = LaneAnswer(request, lease, self._pool, deadlines)
        try:
            with deadlines:
                await lease.connection.wait_until_open()
            deadlines.record_activity()
            answer.first = await self._create(request, lease, answer, deadlines)
        except BaseException as failure:  # a cancelled caller leaves nothing running either
            await answer.close()
            if isinstance(failure, NeverBegan) and lease.is_warm:
                raise StaleConnection from None
            if isinstance(failure, Exception):
                raise classify(failure) from None
            raise
        return answer

    async def _create(
        self, request: Request, lease: LaneLease, answer: LaneAnswer, deadlines: Deadlines
    ) -> Sequence[Draft]:
        """Send the create; the first drafts of its answer."""
        while True:
            encode = partial(self._encode, request, lease)
            size = request.chain.weight(HEAVY_BYTES)
            frame = await aside(encode, values=request.weight(), size=size)
            lease.lane.start()
            lease.is_used = True
            with deadlines:
                await lease.connection.send(frame)
            try:
                while not (first := await answer.receive()):
                    pass
            except UpstreamError as failure:
                if not lease.previous_id or failure.code != FORGOTTEN:
                    raise
            else:
                return first
            parent = request.chain.parent
            self._pool.forget(parent.id if parent else "")
            lease.previous_id = ""

    def _encode(self, request: Request, lease: LaneLease) -> bytes:
        """The create: with the parent's id and the new items, or with all of the history."""
        chain = replace(request.chain, parent=None) if lease.previous_id else request.chain
        write = partial(write_frame, store=request.store)
        facts = self._facts(request.target)
        written = write_request(write, replace(request, chain=chain), facts)
        frame = dict(written.body)
        if lease.previous_id:
            frame["previous_response_id"] = lease.previous_id
        if lease.lane.name is not None:
            frame["stream_id"] = lease.lane.name
        return orjson.dumps(frame)


class LaneAnswer(Answer):
    """The answer to one create on a leased lane."""

    def __init__(
        self, request: Request, lease: LaneLease, pool: ConnectionPool, deadlines: Deadlines
    ) -> None:
        super().__init__(request.target)
        self._response_id = request.response_id
        self._lease = lease
        self._pool = pool
        self._deadlines = deadlines
        self._has_begun = False
        self._is_over = False
        self._normaliser = Normaliser(minting(request.response_id, mint_id))
        self._failing: UpstreamError | None = None  # for the next read to raise

    async def read(self) -> Sequence[Draft] | None:
        """See ``Answer``: all frames that wait are one batch."""
        if self._is_over:
            return None
        try:
            return await self.receive()
        except UpstreamError as failure:
            raise as_upstream_error(failure, self.target.model) from None

    async def receive(self) -> Sequence[Draft]:
        """The drafts of all frames that wait, of one frame at least. Raises ``UpstreamError``."""
        if self._failing is not None:
            raise self._failing.without_traceback()
        lane, deadlines = self._lease.lane, self._deadlines
        deadlines.waiting = asyncio.current_task()
        try:
            frames = await lane.receive()
        except BaseException as error:  # noqa: BLE001 - raised as what it is
            raise deadlines.cause_of(error) from None
        deadlines.waiting, deadlines.since = None, deadlines.now()
        if lane.bytes > self.target.most_bytes:
            raise TooLarge(TOO_LARGE)
        drafts = self._drafts_of(frames)
        if drafts and drafts[-1].type in TERMINAL:
            self._is_over = True
            await self._end(drafts[-1])
        return drafts

    def _drafts_of(self, frames: Iterable[ProviderFrame | None]) -> list[Draft]:
        """The drafts up to the end or a failure, which the next read raises if there are any."""
        drafts: list[Draft] = []
        try:
            for frame in frames:
                if frame is None or frame.type == ERROR:
                    raise _failure_of(frame, has_begun=self._has_begun)
                if frame.type.startswith("response."):  # all others are about the connection
                    self._has_begun = True
                    drafts += self._normaliser.take(frame.draft)
                if drafts and drafts[-1].type in TERMINAL:
                    break
        except UpstreamError as failure:
            if not drafts:
                raise
            self._failing = failure.without_traceback()
        return drafts

    async def _end(self, end: Draft) -> None:
        """Release the lane before the last draft is returned: the next turn may come at once."""
        response = end.fields.get("response")
        provider_id = response.get("id") if isinstance(response, dict) else None
        if end.type == FAILED or not isinstance(provider_id, str):
            await self._pool.release(self._lease)
        else:
            self._pool.complete(self._lease, self._response_id, provider_id)

    async def _release(
        self,
        *,
        is_complete: bool,  # noqa: ARG002 - as the seam has it
        keep_running: bool,  # noqa: ARG002 - as the seam has it
    ) -> None:
        self._deadlines.cancel()
        await self._pool.release(self._lease)


class StaleConnection(Exception):
    """A kept connection had been lost without a sign of it."""


def _failure_of(frame: ProviderFrame | None, *, has_begun: bool) -> UpstreamError:
    """The error of an error frame; None, and a connection that is too old, are a lost one."""
    error = parse_error(frame.fields) if frame is not None else None
    if frame is None or error is None or error.code == TOO_OLD:
        return UpstreamError(LOST) if has_begun else NeverBegan(LOST)
    return NeverBegan(error.message) if frame.is_broken and not has_begun else error
