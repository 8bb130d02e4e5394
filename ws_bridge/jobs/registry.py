"""Responses being generated here: start, find, stop, drain.

Rule 1: every check comes before the job: what is refused here was never begun.
Rule 2: a job's task is owned here and awaited here.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from functools import partial

from ws_bridge.clock import Clock
from ws_bridge.errors import (
    ServerDraining,
    UnsupportedParameter,
)
from ws_bridge.jobs.job import Job
from ws_bridge.jobs.lineage import Lineage
from ws_bridge.jobs.mirror import Mirror
from ws_bridge.jobs.observe import Observe
from ws_bridge.jobs.output_quotas import OutputQuotas
from ws_bridge.jobs.spec import EndReason, JobSpec, Timing
from ws_bridge.pacing import Pacer, aside
from ws_bridge.protocol.actions import StartResponse
from ws_bridge.protocol.conversation import conversation_id
from ws_bridge.protocol.events import COMPLETED, Draft
from ws_bridge.protocol.history import Chain, Turn
from ws_bridge.protocol.reducer import fold
from ws_bridge.protocol.request import CreateResponse, parse_create
from ws_bridge.protocol.response import Envelope, echo_of, no_usage
from ws_bridge.protocol.sealing import UNSIGNED, Sealer
from ws_bridge.store.base import MAX_ANCESTORS, Claim, Record
from ws_bridge.upstream.base import FindTarget, Request, Target, Tried, Upstream


@dataclass(frozen=True, slots=True)
class Create:
    """One create of one client, from any transport."""

    request: CreateResponse
    owner: str
    transport: str  # "websocket", "http", "sse", "background"
    lane: str | None = None
    parent: Turn | None = None  # known to the connection already; else looked up by id
    size: int = 0  # bytes of what was asked

    @classmethod
    def of(cls, start: StartResponse, owner: str) -> Create:
        """A socket's."""
        return cls(start.request, owner, "websocket", start.lane, start.parent, start.size)


