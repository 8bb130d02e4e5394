"""Providers asked in a dialect of the bridge, over its own HTTP client: an `Upstream`.

Rule 1: what the dialect cannot say is an error of the request, raised before a byte goes out: there
is no other attempt, and the provider is not blamed.
Rule 2: a request is sent again only while its answer has said nothing, and never because the
provider was slow: that time is gone.
Rule 3: a provider that pauses is asked to go on within the same answer: same target, same limits.
Rule 4: however an answer ends, its connection is closed, or free for the next request.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import cast

import orjson

from ws_bridge.clock import Clock
from ws_bridge.errors import InvalidRequest, UpstreamError
from ws_bridge.pacing import HEAVY_BYTES, Pacer, aside
from ws_bridge.protocol.events import Draft
from ws_bridge.tracing import Traces
from ws_bridge.types import Json
from ws_bridge.upstream.attempts import traced
from ws_bridge.upstream.base import Answer, Request, Target
from ws_bridge.upstream.deadlines import Deadlines
from ws_bridge.upstream.dialects.base import (
    Family,
    ProviderRequest,
    ReaderInput,
    StreamReader,
)
from ws_bridge.upstream.dialects.seals import Keys, MakerSeals
from ws_bridge.upstream.dialects.writing import ModelFacts, write_request
from ws_bridge.upstream.errors import (
    REDIRECTED,
    RequestRefused,
    as_upstream_error,
    truncated,
)
from ws_bridge.upstream.http.base import Access, Continuation, FindAccess
from ws_bridge.upstream.http.client import HttpAnswer, HttpClient
from ws_bridge.upstream.provider_errors import error_of
from ws_bridge.upstream.retry import Jitter, next_pause

CONTINUATIONS = 8  # of one answer whose provider pauses
UNWRITABLE = "The request has text or numbers that JSON cannot hold."
BODY_HEADERS = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class WrittenRequest:
    """A request that was written, the way to its target, and a maker of readers for its answer."""

    access: Access
    written: ProviderRequest
    body: bytes
    reader: Callable[[], StreamReader]


class DialectUpstream:
    """An ``Upstream``. Everything about providers is given to it.

    ``families``: the dialects by name; ``family_of``: the name of a target's. ``clock.sleep`` and
    ``jitter`` make the pauses between attempts.
    """

    def __init__(
        self,
        *,
        client: HttpClient,
        families: Mapping[str, Family],
        family_of: Callable[[Target], str],
        access: FindAccess,
        facts: Callable[[Target], ModelFacts],
        keys: Keys = tuple,
        traces: Traces | None = None,
        clock: Clock = Clock(),  # noqa: B008 - frozen
        jitter: Jitter = random.random,
    ) -> None:
        self._client = client
        self._families = families
        self._family_of = family_of
        self._access = access
        self._facts = facts
        self._keys = keys
        self._try = traced(DialectAnswer.opened, traces, "http")
        self._clock = clock
        self._jitter = jitter
        self._pacer = Pacer()  # writing a request takes up to milliseconds

    async def open(self, request: Request) -> Answer:
        """See ``Upstream``."""
        deadlines = Deadlines(request.target.timeout_seconds, request.target.stall_seconds)
        try:
            await self._pacer.wait_turn()
            prepared = await self._prepared_within(deadlines, request)
            return await self._asked(request, prepared, deadlines)
        except BaseException:
            deadlines.cancel()
            raise

    async def _prepared_within(self, deadlines: Deadlines, request: Request) -> WrittenRequest:
        try:
            with deadlines:
                return await self._prepared(request)
        except Exception as failure:  # noqa: BLE001 - the seam raises one kind of error
            raise as_upstream_error(failure, request.target.model) from None

    async def _prepared(self, request: Request) -> WrittenRequest:
        """All that is sent, and what reads the answer. Raises ``UpstreamError``."""
        family = self._families[self._family_of(request.target)]
        access = await self._access(request.target)
        facts, now = self._facts(request.target), self._clock.wall()
        written, body = await aside(
            partial(_written, family, request, facts, self._keys, now),
            values=request.weight(),
            size=request.chain.weight(HEAVY_BYTES),
        )
        seals = MakerSeals(request.target.maker, self._keys)
        known = (written.tools, seals, facts.provider, request.options)
        given = ReaderInput(*known, response_id=request.response_id, now=now)
        return WrittenRequest(access, written, body, partial(family.reader, given))

    async def _asked(
        self, request: Request, prepared: WrittenRequest, deadlines: Deadlines
    ) -> Answer:
        """The answer, after as many attempts as are allowed."""
        attempt = 0
        while True:
            deadlines.record_activity()
            try:
                return await self._try(request, self._client, prepared, deadlines)
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
            await self._pacer.wait_turn()
            attempt += 1


class DialectAnswer(Answer):
    """The answer of a provider that is asked in a dialect; several in a row where it pauses."""

    def __init__(
        self, request: Request, client: HttpClient, prepared: WrittenRequest, deadlines: Deadlines
    ) -> None:
        super().__init__(request.target)
        self._client = client
        self._prepared = prepared
        self._deadlines = deadlines
        self._reader = prepared.reader()
        self._http_answer: HttpAnswer | None = None  # None: it has ended
        self._body = prepared.written.body
        self._continued = 0
        self._most_bytes = request.target.most_bytes  # that the present request may bring
        self._trace = request.trace_headers() if request.trace is not None else {}

    @classmethod
    async def opened(
        cls, request: Request, client: HttpClient, prepared: WrittenRequest, deadlines: Deadlines
    ) -> Answer:
        """The answer to the request, which is sent; ``first`` has what comes first.

        Raises ``UpstreamError``, and then nothing is left open.
        """
        answer = cls(request, client, prepared, deadlines)
        try:
            await answer._begin()
            while not (drafts := await answer.read()):
                if drafts is None:
                    raise truncated()  # noqa: TRY301 - closes like any other failure
        except BaseException:
            await answer._close_http_answer(keep=False)
            raise
        answer.first = drafts
        return answer

    async def _begin(self) -> None:
        try:
            await self._post(self._prepared.body)
        except BaseException as error:  # noqa: BLE001 - raised as what it is
            raise self._failure_of(error)  # noqa: B904 - it has its cause

    async def read(self) -> Sequence[Draft] | None:
        """See ``Answer``."""
        reader, answer, deadlines = self._reader, self._http_answer, self._deadlines
        if reader.is_over:
            return None
        try:
            if reader.paused is not None:
                return await self._go_on()
            if reader.failure is not None:
                reader.finish()  # raises it
            if answer is None:
                return self._last_drafts()
            deadlines.waiting = asyncio.current_task()
            data = await answer.read()
            deadlines.waiting = None
            drafts = reader.feed(data) if data is not None else self._last_drafts()
        except BaseException as error:  # noqa: BLE001 - raised as what it is
            raise self._failure_of(error)  # noqa: B904 - it has its cause
        if drafts:
            deadlines.since = deadlines.now()
        return drafts

    def _last_drafts(self) -> Sequence[Draft]:
        """The last drafts: of the answer, or before a pause."""
        drafts = self._reader.finish()
        if not drafts and not self._reader.is_over and self._reader.paused is None:
            raise truncated()
        return drafts

    async def _go_on(self) -> Sequence[Draft]:
        """Ask a provider that has paused; without a turn left the answer is incomplete."""
        await self._close_http_answer(keep=True)
        if self._continued == CONTINUATIONS:
            drafts = self._reader.finish()
            if not self._reader.is_over:
                raise truncated()
            return drafts
        self._continued += 1
        self._body = cast("Continuation", self._reader).continuation(self._body)
        body = await aside(partial(_encoded, self._body), size=len(self._prepared.body))
        await self._post(body)
        return ()

    async def _post(self, body: bytes) -> None:
        """Send a request; the head of its answer is there. Raises ``UpstreamError``."""
        access, own = self._prepared.access, self._prepared.written.headers
        with self._deadlines:
            headers = await access.headers({**BODY_HEADERS, **own, **self._trace}, body)
            answer = await self._client.post(access.url, headers, body, self._most_bytes)
            self._http_answer = answer
            if answer.status < HTTPStatus.MULTIPLE_CHOICES:
                return
            if answer.status < HTTPStatus.BAD_REQUEST:
                raise UpstreamError(REDIRECTED)
            raise error_of(answer.status, _readable(await answer.read_error()), answer.headers)

    def _failure_of(self, error: BaseException) -> BaseException:
        """The error that the seam has for it; the log gets its kind. A cancellation stays one.

        It is returned and not raised here: a frame of its traceback that named it were a ring.
        """
        cause = self._deadlines.cause_of(error)
        if not isinstance(cause, Exception):
            return cause
        return as_upstream_error(cause, self.target.model)

    async def _close_http_answer(self, *, keep: bool) -> None:
        """Close the connection; ``keep``: it is used again if its end is near."""
        answer, self._http_answer = self._http_answer, None
        if answer is not None:
            await answer.close(keep=keep)
            self._most_bytes = max(answer.left, 0)  # all continuations share one bound

    async def _release(self, *, is_complete: bool, keep_running: bool) -> None:  # noqa: ARG002
        self._deadlines.cancel()
        await self._close_http_answer(keep=is_complete)


def _written(
    family: Family, request: Request, facts: ModelFacts, keys: Keys, now: float
) -> tuple[ProviderRequest, bytes]:
    written = write_request(family.write, request, facts, keys, now)
    return written, _encoded(written.body)


def _encoded(body: Json) -> bytes:
    try:
        return orjson.dumps(body)
    except (TypeError, ValueError):  # orjson's own error is a TypeError
        raise RequestRefused(InvalidRequest(UNWRITABLE)) from None


def _readable(body: bytes) -> object:
    """JSON, or text that is none."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode(errors="replace")
