"""Responses being generated here: start, find, stop, drain.

Rule 1: every check comes before the job: what is refused here was never begun.
Rule 2: a job's task is owned here and awaited here.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial

from ws_bridge.clock import Clock
from ws_bridge.errors import BridgeError, ServerDraining, UnsupportedParameter
from ws_bridge.jobs.create_spans import begin_create, clients_span
from ws_bridge.jobs.idempotency import FoundResponse, IdempotentCreates, KeyTaken
from ws_bridge.jobs.job import Job
from ws_bridge.jobs.lineage import Lineage, build_chain
from ws_bridge.jobs.mirror import Mirror
from ws_bridge.jobs.observe import Observe
from ws_bridge.jobs.output_quotas import OutputQuotas
from ws_bridge.jobs.publisher import OnItem
from ws_bridge.jobs.spec import Create, EndReason, JobSpec, Timing, build_spec, echo_weight
from ws_bridge.jobs.usage import UsageRecorder
from ws_bridge.logs import key_name
from ws_bridge.pacing import Pacer, aside
from ws_bridge.protocol.conversation import conversation_id
from ws_bridge.protocol.history import Chain, Turn
from ws_bridge.protocol.sealing import UNSIGNED, Sealer, sealed_bytes
from ws_bridge.store.base import Claim
from ws_bridge.tracing import Span, Traces
from ws_bridge.upstream.base import FindTarget, Target, Upstream


@dataclass(frozen=True, slots=True)
class JobPolicy:
    """What the operator decided about jobs."""

    runs_background: Callable[[str], bool] = field(default=lambda _: True)  # for this provider
    timing: Timing = field(default_factory=Timing)
    outputs: OutputQuotas = field(default_factory=OutputQuotas)  # of one process


class JobRegistry:
    """The running responses of this process."""

    def __init__(
        self,
        *,
        upstream: Upstream,
        find_target: FindTarget,
        lineage: Lineage,
        keys: IdempotentCreates,
        mirror: Mirror,
        observe: Observe,
        policy: JobPolicy,
        clock: Clock,
        sealer: Sealer = UNSIGNED,
        on_item: OnItem | None = None,
        traces: Traces | None = None,
        usage: UsageRecorder | None = None,
    ) -> None:
        self._upstream = upstream
        self._find_target = find_target
        self.lineage = lineage
        self._keys = keys
        self._mirror = mirror
        self._observe = observe
        self._policy = policy
        self._clock = clock
        self._sealer = sealer
        self._on_item = on_item
        self._traces = traces
        self._usage = usage
        self._running: dict[str, Job] = {}
        self.outputs = policy.outputs
        self._tasks: set[asyncio.Task[None]] = set()
        self._pacer = Pacer()
        self.is_draining = False

    async def start(self, create: Create, on_parent: Callable[[int], None] = lambda _: None) -> Job:
        """Begin a response; its stream has the events.

        ``on_parent`` gets the bytes of memory that the turns before it take, and may refuse.
        Raises ``BridgeError`` if it is refused, and ``KeyTaken``: nothing was begun then.
        """
        await self._pacer.wait_turn()
        if self.is_draining:
            raise ServerDraining
        target = self._find_target(create.request.model or "")
        self._check_background(create, target)
        traces = self._traces
        span = None if traces is None else begin_create(traces, create, clients_span(create))
        parent = await self._parent(create)
        given = await self.lineage.resolve_input(create.request, create.owner, parent, create.known)
        if parent is not None or given is not None:
            before = Chain(parent, ())
            size = await aside(before.weight, values=before.count())
            on_parent(size + (given.weight() if given else 0))
        chain = await build_chain(parent, create.request, self._sealer, given)
        response_id, now = new_response_id(), int(self._clock.wall())
        build = partial(build_spec, create, target, chain, created_at=now, key_name=key_name())
        build = partial(build, response_id=response_id)
        spec = await aside(build, size=echo_weight(create.request))
        if self.is_draining:  # since then
            raise ServerDraining
        if create.request.idempotency_key is not None:
            return await self._begin_once(create, spec, span)
        job = self._job(spec, span=span)
        if create.request.background:
            await job.open_queued()
        if self.is_draining:
            job.stop_soon(EndReason.SHUTDOWN)
        self._launch(job)
        return job

    async def find_earlier(self, create: Create) -> FoundResponse | None:
        """The response of the same create that came before. Raises as its ``find``."""
        if self.is_draining and create.request.idempotency_key is not None:
            raise ServerDraining
        return await self._keys.find(create)

    async def start_or_find(
        self, create: Create, on_parent: Callable[[int], None] = lambda _: None
    ) -> Job | FoundResponse:
        """As ``start``; of creates with one key the first begins, and the others find it."""
        while True:
            try:
                return await self.start(create, on_parent)
            except KeyTaken:
                if (found := await self.find_earlier(create)) is not None:
                    return found

    async def cancel_found(self, found: FoundResponse) -> None:
        """Ask for the end of a response that was found, wherever it runs.

        Raises ``StoreUnavailable``.
        """
        await self._keys.cancel(found)

    async def resume(self, claim: Claim) -> None:
        """Generate what another server has begun. Raises ``BridgeError`` if that is impossible."""
        create = Create.of_record(claim.record)
        maker = claim.record.maker if claim.upstream_id else ""  # others do not know its id
        target = self._find_target(create.request.model or "", maker)
        record = claim.record
        chain = Chain(await self._parent(create), record.input, input_makers=record.input_makers)
        opening = partial(self._sealer.open, chain)
        chain = await aside(opening, values=chain.count(), size=sealed_bytes(chain))
        if self.is_draining:
            raise ServerDraining
        response_id, now = claim.record.id, int(self._clock.wall())
        spec = build_spec(
            create, target, chain, response_id=response_id, created_at=now, claim=claim
        )
        span = None if self._traces is None else begin_create(self._traces, create, None)
        self._launch(self._job(spec, claim, span=span))

    def set_policy(self, policy: JobPolicy) -> None:
        """Have this policy for jobs that begin from now on. What runs stays counted."""
        self._policy = policy
        self.outputs.limits = policy.outputs.limits

    def find(self, response_id: str, owner: str) -> Job | None:
        """The owner's job, if it runs here."""
        job = self._running.get(response_id)
        return job if job and job.spec.record.owner == owner else None

    def runs(self, response_id: str) -> bool:
        """Whether a response is being generated here, or its end is not yet in the store."""
        return response_id in self._running or self._mirror.tracks(response_id)

    def is_being_stored(self, response_id: str, owner: str) -> bool:
        """Whether the store does not know all of the owner's response yet, which is from here."""
        return self._mirror.tracks(response_id, owner)

    def running(self) -> int:
        """How many responses are being generated."""
        return len(self._running)

    def cancel(self, response_id: str) -> None:
        """End a response as cancelled, if it runs here."""
        if job := self._running.get(response_id):
            job.stop_soon(EndReason.CANCELLED)

    async def drain(self, seconds: float, force: asyncio.Event) -> None:
        """Start nothing more; let what runs finish until ``seconds`` are over or ``force`` is set.

        What still runs then ends as failed. Returns when every job's task is over.
        """
        self.is_draining = True
        finished = asyncio.gather(*self._tasks, return_exceptions=True)
        forced = asyncio.ensure_future(self._force_ends(force))
        waits = (finished, forced)
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(*(job.stop(EndReason.SHUTDOWN) for job in self._running.values()))
        await finished
        forced.cancel()
        await asyncio.gather(forced, return_exceptions=True)

    async def _force_ends(self, force: asyncio.Event) -> None:
        await force.wait()
        self._mirror.force_ends()

    async def _parent(self, create: Create) -> Turn | None:
        """The turn that the create continues."""
        request = create.request
        if create.parent is not None:
            return create.parent
        if request.previous_response_id is not None:
            return await self.lineage.resolve(request.previous_response_id, create.owner)
        if (conversation := conversation_id(request.conversation)) is not None:
            await self._wait_until_ended(conversation, create.owner)
            return await self.lineage.resolve_conversation(conversation, create.owner)
        return None

    async def _wait_until_ended(self, conversation: str, owner: str) -> None:
        """Return when no response of the owner's is about to end in the conversation here.

        The store has its end a moment before the conversation has its turn: a client that has read
        "completed" and continues is to find the turn.
        """
        ending = [
            job.stream
            for job in self._running.values()
            if job.result is not None
            and job.spec.record.owner == owner
            and job.spec.envelope.conversation == conversation
        ]
        await self.lineage.wait_until_closed(ending)

    def _check_background(self, create: Create, target: Target) -> None:
        if not create.request.background or target.native_background:
            return
        if not self._policy.runs_background(target.provider):
            raise UnsupportedParameter(
                "'background' is not enabled for this model.", param="background"
            )

    async def _begin_once(self, create: Create, spec: JobSpec, span: Span | None) -> Job:
        """Begin a response that its create's key stands for. Raises as ``start``.

        A caller that leaves meanwhile changes nothing: it would leave a key, or a record, of a
        response that is not being generated.
        """
        release = partial(self._keys.release, create, spec.record.id)
        job = self._job(spec, on_refused=release, span=span)
        beginning = asyncio.create_task(self._begin_held(create, job), name=job.id)
        self._tasks.add(beginning)
        beginning.add_done_callback(self._forget_beginning)
        await asyncio.shield(beginning)
        return job

    async def _begin_held(self, create: Create, job: Job) -> None:
        try:
            await self._keys.acquire(create, job.id, is_begun=False)
            await (job.open_queued() if create.request.background else job.reserve())
            await self._keys.acquire(create, job.id, is_begun=True)
            if self.is_draining:
                raise ServerDraining
        except (BridgeError, KeyTaken) as refusal:
            await job.refuse(refusal if isinstance(refusal, BridgeError) else BridgeError())
            raise
        self._launch(job)

    def _forget_beginning(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # a caller that still waits has it

    def _job(
        self,
        spec: JobSpec,
        claim: Claim | None = None,
        on_refused: Callable[[], Awaitable[None]] | None = None,
        span: Span | None = None,
    ) -> Job:
        return Job(
            spec if span is None else replace(spec, trace=span.context),
            self._upstream,
            mirror=self._mirror if spec.envelope.store else None,
            observe=self._observe,
            clock=self._clock,
            timing=self._policy.timing,
            on_item=self._on_item,
            on_end=self.lineage.append_to_conversation,
            on_refused=on_refused,
            claim=claim,
            span=span,
            usage=self._usage,
        )

    def _launch(self, job: Job) -> None:
        self._running[job.id] = job
        job.stream.on_growth = self.outputs.start(job.id, job.spec.record.owner, job.stop_soon)
        task = asyncio.create_task(job.run(), name=job.id)
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._forget(job, task))

    def _forget(self, job: Job, task: asyncio.Task[None]) -> None:
        self._running.pop(job.id, None)
        self._tasks.discard(task)
        self.outputs.end(job.id)


def new_response_id() -> str:
    """An id that cannot be guessed: 192 random bits."""
    return "resp_" + secrets.token_hex(24)
