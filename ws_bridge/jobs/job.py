"""One response being generated: its upstream is the writer, its stream has the readers.

Rule 1: a job ends with exactly one terminal event, whatever happens to it; only a failure before
`response.created` closes its stream with an error instead.
Rule 2: the store knows the response before anyone is told its id, and its end before anyone hears
it; only a store that is away is not waited for (``mirror``).
Rule 3: a reader, slow or gone, changes nothing here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from ws_bridge.clock import Clock
from ws_bridge.errors import BridgeError, ResponseTakenOver, ServerShutdown, UpstreamError
from ws_bridge.jobs.mirror import Mirror
from ws_bridge.jobs.observe import JobFinished, JobStarted, Observe, finished
from ws_bridge.jobs.publisher import Callbacks, Publisher
from ws_bridge.jobs.spec import Drafts, EndReason, JobSpec, Timing
from ws_bridge.protocol.events import CREATED, LIFECYCLE, TERMINAL, Draft, Event
from ws_bridge.protocol.history import Turn
from ws_bridge.protocol.output.received import has_items, with_items
from ws_bridge.protocol.sequencer import Sequencer
from ws_bridge.protocol.steering import required_outputs
from ws_bridge.store.base import Claim
from ws_bridge.stream import Stream
from ws_bridge.types import Json
from ws_bridge.upstream.base import Tried, read_out

log = logging.getLogger(__name__)


class Job:
    """A running response. ``run`` is its task's body; ``jobs.Jobs`` owns the task.

    ``drafts`` is made of a question, whether the provider is to go on when it is closed early, and
    of an ear for who was asked and who answers.
    With a ``claim`` it goes on with what another server has begun.
    """

    def __init__(
        self,
        plan: JobSpec,
        drafts: Drafts,
        *,
        mirror: Mirror | None,
        observe: Observe,
        clock: Clock,
        timing: Timing,
        claim: Claim | None = None,
        keep: Callable[[JobSpec, Json], Awaitable[None]] | None = None,
    ) -> None:
        self.plan = plan
        self.id = plan.record.id
        self._drafts = drafts(self._outlives, self._take_try)
        self._mirror = mirror
        self._observe, self._clock, self._timing = observe, clock, timing
        self._sequencer = Sequencer(plan.envelope, plan.lane, clock.wall)
        self._telling = Publisher(
            self._sequencer,
            record=lambda: self.plan.record,
            mirror=mirror,
            ears=self._ears(),
            finish=self._finish,
            clock=clock,
        )
        self._keep = keep  # is given the final object before anybody else
        self._tried: list[Tried] = []
        self._already = 0  # drafts that an earlier attempt has told
        self._is_steered = False
        self._ending: EndReason | BridgeError | None = None
        self._task: asyncio.Task[None] | None = None
        self._began = clock.monotonic()
        if claim is not None:
            self._go_on(claim)

    @property
    def stream(self) -> Stream:
        """The events, for everybody who reads along."""
        return self._telling.stream

    @property
    def result(self) -> Json | None:
        """The final response object; None while it runs, or when it was refused."""
        return self._sequencer.result

    def turn(self) -> Turn | None:
        """The finished turn, if a chain can go on from it."""
        result = self.result
        if result is None or result["status"] not in ("completed", "incomplete"):
            return None
        plan = self.plan
        output = tuple(result["output"])
        return Turn(self.id, plan.record.input, output, plan.record.maker, plan.parent)

    def snapshot(self) -> Json:
        """What the response looks like now."""
        return self._telling.fold().response()

    async def stop(self, ending: EndReason) -> None:
        """End the response if it still runs; it, and its provider's connection, have ended then."""
        self.stop_soon(ending)
        await self.stream.wait_closed()

    def stop_soon(self, ending: EndReason | BridgeError) -> None:
        """Tell the response to end, if it still runs."""
        if self._sequencer.is_ended:
            return
        if self._ending is None:
            self._ending, task = ending, self._task
            if task is not None and task is not asyncio.current_task():  # else it looks by itself
                task.cancel()
        elif self._ending is EndReason.STEERED and ending in (
            EndReason.CANCELLED,
            EndReason.TAKEN_OVER,
        ):
            self._ending = ending  # it is on its way to its end already, and nothing goes on

    def say(self, draft: Draft) -> bool:
        """Tell an event that is not the provider's; False if the response has said its last."""
        if self._sequencer.is_ended:
            return False
        self._telling.say(self._sequencer.sequence(draft))
        return True

    def steer(self) -> None:
        """End the response at the next good place: a successor will go on."""
        self._is_steered = True
        if self._may_end_here():
            self.stop_soon(EndReason.STEERED)

    def _may_end_here(self) -> bool:
        """Whether no item is half said, and no call waits for its output."""
        said = self._telling.fold()
        finished = said.finished_items()
        return len(finished) == len(said.output()) and not any(required_outputs(finished))

    async def open_queued(self) -> None:
        """Make a background response known before anything was asked of a provider."""
        await self._telling.tell(self._sequencer.open(queued=True))

    def _go_on(self, claim: Claim) -> None:
        self._sequencer.resume(claim.events)
        if claim.upstream_id:
            self._already = sum(event.type not in LIFECYCLE for event in claim.events)
        self._telling.adopt(claim)

    def _ears(self) -> Callbacks:
        """What the store may have to say to the response's writer."""
        return {
            "cancelled": lambda: self.stop_soon(EndReason.CANCELLED),
            "taken": lambda: self.stop_soon(EndReason.TAKEN_OVER),
        }

    async def _finish(self, result: Json) -> None:
        if self._keep is not None:
            await self._keep(self.plan, result)

    async def run(self) -> None:
        """Generate the response; returns when it has ended and the store knows."""
        self._task = asyncio.current_task()
        self._observe(JobStarted(self.id, self.plan.target.name, self.plan.transport))
        silence = asyncio.create_task(self._break_silence())
        self._ending = self._ending or await self._generate_until()
        silence.cancel()
        await asyncio.gather(silence, return_exceptions=True)
        if self._ending is not None:
            await self._end(self._ending)
        self._observe(self._finished())
        # What is over points to nobody who points here: it is freed at once, events and all.
        await self._drafts.aclose()
        self._telling.let_go()
        self._task = None

    async def _generate_until(self) -> EndReason | BridgeError | None:
        """Generate; None if the response ended by itself, else why it must be ended."""
        try:
            ending = await self._generate()
        except asyncio.CancelledError:
            # Only `stop` cancels a job, and it says why; all else is the process going down.
            if self._task is not None:
                self._task.uncancel()
            return self._ending or EndReason.SHUTDOWN
        except BridgeError as error:
            return self._ending or error.without_traceback()
        except Exception:  # the edge of the task: a bug must not leave a response unfinished
            log.exception("job_crashed id=%s", self.id)
            return self._ending or BridgeError()
        return self._ending or ending

    async def _generate(self) -> EndReason | None:
        async with aclosing(self._drafts) as drafts:
            async for draft in drafts:
                if draft.type in LIFECYCLE or self._already:
                    if self._is_told(draft):
                        continue
                    draft = self._completed(draft)  # noqa: PLW2901 - the same, whole
                events = self._sequencer.sequence(draft)
                if not self._telling.tell_now(events):
                    await self._telling.tell(events)
                if self.result:
                    await read_out(drafts)
                    return None
                # Not by a cancel, which comes later: a provider's next words may be here already.
                if self._ending is not None or (self._is_steered and self._may_end_here()):
                    return EndReason.STEERED  # if nobody has wanted another one
        raise UpstreamError("The provider ended the stream before the response was finished.")

    def _take_try(self, tried: Tried) -> None:
        self._tried.append(tried)
        if tried.answers:
            self.plan = self.plan.answered_by(tried.target)
            if self._mirror is not None:
                self._mirror.remember(self.id, record=self.plan.record)

    def _is_told(self, draft: Draft) -> bool:
        """Whether an earlier attempt has told it: a provider's own job tells the same again."""
        if draft.type == CREATED and self.plan.is_provider_run and self._mirror is not None:
            self._mirror.remember(self.id, str(draft.fields["response"]["id"]))
        if draft.type in LIFECYCLE or not self._already:
            return False
        self._already -= 1
        return True

    def _completed(self, draft: Draft) -> Draft:
        """A terminal draft with the items that a provider left out of it."""
        response = draft.fields.get("response")
        if draft.type not in TERMINAL or has_items(response):
            return draft
        return Draft(draft.type, {"response": with_items(response, self._telling.fold().output())})

    async def _end(self, ending: EndReason | BridgeError) -> None:
        """Speak the end that the provider did not speak."""
        if isinstance(ending, BridgeError) and not self.stream.events:
            if self._mirror is not None:
                self._mirror.forget(self.id)
            self.stream.close(ending)
        elif ending is EndReason.SHUTDOWN and await self._hand_over():
            self.stream.close()
        else:
            await self._telling.tell(self._last_words(ending))

    async def _hand_over(self) -> bool:
        """Leave a background response to another server, if it can go on there."""
        record = self.plan.record
        is_new = record.may_run_again and not self._telling.fold().output()
        if self._mirror is None or not (is_new or self.plan.is_provider_run):
            return False
        return await self._mirror.release(self.id)

    def _outlives(self) -> bool:
        """Whether a provider that makes the response by itself is to go on: for a successor.

        Asked while the job is cancelled, before anything can be handed over.
        """
        is_left = self._ending in (EndReason.SHUTDOWN, EndReason.TAKEN_OVER)
        return is_left and self._mirror is not None

    def _last_words(self, ending: EndReason | BridgeError) -> list[Event]:
        if ending is EndReason.CANCELLED:
            return self._sequencer.cancel()
        if ending is EndReason.INTERRUPTED:
            return self._sequencer.interrupt(self._telling.fold().finished_items())
        if ending is EndReason.STEERED:
            return self._sequencer.steer(self._telling.fold().finished_items())
        if ending is EndReason.TAKEN_OVER:
            ending = ResponseTakenOver()
        error = ending if isinstance(ending, BridgeError) else ServerShutdown()
        output = self._telling.fold().partial_output() if error.keeps_output else []
        return self._sequencer.fail(error, output)

    async def _break_silence(self) -> None:
        """Say `created` soon, and something now and then (wire contract P5)."""
        await self._clock.sleep(self._timing.created_after)
        try:
            await self._telling.tell(self._sequencer.open())
        except BridgeError as error:
            self.stop_soon(error)
            return
        while self._timing.keepalive:
            silent = self._clock.monotonic() - self._telling.last
            await self._clock.sleep(max(self._timing.keepalive - silent, 0.001))
            if self._clock.monotonic() - self._telling.last >= self._timing.keepalive:
                await self._telling.tell(self._sequencer.keepalive(self.snapshot()))

    def _finished(self) -> JobFinished:
        first, error = self._telling.first, self.stream.error
        return finished(
            self.plan,
            self.result,
            error=error.code if error else "",
            events=len(self.stream.events),
            first_event_seconds=None if first is None else first - self._began,
            seconds=self._clock.monotonic() - self._began,
            tried=tuple(self._tried),
        )
