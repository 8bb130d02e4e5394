"""One response being generated: its upstream is the writer, its stream has the readers.

Rule 1: a job ends with exactly one terminal event, whatever happens to it; only a failure before
`response.created` closes its stream with an error instead.
Rule 2: the store knows the response before anyone is told its id.
Rule 3: a reader, slow or gone, changes nothing here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ws_bridge.clock import Clock
from ws_bridge.errors import BridgeError, ServerShutdown, UpstreamError
from ws_bridge.mirror import Mirror
from ws_bridge.protocol.events import TERMINAL, Draft, Event
from ws_bridge.protocol.history import Turn
from ws_bridge.protocol.reducer import Reducer
from ws_bridge.protocol.response import Envelope
from ws_bridge.protocol.sequencer import Sequencer
from ws_bridge.store.base import Record
from ws_bridge.stream import Stream
from ws_bridge.upstream.base import Target

log = logging.getLogger(__name__)

Json = dict[str, Any]

READ_OUT_SECONDS = 1.0


class Ending(Enum):
    """Why a job was stopped from outside."""

    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True)
class JobStarted:
    """A response begins."""

    id: str
    model: str
    transport: str


@dataclass(frozen=True, slots=True)
class JobFinished:
    """A response ended; what an operator wants to know of it."""

    id: str
    model: str
    provider: str
    transport: str
    outcome: str  # a terminal status, or "refused": an error before `response.created`
    error: str
    events: int
    first_event_seconds: float | None
    seconds: float
    usage: Json | None


Observe = Callable[[JobStarted | JobFinished], None]


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a response may be silent towards its readers, in seconds."""

    created_after: float = 2.0  # `created` is said by then, whether the provider answered or not
    keepalive: float = 30.0  # 0 = off


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a job is made of."""

    record: Record
    envelope: Envelope
    target: Target
    lane: str | None
    parent: Turn | None
    transport: str


class Job:
    """A running response. ``run`` is its task's body; ``jobs.Jobs`` owns the task."""

    def __init__(
        self,
        plan: Plan,
        drafts: AsyncGenerator[Draft, None],
        *,
        mirror: Mirror | None,
        observe: Observe,
        clock: Clock,
        timing: Timing,
    ) -> None:
        self.plan = plan
        self.id = plan.record.id
        self.stream = Stream()
        self._drafts = drafts
        self._mirror = mirror
        self._observe = observe
        self._clock = clock
        self._timing = timing
        self._sequencer = Sequencer(plan.envelope, plan.lane, clock.wall)
        self._reducer = Reducer()
        self._recording = asyncio.Lock()
        self._is_recorded = mirror is None
        self._ending: Ending | BridgeError | None = None
        self._task: asyncio.Task[None] | None = None
        self._began = self._last = clock.monotonic()
        self._first: float | None = None

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
        return self._fold().response()

    async def stop(self, ending: Ending) -> None:
        """End the response if it still runs, and return when it has ended.

        The provider's connection is closed by then.
        """
        self.stop_soon(ending)
        await self.stream.wait_closed()

    def stop_soon(self, ending: Ending | BridgeError) -> None:
        """Tell the response to end, if it still runs."""
        if self._ending is None and not self._sequencer.is_ended:
            self._ending = ending
            if self._task is not None:
                self._task.cancel()

    async def open_queued(self) -> None:
        """Make a background response known before anything was asked of a provider."""
        await self._record()
        await self._tell(self._sequencer.open(queued=True))

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

    async def _generate_until(self) -> Ending | BridgeError | None:
        """Generate; None if the response ended by itself, else why it must be ended."""
        try:
            await self._generate()
        except asyncio.CancelledError:
            # Only `stop` cancels a job, and it says why; all else is the process going down.
            if self._task is not None:
                self._task.uncancel()
            return self._ending or Ending.SHUTDOWN
        except BridgeError as error:
            return self._ending or error
        except Exception:  # the edge of the task: a bug must not leave a response unfinished
            log.exception("job_crashed id=%s", self.id)
            return self._ending or BridgeError()
        return None

    async def _generate(self) -> None:
        async with aclosing(self._drafts) as drafts:
            async for draft in drafts:
                if not self._is_recorded:
                    await self._record()
                await self._tell(self._sequencer.take(self._completed(draft)))
                if self.result:
                    await _read_out(drafts)
                    return
        raise UpstreamError("The provider ended the stream before the response was finished.")

    def _completed(self, draft: Draft) -> Draft:
        """A terminal draft with the items that a provider left out of it."""
        response = draft.fields.get("response")
        if draft.type not in TERMINAL or not isinstance(response, dict) or response.get("output"):
            return draft
        return Draft(draft.type, {"response": response | {"output": self._fold().output()}})

    async def _end(self, ending: Ending | BridgeError) -> None:
        """Speak the end that the provider did not speak."""
        is_known = self._sequencer.is_open or (self._mirror is not None and self._is_recorded)
        if isinstance(ending, BridgeError) and not is_known:
            self.stream.close(ending)
            return
        try:
            await self._record()
        except BridgeError as refused:
            self.stream.close(refused)
            return
        await self._tell(self._last_words(ending))

    def _last_words(self, ending: Ending | BridgeError) -> list[Event]:
        if ending is Ending.CANCELLED:
            return self._sequencer.cancel()
        if ending is Ending.INTERRUPTED:
            return self._sequencer.interrupt(self._fold().finished_items())
        error = ending if isinstance(ending, BridgeError) else ServerShutdown()
        return self._sequencer.fail(error, self._fold().partial_output())

    async def _tell(self, events: list[Event]) -> None:
        """Append; of the first and the last event the store knows at once."""
        self._append(events)
        if self._mirror is not None and events and (events[0].number == 0 or self.result):
            await self._mirror.flush(self.id)
        if self.result:
            self.stream.close()

    async def _record(self) -> None:
        async with self._recording:
            if self._mirror is not None and not self._is_recorded:
                await self._mirror.create(self.plan.record, self.stream)
            self._is_recorded = True

    async def _break_silence(self) -> None:
        """Say `created` soon, and something now and then (wire contract P5)."""
        await self._clock.sleep(self._timing.created_after)
        try:
            await self._record()
        except BridgeError as error:
            self.stop_soon(error)
            return
        await self._tell(self._sequencer.open())
        while self._timing.keepalive:
            silent = self._clock.monotonic() - self._last
            await self._clock.sleep(max(self._timing.keepalive - silent, 0.001))
            if self._clock.monotonic() - self._last >= self._timing.keepalive:
                self._append(self._sequencer.keepalive(self.snapshot()))

    def _append(self, events: list[Event]) -> None:
        if not events:
            return
        self._last = self._clock.monotonic()
        if self._first is None:
            self._first = self._last
        self.stream.append(events)

    def _fold(self) -> Reducer:
        return self._reducer.fold(self.stream.events[self._reducer.number + 1 :])

    def _finished(self) -> JobFinished:
        plan, result, error = self.plan, self.result, self.stream.error
        failure = (result or {}).get("error") or {}
        return JobFinished(
            id=self.id,
            model=plan.target.name,
            provider=plan.target.provider,
            transport=plan.transport,
            outcome=result["status"] if result else "refused",
            error=error.code if error else str(failure.get("code") or ""),
            events=len(self.stream.events),
            first_event_seconds=None if self._first is None else self._first - self._began,
            seconds=self._clock.monotonic() - self._began,
            usage=(result or {}).get("usage"),
        )


async def _read_out(drafts: AsyncGenerator[Draft, None]) -> None:
    """Let a provider that has said its last come to its end: its connection can be used again.

    What it still says is nobody's, and how it goes wrong neither.
    """
    with contextlib.suppress(TimeoutError, BridgeError):
        async with asyncio.timeout(READ_OUT_SECONDS):
            async for _ in drafts:
                pass
