"""Every provider that litellm reaches, as one `Upstream`.

Rule 1: what a client may not choose (address, key, headers, retries) is not in the call at all.
Rule 2: a request is sent again only while nothing of its answer has been yielded, and never because
the provider was slow: that time is gone.
Rule 3: however `respond` ends, the provider's connection is closed.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from functools import partial

from ws_bridge.clock import Clock
from ws_bridge.errors import UpstreamError
from ws_bridge.pacing import HEAVY, HEAVY_BYTES, Pacer, aside, counted
from ws_bridge.protocol.events import TERMINAL, Draft
from ws_bridge.upstream.base import Request
from ws_bridge.upstream.deadlines import Deadlines
from ws_bridge.upstream.dialects.request_adapter import Dialect, fit_input, fit_options
from ws_bridge.upstream.errors import classify, truncated
from ws_bridge.upstream.litellm import client, models
from ws_bridge.upstream.litellm.call import Call
from ws_bridge.upstream.litellm.direct import source_of
from ws_bridge.upstream.litellm.sources import Source
from ws_bridge.upstream.litellm.tap import catching
from ws_bridge.upstream.retry import Jitter, next_pause

log = logging.getLogger(__name__)

DRAIN_SECONDS = 0.25


class LitellmUpstream:
    """An ``Upstream``. ``clock.sleep`` and ``jitter`` make the pauses between attempts."""

    def __init__(
        self,
        *,
        clock: Clock = Clock(),  # noqa: B008 - frozen
        jitter: Jitter = random.random,
    ) -> None:
        self._clock = clock
        self._jitter = jitter
        self._pacer = Pacer()  # litellm takes milliseconds to open a call

    async def respond(self, request: Request) -> AsyncGenerator[Draft, None]:
        """See ``Upstream``."""
        deadlines = Deadlines(request.target.timeout_seconds, request.target.stall_seconds)
        source: Source | None = None
        drafts: Sequence[Draft] | None
        try:
            source, drafts = await self._begin(request, deadlines)
            while drafts is not None:
                for draft in drafts:
                    yield draft
                if drafts and drafts[-1].type in TERMINAL:
                    await _drain(source)
                    return
                if drafts:
                    deadlines.record_activity()
                drafts = await _read(request, source, deadlines)
            raise truncated()
        finally:
            deadlines.cancel()
            if source is not None:
                await source.close()

    async def count_tokens(self, request: Request) -> int:
        """See ``Upstream``."""
        try:
            # Of many items it is enough to know that.
            size = HEAVY_BYTES if request.weight() >= HEAVY else request.chain.weight()
            return await counted(partial(_count_tokens, request), size=size)
        except Exception as failure:  # noqa: BLE001 - the seam raises one kind of error
            raise _as_upstream_error(request, failure) from None

    async def _begin(
        self, request: Request, deadlines: Deadlines
    ) -> tuple[Source, Sequence[Draft]]:
        """The answer and its first drafts, after as many attempts as are allowed."""
        attempt = 0
        while True:
            await self._pacer.wait_turn()
            deadlines.record_activity()
            try:
                return await _attempt(request, deadlines)
            except UpstreamError as failure:
                pause = next_pause(
                    failure,
                    attempt,
                    allowed=request.target.retries,
                    remaining=deadlines.remaining(),
                    jitter=self._jitter,
                )
                if pause is None:
                    raise
            await self._clock.sleep(pause)
            attempt += 1


def _count_tokens(request: Request) -> int:
    # In the dialect that refuses no item: every request can be counted.
    items = fit_input(request.input(), Dialect.ANTHROPIC)
    return client.count_tokens(request.target.model, items, request.options)


def call_of(request: Request) -> Call:
    """The request in its dialect. Raises ``UpstreamError`` for what the dialect cannot express."""
    target = request.target
    dialect = models.dialect_of(target.model)
    options = fit_options(
        request.options, dialect, supports_reasoning=models.supports_reasoning(target.model)
    )
    items = fit_input(request.input(), dialect)
    return Call(
        target,
        dialect,
        items,
        options,
        background=request.background,
        background_options=request.background_options,
    )


async def _attempt(request: Request, deadlines: Deadlines) -> tuple[Source, Sequence[Draft]]:
    source = None
    try:
        # Some of litellm's streams call their provider only when they are read.
        with deadlines, catching(request.target.most_bytes):
            call = await aside(partial(call_of, request), values=request.weight())
            opened, tap = await client.open_stream(call)
            tools, report_cost = custom_tools(request), request.target.report_cost
            source = source_of(opened, tap, tools, report_cost=report_cost)
            while not (drafts := await source.read()):
                if drafts is None:
                    raise truncated()  # noqa: TRY301 - classified like any other
    except BaseException as failure:
        if source is not None:  # a cancelled caller leaves no connection behind either
            await source.close()
        if not isinstance(failure, Exception):
            raise
        raise _as_upstream_error(request, failure) from None
    return source, drafts


async def _read(request: Request, source: Source, deadlines: Deadlines) -> Sequence[Draft] | None:
    try:
        with deadlines:
            return await source.read()
    except Exception as failure:  # noqa: BLE001 - the seam raises one kind of error
        raise _as_upstream_error(request, failure) from None


async def _drain(source: Source) -> None:
    """Read to the stream's end, if it is near: a connection read to its end is used again."""
    with suppress(Exception):  # the answer is complete: an error changes nothing
        async with asyncio.timeout(DRAIN_SECONDS):
            while await source.read() is not None:
                pass


def custom_tools(request: Request) -> frozenset[str]:
    """The names of tools whose input is free text."""
    tools = request.options.get("tools") or ()
    return frozenset(str(tool.get("name")) for tool in tools if tool.get("type") == "custom")


def _as_upstream_error(request: Request, failure: Exception) -> UpstreamError:
    """The error of the seam; the log gets its kind, and no content."""
    error = classify(failure)
    log.info(
        "provider_failed model=%s kind=%s status=%d code=%s",
        request.target.model,
        type(failure).__name__,
        error.status,
        error.code,
    )
    return error
