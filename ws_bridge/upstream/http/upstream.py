"""Providers asked in a dialect of the bridge, over its own HTTP client: an `Upstream`.

Rule 1: what the dialect cannot say is an error of the request, raised before a byte goes out: there
is no other attempt, and the provider is not blamed.
Rule 2: a request is sent again only while its answer has said nothing, and never because the
provider was slow: that time is gone.
Rule 3: a provider that pauses is asked to go on within the same answer: same target, same limits.
Rule 4: however an answer ends, its connection is closed, or free for the next request.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TypeVar, cast

import orjson

from ws_bridge.clock import Clock
from ws_bridge.errors import UpstreamError
from ws_bridge.pacing import Pacer, aside
from ws_bridge.protocol.events import Draft
from ws_bridge.types import Json
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
from ws_bridge.upstream.errors import REDIRECTED, classify, truncated
from ws_bridge.upstream.http.base import Access, Continuation, FindAccess
from ws_bridge.upstream.http.client import HttpAnswer, HttpClient
from ws_bridge.upstream.provider_errors import error_of
from ws_bridge.upstream.retry import Jitter, next_pause

T = TypeVar("T")

log = logging.getLogger(__name__)

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
        clock: Clock = Clock(),  # noqa: B008 - frozen
        jitter: Jitter = random.random,
    ) -> None:
        self._client = client
        self._families = families
        self._family_of = family_of
        self._access = access
        self._facts = facts
        self._keys = keys
        self._clock = clock
        self._jitter = jitter
        self._pacer = Pacer()  # writing a request takes up to milliseconds

    async def open(self, request: Request) -> Answer:
        """See ``Upstream``."""
        deadlines = Deadlines(request.target.timeout_seconds, request.target.stall_seconds)
        try:
            await self._pacer.wait_turn()
            prepared = await self._prepared_within(deadlines, request)
            return await self._asked(request.target, prepared, deadlines)
        except BaseException:
            deadlines.cancel()
            raise

    async def _prepared_within(self, deadlines: Deadlines, request: Request) -> WrittenRequest:
        try:
            return await _within(deadlines, self._prepared(request))
        except UpstreamError as failure:
            if failure.status >= HTTPStatus.INTERNAL_SERVER_ERROR:  # else it is the client's
                _log_failure(request.target, failure)
            raise

    async def _prepared(self, request: Request) -> WrittenRequest:
        """All that is sent, and what reads the answer. Raises ``UpstreamError``."""
        family = self._families[self._family_of(request.target)]
        access = await self._access(request.target)
        facts = self._facts(request.target)
        written, body = await aside(
            partial(_written, family, request, facts, self._keys),
            values=request.weight(),
            size=request.chain.weight(),
        )
        seals = MakerSeals(request.target.maker, self._keys)
        known = (written.tools, seals, facts.provider, request.options)
        given = ReaderInput(*known, response_id=request.response_id)
        return WrittenRequest(access, written, body, partial(family.reader, given))

    async def _asked(
        self, target: Target, prepared: WrittenRequest, deadlines: Deadlines
    ) -> Answer:
        """The answer, after as many attempts as are allowed."""
        attempt = 0
        while True:
            deadlines.record_activity()
            call = DialectCall(self._client, prepared, target.most_bytes)
            try:
                first = await _first(call, deadlines)
                return DialectAnswer(target, first, call, deadlines)
            except UpstreamError as failure:
                _log_failure(target, failure)
                pause = next_pause(
                    failure,
                    attempt,
                    allowed=target.retries,
                    remaining=deadlines.remaining(),
                    jitter=self._jitter,
                )
                if pause is None:
                    raise
            await self._clock.sleep(pause)
            await self._pacer.wait_turn()
            attempt += 1


class DialectCall:
    """One request and the drafts of its answer; where the provider pauses, several in a row."""

    def __init__(self, client: HttpClient, prepared: WrittenRequest, most_bytes: int) -> None:
        self._client = client
        self._prepared = prepared
        self._reader = prepared.reader()
        self._most_bytes = most_bytes
        self._answer: HttpAnswer | None = None
        self._body = prepared.written.body
        self._continued = 0
        self._has_ended = False  # the wire

    async def start(self) -> None:
        """Send it; the answer's head is there. Raises ``UpstreamError``."""
        await self._post(self._prepared.body)

    async def read(self) -> Sequence[Draft] | None:
        """As ``Answer.read``; anything may be raised."""
        if self._reader.is_over:
            return None
        if (paused := _paused(self._reader)) is not None:
            return await self._go_on(paused)
        if pending := self._reader.feed(b""):  # raises what came with the drafts before
            return pending
        data = None if self._has_ended or self._answer is None else await self._answer.read()
        if data is not None:
            return self._reader.feed(data)
        self._has_ended = True
        drafts = self._reader.finish()
        if not drafts and not self._reader.is_over and _paused(self._reader) is None:
            raise truncated()
        return drafts

    async def close(self, *, keep: bool) -> None:
        """Close the connection; ``keep``: it is used again if its end is near."""
        answer, self._answer = self._answer, None
        if answer is not None:
            await answer.close(keep=keep)

    async def _go_on(self, paused: Continuation) -> Sequence[Draft]:
        """Ask a provider that has paused; without a turn left the answer is incomplete."""
        await self.close(keep=True)
        if self._continued == CONTINUATIONS:
            drafts = self._reader.finish()
            if not self._reader.is_over:
                raise truncated()
            return drafts
        self._continued += 1
        self._body = paused.continuation(self._body)
        body = await aside(partial(_encoded, self._body), size=len(self._prepared.body))
        await self._post(body)
        self._has_ended = False
        return ()

    async def _post(self, body: bytes) -> None:
        access, own = self._prepared.access, self._prepared.written.headers
        headers = await access.headers({**BODY_HEADERS, **own}, body)
        answer = await self._client.post(access.url, headers, body, self._most_bytes)
        self._answer = answer
        if answer.status < HTTPStatus.MULTIPLE_CHOICES:
            return
        if answer.status < HTTPStatus.BAD_REQUEST:
            raise UpstreamError(REDIRECTED)
        raise error_of(answer.status, _readable(await answer.read_error()), answer.headers)