@dataclass(frozen=True, slots=True)
class JobPolicy:
    """What the operator decided about jobs."""

    runs_background: Callable[[str], bool] = field(default=lambda _: True)
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
        mirror: Mirror,
        observe: Observe,
        policy: JobPolicy,
        clock: Clock,
        sealer: Sealer = UNSIGNED,
    ) -> None:
        self._upstream = upstream
        self._find_target = find_target
        self.lineage = lineage
        self._mirror = mirror
        self._observe = observe
        self._policy = policy
        self._clock = clock
        self._sealer = sealer
        self._running: dict[str, Job] = {}
        self.outputs = policy.outputs
        self._tasks: set[asyncio.Task[None]] = set()
        self._turnstile = Pacer()
        self.is_draining = False

    async def start(self, create: Create) -> Job:
        """Begin a response; its stream has the events.

        Raises ``BridgeError`` if it is refused: nothing was begun then.
        """
        await self._turnstile.enter()
        if self.is_draining:
            raise ServerDraining
        target = self._find_target(create.request.model or "")
        self._check_background(create, target)
        chain = await chained(await self._parent(create), create.request, self._sealer)
        if self.is_draining:  # since then
            raise ServerDraining
        job = self._job(self._plan(create, target, chain), create.request, chain, None)
        if create.request.background:
            await job.open_queued()
        if self.is_draining:
            job.stop_soon(EndReason.SHUTDOWN)
        self._launch(job)
        return job

    def find(self, response_id: str, owner: str) -> Job | None:
        """The owner's job, if it runs here."""
        job = self._running.get(response_id)
        return job if job and job.plan.record.owner == owner else None

    def runs(self, response_id: str) -> bool:
        """Whether a response is being generated here, or its end is not yet in the store."""
        return response_id in self._running or self._mirror.watches(response_id)

    def owes(self, response_id: str, owner: str) -> bool:
        """Whether the store is about to know the owner's response from here."""
        return self._mirror.watches(response_id, owner)

    def running(self) -> int:
        """How many responses are being generated."""
        return len(self._running)

    def cancel(self, response_id: str) -> None:
        """End a response that somebody wants ended, if it runs here."""
        if job := self._running.get(response_id):
            job.stop_soon(EndReason.CANCELLED)

    async def go_on(self, claim: Claim) -> None:
        """Generate what another server has begun. Raises ``BridgeError`` if it cannot be."""
        record = claim.record
        request = parse_create((record.request or {}) | {"input": list(record.input)})
        create = Create(request, record.owner, "background")
        maker = record.maker if claim.upstream_id else ""  # its id means nothing to others
        target = self._find_target(request.model or "", maker)
        whole = Chain(await self._parent(create), record.input)
        chain = await aside(partial(self._sealer.open, whole), values=whole.count())
        if self.is_draining:
            raise ServerDraining
        plan = self._plan(create, target, chain, record)
        begun_at = int(fold(claim.events).get("created_at", plan.envelope.created_at))
        plan = replace(plan, envelope=replace(plan.envelope, created_at=begun_at))
        self._launch(self._job(plan, request, chain, claim))

    async def drain(self, seconds: float, hurry: asyncio.Event) -> None:
        """Start nothing more; let what runs finish until ``seconds`` are over or ``hurry`` is set.

        What still runs then ends as failed. Returns when every job's task is over.
        """
        self.is_draining = True
        finished = asyncio.gather(*self._tasks, return_exceptions=True)
        hurried = asyncio.ensure_future(self._hasten(hurry))
        waits = (finished, hurried)
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(*(job.stop(EndReason.SHUTDOWN) for job in self._running.values()))
        await finished
        hurried.cancel()
        await asyncio.gather(hurried, return_exceptions=True)

    async def _hasten(self, hurry: asyncio.Event) -> None:
        await hurry.wait()
        self._mirror.hasten()

    async def _parent(self, create: Create) -> Turn | None:
        request = create.request
        if create.parent is not None:
            return create.parent
        if request.previous_response_id is not None:
            return await self.lineage.resolve(request.previous_response_id, create.owner)
        if (named := conversation_id(request.conversation)) is not None:
            await self._ends_in(named, create.owner)
            return await self.lineage.conversation(named, create.owner)
        return None

    async def _ends_in(self, conversation: str, owner: str) -> None:
        """Return when no response of the owner's is on its way to its end there in this process.

        The store has its end a moment before the conversation has its turn: whoever has read that
        it is completed, and goes on, is to find the turn.
        """
        over = [job for job in self._running.values() if job.result is not None]
        own = [job for job in over if job.plan.record.owner == owner]
        ending = [job for job in own if job.plan.envelope.conversation == conversation]
        await self.lineage.await_ends([job.stream for job in ending])

    def _check_background(self, create: Create, target: Target) -> None:
        if not create.request.background or target.native_background:
            return
        if not self._policy.runs_background(target.provider):
            raise UnsupportedParameter(
                "'background' is not enabled for this model.", param="background"
            )

    def _plan(
        self, create: Create, target: Target, chain: Chain, record: Record | None = None
    ) -> JobSpec:
        request = create.request
        record = record or _record(create, target, chain)
        envelope = Envelope(
            id=record.id,
            model=target.name,
            created_at=int(self._clock.wall()),
            options=echo_of(request.passed_on()),
            previous_response_id=request.previous_response_id,
            store=request.store,
            background=request.background,
            conversation=conversation_id(request.conversation),
        )
        return JobSpec(
            record=record,
            envelope=envelope,
            target=target,
            lane=create.lane,
            parent=chain.parent,
            transport=create.transport,
            is_provider_run=request.background and target.native_background,
        )

    def _job(
        self, plan: JobSpec, request: CreateResponse, chain: Chain, claim: Claim | None
    ) -> Job:
        def drafts(
            outlives: Callable[[], bool], tried: Callable[[Tried], None]
        ) -> AsyncGenerator[Draft, None]:
            if not request.generate:
                return warm_up()
            background_id = claim.upstream_id if claim else ""
            options = request.passed_on()
            asked = Request(
                target=plan.target,
                chain=chain,
                options=options,
                background=plan.is_provider_run,
                background_options=request.background_options_passed_on(),
                response_id=plan.record.id,
                store=request.store,
                background_id=background_id,
                outlives=outlives,
                tried=tried,
            )
            return self._upstream.respond(asked)

        return Job(
            plan,
            drafts,
            mirror=self._mirror if request.store else None,
            observe=self._observe,
            clock=self._clock,
            timing=self._policy.timing,
            claim=claim,
            keep=self.lineage.keep,
        )

    def _launch(self, job: Job) -> None:
        self._running[job.id] = job
        job.stream.grown = self.outputs.begin(job.id, job.plan.record.owner, job.stop_soon)
        task = asyncio.create_task(job.run(), name=job.id)
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._forget(job, task))

    def _forget(self, job: Job, task: asyncio.Task[None]) -> None:
        self._running.pop(job.id, None)
        self._tasks.discard(task)
        self.outputs.end(job.id)


async def chained(parent: Turn | None, request: CreateResponse, sealer: Sealer) -> Chain:
    """What is said before the answer, its seals and calls checked. Raises ``InvalidRequest``."""
    items = 1 if isinstance(request.input, str) else len(request.input)
    values = items + Chain(parent, ()).count()
    return await aside(partial(_checked, parent, request, sealer), values=values)


def _checked(parent: Turn | None, request: CreateResponse, sealer: Sealer) -> Chain:
    chain = sealer.open(Chain(parent, request.items()))
    chain.check_calls()
    return chain


def _record(create: Create, target: Target, chain: Chain) -> Record:
    request = create.request
    lineage = chain.parent.lineage()[-MAX_ANCESTORS:] if chain.parent else []
    kept = request.model_dump(exclude_none=True, exclude={"input"}) if request.background else None
    return Record(
        id=new_response_id(),
        owner=create.owner,
        input=chain.input,
        maker=target.maker,
        previous_response_id=request.previous_response_id,
        background=request.background,
        ancestors=tuple(turn.id for turn in reversed(lineage)),
        request=kept,
        may_run_again=create.transport == "background" and not request.stream,
    )


async def warm_up() -> AsyncGenerator[Draft, None]:
    """A create with ``generate: false``: nothing is asked of a provider (wire contract 4.1.6)."""
    yield Draft(COMPLETED, {"response": {"output": [], "usage": no_usage()}})


def new_response_id() -> str:
    """An id nobody can guess: 192 random bits."""
    return "resp_" + secrets.token_hex(24)
