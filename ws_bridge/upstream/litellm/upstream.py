"""Every provider that litellm reaches, as one `Upstream`.

Rule 1: what a client may not choose (address, key, headers, retries) is not in the call at all.
Rule 2: a request is sent again only while its answer is being opened, and never because the
provider was slow: that time is gone.
Rule 3: however an answer is closed, the provider's connection is closed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from ws_bridge.clock import Clock
from ws_bridge.errors import UpstreamError
from ws_bridge.pacing import HEAVY_BYTES, Pacer, aside
from ws_bridge.protocol.events import TERMINAL, Draft
from ws_bridge.tracing import Traces
from ws_bridge.upstream.attempts import traced
from ws_bridge.upstream.base import Answer, Request, Target
from ws_bridge.upstream.deadlines import Deadlines
from ws_bridge.upstream.dialects.litellm_chunks import request as litellm_chunks
from ws_bridge.upstream.dialects.responses import request as responses
from ws_bridge.upstream.dialects.writing import write_request
from ws_bridge.upstream.errors import as_upstream_error, truncated
from ws_bridge.upstream.litellm import client, models
from ws_bridge.upstream.litellm.call import Call
from ws_bridge.upstream.litellm.sources import Source, source_of
from ws_bridge.upstream.litellm.sse_tap import catching
from ws_bridge.upstream.retry import Jitter, next_pause

DRAIN_SECONDS = 0.25


class LitellmUpstream:
    """An ``Upstream``. ``clock.sleep`` and ``jitter`` make the pauses between attempts."""

    def __init__(
        self,
        *,
        clock: Clock = Clock(),  # noqa: B008 - frozen
        jitter: Jitter = random.random,
        traces: Traces | None = None,
    ) -> None:
        self._try = traced(_attempt, traces, "http")
        self._clock = clock
        self._jitter = jitter
        self._pacer = Pacer()  # litellm takes milliseconds to open a call

    async def open(self, request: Request) -> Answer:
        """See ``Upstream``: the answer of the first attempt that goes well."""
        deadlines = Deadlines(request.target.timeout_seconds, request.target.stall_seconds)
        attempt = 0
        while True:
            await self._pacer.wait_turn()
            deadlines.record_activity()
            try:
                return await self._try(request, deadlines)
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


class LitellmAnswer(Answer):
    """The answer of one call of litellm."""

    def __init__(
        self, target: Target, first: Sequence[Draft], source: Source, deadlines: Deadlines
    ) -> None:
        super().__init__(target, first)
        self._source = source
        self._deadlines = deadlines
        self._latest = first  # what the last read has brought

    async def read(self) -> Sequence[Draft] | None:
        """See ``Answer``."""
        if _is_end(self._latest):
            return None
        if self._latest:  # comments are silence too
            self._deadlines.record_activity()
        try:
            with self._deadlines:
                drafts = await self._source.read()
        except Exception as failure:  # noqa: BLE001 - the seam raises one kind of error
            raise as_upstream_error(failure, self.target.model) from None
        if drafts is None:
            raise truncated()
        self._latest = drafts
        return drafts

    async def _release(
        self,
        *,
        is_complete: bool,
        keep_running: bool,  # noqa: ARG002 - as the seam has it
    ) -> None:
        self._deadlines.cancel()
        if is_complete:
            await _drain(self._source)
        await self._source.close()


def call_of(request: Request) -> Call:
    """The request as litellm takes it. Raises ``UpstreamError`` for what cannot be said."""
    target = request.target
    is_native = models.is_native(target.model)
    write = responses.write if is_native else litellm_chunks.write
    written = write_request(write, request, models.facts_of(target))
    headers = request.trace_headers() if request.trace is not None else {}
    background = (request.background, request.background_options)
    return Call(target, written, is_native, *background, headers)


async def _attempt(request: Request, deadlines: Deadlines) -> Answer:
    source = None
    try:
        # Some of litellm's streams call their provider only when they are read.
        with deadlines, catching(request.target.most_bytes):
            size = request.chain.weight(HEAVY_BYTES)
            call = await aside(partial(call_of, request), values=request.weight(), size=size)
            opened, tap = await client.open_stream(call)
            source = source_of(opened, tap, call.written.tools, request.response_id)
            while not (first := await source.read()):
                if first is None:
                    raise truncated()  # noqa: TRY301 - classified like any other
    except BaseException as failure:
        deadlines.cancel()
        if source is not None:  # a cancelled caller leaves no connection behind either
            await source.close()
        if not isinstance(failure, Exception):
            raise
        raise as_upstream_error(failure, request.target.model) from None
    return LitellmAnswer(request.target, first, source, deadlines)


def _is_end(drafts: Sequence[Draft]) -> bool:
    return bool(drafts) and drafts[-1].type in TERMINAL


async def _drain(source: Source) -> None:
    """Read to the stream's end, if it is near: a connection read to its end is used again."""
    with suppress(Exception):  # the answer is complete: an error changes nothing
        async with asyncio.timeout(DRAIN_SECONDS):
            while await source.read() is not None:
                pass
