"""One response being generated: its upstream is the writer, its stream has the readers.

Rule 1: a job ends with exactly one terminal event, whatever happens to it; only a failure before
`response.created` closes its stream with an error instead.
Rule 2: a reader, slow or gone, changes nothing here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

from ws_bridge.clock import Clock
from ws_bridge.errors import (
    TRUNCATED,
    BridgeError,
    ResponseTakenOver,
    ServerShutdown,
    UpstreamError,
)
from ws_bridge.jobs.cancel_scope import CancelScope
from ws_bridge.jobs.create_spans import end_create
from ws_bridge.jobs.mirror import Mirror
from ws_bridge.jobs.observe import JobFinished, Observe, finished, started
from ws_bridge.jobs.publisher import OnEnd, OnItem, Publisher
from ws_bridge.jobs.spec import EndReason, JobSpec, Reason, Timing
from ws_bridge.pacing import HEAVY_BYTES
from ws_bridge.protocol.events import COMPLETED, TERMINAL, Draft
from ws_bridge.protocol.history import Turn
from ws_bridge.protocol.output.items import DONE
from ws_bridge.protocol.response import no_usage
from ws_bridge.protocol.steering import required_outputs
from ws_bridge.protocol.tools import provider_calls
from ws_bridge.store.base import Claim
from ws_bridge.stream import Stream
from ws_bridge.tracing import Span
from ws_bridge.types import Json
from ws_bridge.upstream.base import ABANDONED, Answer, Outcome, Tried, Upstream, outcome_of
from ws_bridge.upstream.prices import PriceRow

# What a warm-up publishes; no provider is asked (docs/protocol.md §2.4).
WARM_UP = (Draft(COMPLETED, {"response": {"output": [], "usage": no_usage()}}),)


class Job:
    """A running response. ``run`` is its task's body; the registry owns the task.

    With a ``claim`` it continues what another server has begun. A ``span`` ends with it.
    """

    def __init__(
        self,
        spec: JobSpec,
        upstream: Upstream,
        *,
        mirror: Mirror | None,
        observe: Observe,
        clock: Clock,
        timing: Timing,
        on_item: OnItem | None = None,
        on_end: OnEnd | None = None,
        on_refused: Callable[[], Awaitable[None]] | None = None,
        claim: Claim | None = None,
        span: Span | None = None,
    ) -> None:
        self.id = spec.record.id
        self._upstream = upstream
        self._observe, self._clock, self._timing = observe, clock, timing
        self._scope = CancelScope(self.id)
        self._publisher = Publisher(
            spec, self._scope, mirror=mirror, on_item=on_item, on_end=on_end, clock=clock
        )
        self._on_refused = on_refused
        self._span = span
        self._tried: tuple[Tried, ...] = ()  # in order; the last one may answer
        self._opened_at: float | None = None  # when the first of an answer had come; monotonic
        self._prices: PriceRow | None = None  # of the target that answers
        self._is_steered = False
        self._began_at = clock.monotonic()
        if claim is not None:
            self._publisher.resume(claim)

    # The main path

    async def run(self) -> None:
        """Open the answer, publish each batch of it, and publish the end if there is none yet.

        Returns when the response has ended and the store knows.
        """
        self._observe(started(self.spec))
        silence = asyncio.create_task(self._break_silence())
        with self._scope as scope:
            scope.checkpoint()
            if self.spec.generate:
                await self._generate()
            else:
                await self._publish_batch(WARM_UP)
        silence.cancel()
        await asyncio.gather(silence, return_exceptions=True)
        if scope.reason is not None:
            await self._publish_end(scope.reason)
        end = self._finished()
        self._observe(end)
        if self._span is not None:
            end_create(self._span, end)

    async def _generate(self) -> None:
        """Open the answer, read it to its end or that of the response, and close it."""
        answer, outcome = await self._open(), ABANDONED
        try:
            outcome = await self._read(answer)
        except UpstreamError as error:
            outcome = Outcome(error=error.without_traceback())
            self._scope.request(error)  # before the close: no later reason cancels that
        finally:
            await answer.close(outcome, keep_running=self._is_left_running())

    async def _open(self) -> Answer:
        """The answer of the target that gives one. Raises ``UpstreamError``."""
        try:
            answer = await self._upstream.open(self.spec.request())
        except UpstreamError as error:
            self._tried = tuple(one for one in error.tried if isinstance(one, Tried))
            raise
        self._tried = tuple(answer.tried)
        self._opened_at, self._prices = self._clock.monotonic(), answer.prices
        self._publisher.set_answer(answer)
        return answer

    async def _read(self, answer: Answer) -> Outcome:
        """Publish the answer's batches; how it went. Raises ``UpstreamError``."""
        batch: Sequence[Draft] | None = answer.first
        while batch is not None:
            if await self._publish_batch(batch):
                return outcome_of(next(draft for draft in batch if draft.type in TERMINAL))
            if self._scope.reason is not None:  # a request from this task does not cancel it
                return ABANDONED
            batch = await answer.read()
        raise UpstreamError(TRUNCATED)

    async def _publish_batch(self, batch: Sequence[Draft]) -> bool:
        """Publish a batch, or the part of it up to a steer; whether the response has ended."""
        publisher, stream = self._publisher, self.stream
        parts: Iterable[Sequence[Draft]] = (batch,)
        if self._is_steered:
            parts = split_after_items(batch)
        elif stream.size > HEAVY_BYTES and len(batch) > 1:  # one event may repeat all of it
            parts = ((draft,) for draft in batch)
            await asyncio.sleep(0)  # making it was work, too
        written = stream.size
        for drafts in parts:
            if stream.size - written > HEAVY_BYTES:
                written = stream.size
                await asyncio.sleep(0)
            if not publisher.publish(drafts):
                await publisher.flush()
                if publisher.is_ended:
                    return True
            if self._is_steered and self._may_end_here():
                self._scope.request(EndReason.STEERED)
            if self._scope.reason is not None:
                break
        return False

    async def _publish_end(self, reason: Reason) -> None:
        """Publish the end that the provider did not send."""
        publisher = self._publisher
        if isinstance(reason, BridgeError):
            if not self.stream.events:
                await self.refuse(reason)
            else:
                await publisher.fail(reason)
        elif reason is EndReason.CANCELLED:
            await publisher.cancel()
        elif reason is EndReason.INTERRUPTED:
            await publisher.interrupt()
        elif reason is EndReason.STEERED:
            await publisher.steer()
        elif reason is EndReason.TAKEN_OVER:
            await publisher.fail(ResponseTakenOver())
        elif not self._can_move() or not await publisher.release():
            await publisher.fail(ServerShutdown())

    async def _break_silence(self) -> None:
        """Publish `created` soon, and the snapshot now and then (docs/protocol.md §3.6)."""
        publisher, keepalive = self._publisher, self._timing.keepalive
        await self._clock.sleep(self._timing.created_after)
        try:
            await publisher.open()
        except BridgeError as error:
            self._scope.request(error.without_traceback())
            return
        while keepalive:
            silent = self._clock.monotonic() - publisher.last_at
            await self._clock.sleep(max(keepalive - silent, 0.001))
            if self._clock.monotonic() - publisher.last_at >= keepalive:
                await publisher.keepalive()

    # From outside

    @property
    def spec(self) -> JobSpec:
        """What the job is made of, with the target that answers once it is known."""
        return self._publisher.spec

    @property
    def stream(self) -> Stream:
        """The events, for every reader."""
        return self._publisher.stream

    @property
    def result(self) -> Json | None:
        """The final response object; None while it runs, or when it was refused."""
        return self._publisher.result

    def turn(self) -> Turn | None:
        """The finished turn, if a chain can continue from it."""
        result, spec = self.result, self.spec
        if result is None or result["status"] not in ("completed", "incomplete"):
            return None
        record, output = spec.record, tuple(result["output"])
        side_data = self._publisher.side_data
        return Turn(
            *(self.id, record.input, output, record.maker, spec.parent, side_data),
            input_makers=record.input_makers,
            provider_calls=provider_calls(output, spec.options.get("tools") or ()),
        )

    def snapshot(self) -> Json:
        """The response as it is now."""
        return self._publisher.folded().response()

    async def open_queued(self) -> None:
        """Make a background response known before a provider is asked. Raises ``BridgeError``."""
        await self._publisher.open(queued=True)

    async def reserve(self) -> None:
        """Make the response known to the store alone. Raises ``StoreUnavailable``."""
        await self._publisher.reserve()

    async def refuse(self, error: BridgeError) -> None:
        """End it as one that never began: ``on_refused`` is awaited before its readers know."""
        if self._on_refused is not None:
            await self._on_refused()
        self._publisher.refuse(error)

    def publish(self, draft: Draft) -> bool:
        """Publish an event of the bridge itself; false if the response has ended."""
        if self._publisher.is_ended:
            return False
        self._publisher.publish_own(draft)
        return True

    async def stop(self, reason: EndReason) -> None:
        """End the response if it still runs; it, and its provider's connection, have ended then."""
        self.stop_soon(reason)
        await self.stream.wait_until_closed()

    def stop_soon(self, reason: Reason) -> None:
        """Begin to end the response, if it still runs."""
        self._scope.request(reason)

    def steer(self) -> None:
        """End the response at the next good place: a successor continues."""
        self._is_steered = True
        if self._may_end_here():
            self.stop_soon(EndReason.STEERED)

    # Decisions

    def _may_end_here(self) -> bool:
        """Whether every item is finished, and no call waits for its output."""
        folded = self._publisher.folded()
        finished_items = folded.finished_items()
        is_between_items = len(finished_items) == len(folded.output())
        return is_between_items and not any(required_outputs(finished_items))

    def _can_move(self) -> bool:
        """Whether another server could generate the rest of a background response."""
        spec = self.spec
        is_new = spec.record.may_run_again and not self._publisher.folded().output()
        return (is_new or spec.is_provider_run) and not self._publisher.is_ended

    def _is_left_running(self) -> bool:
        """Whether a provider that generates the response by itself is to continue: for a successor.

        Asked before anything can be handed over.
        """
        is_left = self._scope.reason in (EndReason.SHUTDOWN, EndReason.TAKEN_OVER)
        return is_left and self.spec.envelope.store

    def _finished(self) -> JobFinished:
        error = self.stream.error
        return finished(
            self.spec,
            self.result,
            error=error.code if error else "",
            events=len(self.stream.events),
            first_event_seconds=self._seconds_to(self._publisher.first_at),
            first_chunk_seconds=self._seconds_to(self._opened_at),
            seconds=self._clock.monotonic() - self._began_at,
            tried=self._tried,
            prices=self._prices,
        )

    def _seconds_to(self, moment: float | None) -> float | None:
        return None if moment is None else moment - self._began_at


def split_after_items(drafts: Sequence[Draft]) -> Iterator[Sequence[Draft]]:
    """The batch in parts, each of which but the last ends with a finished item."""
    start = 0
    for end, draft in enumerate(drafts, 1):
        if draft.type == DONE or end == len(drafts):
            yield drafts[start:end]
            start = end