class DialectAnswer(Answer):
    """The answer of a provider that is asked in a dialect."""

    def __init__(
        self, target: Target, first: Sequence[Draft], call: DialectCall, deadlines: Deadlines
    ) -> None:
        super().__init__(target, first)
        self._call = call
        self._deadlines = deadlines

    async def read(self) -> Sequence[Draft] | None:
        """See ``Answer``."""
        try:
            drafts = await _within(self._deadlines, self._call.read())
        except UpstreamError as failure:
            _log_failure(self.target, failure)
            raise
        if drafts:
            self._deadlines.record_activity()
        return drafts

    async def _release(self, *, is_complete: bool, keep_running: bool) -> None:  # noqa: ARG002
        self._deadlines.cancel()
        await self._call.close(keep=is_complete)


async def _first(call: DialectCall, deadlines: Deadlines) -> Sequence[Draft]:
    """The drafts that come first. Raises ``UpstreamError``, and then nothing is left open."""
    try:
        await _within(deadlines, call.start())
        while not (drafts := await _within(deadlines, call.read())):
            if drafts is None:
                raise truncated()  # noqa: TRY301 - closes like any other failure
    except BaseException:
        await call.close(keep=False)
        raise
    return drafts


async def _within(deadlines: Deadlines, work: Awaitable[T]) -> T:
    """What the work returns within the limits. Raises ``UpstreamError``, and nothing else."""
    try:
        with deadlines:
            return await work
    except UpstreamError:
        raise
    except Exception as failure:
        raise classify(failure) from failure


def _paused(reader: StreamReader) -> Continuation | None:
    """The reader, if its provider has paused."""
    has_paused = getattr(reader, "paused", None) is not None
    return cast("Continuation", reader) if has_paused else None


def _written(
    family: Family, request: Request, facts: ModelFacts, keys: Keys
) -> tuple[ProviderRequest, bytes]:
    written = write_request(family.write, request, facts, keys)
    return written, _encoded(written.body)


def _encoded(body: Json) -> bytes:
    try:
        return orjson.dumps(body)
    except (TypeError, ValueError):  # orjson's own error is a TypeError
        raise UpstreamError(UNWRITABLE, status=400) from None


def _readable(body: bytes) -> object:
    """JSON, or text that is none."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode(errors="replace")


def _log_failure(target: Target, failure: UpstreamError) -> None:
    """The log gets the failure's kind, and no content."""
    log.info(
        "provider_failed model=%s kind=%s status=%d code=%s",
        target.model,
        type(failure.__cause__ or failure).__name__,
        failure.status,
        failure.code,
    )
