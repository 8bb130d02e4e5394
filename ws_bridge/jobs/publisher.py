"""The one place where a draft becomes an event that the store and the stream get.

Rule 1: the store knows the response before its first event is published, and its end before the
terminal event is; only a store that is away is not waited for (``mirror``).
Rule 2: events are published in the order of their numbers, from whichever task they come.
Rule 3: where the lease may have expired, as after a standstill, the store is asked first, so that
nothing is published under numbers that another server has given out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ws_bridge.clock import Clock
from ws_bridge.errors import BridgeError, ResponseTakenOver
from ws_bridge.jobs.cancel_scope import CancelScope
from ws_bridge.jobs.mirror import Mirror
from ws_bridge.jobs.spec import JobSpec
from ws_bridge.protocol.events import CREATED, LIFECYCLE, TERMINAL, Draft, Event
from ws_bridge.protocol.output.received import has_items, with_items
from ws_bridge.protocol.reducer import Reducer
from ws_bridge.protocol.sequencer import Sequencer, end_for
from ws_bridge.store.base import Claim
from ws_bridge.stream import Stream
from ws_bridge.types import Json
from ws_bridge.upstream.base import Target

OnEnd = Callable[[JobSpec, Json], Awaitable[None]]


class Publisher:
    """Numbers the drafts of one response and publishes their events.

    Without a mirror nothing is stored. ``on_end`` is awaited with the final object before the
    terminal event is published.
    """

    def __init__(
        self,
        spec: JobSpec,
        scope: CancelScope,
        *,
        mirror: Mirror | None,
        on_end: OnEnd | None,
        clock: Clock,
    ) -> None:
        self.spec = spec  # with the target that answers, once it is known
        self.stream = Stream()
        self.first_at: float | None = None  # when the first event was published; monotonic, seconds
        self.last_at = clock.monotonic()  # when the last one was, or when the publisher was made
        self._id = spec.record.id
        self._scope = scope
        self._mirror = mirror
        self._on_end = on_end
        self._clock = clock
        self._sequencer = Sequencer(spec.envelope, spec.lane, clock.wall)
        self._reducer = Reducer()
        self._pending: list[Event] = []  # numbered, and not published yet
        self._is_recorded = mirror is None  # the store knows the response
        self._replays = 0  # drafts to come that an earlier server has published
        self._lock = asyncio.Lock()

    @property
    def result(self) -> Json | None:
        """The final response object; None while the response runs, or when it was refused."""
        return self._sequencer.result

    @property
    def is_ended(self) -> bool:
        """Whether the terminal event is numbered: nothing comes after it."""
        return self._sequencer.result is not None

    def folded(self) -> Reducer:
        """Everything that was published, folded."""
        return self._reducer.fold(self.stream.after(self._reducer.number))

    # What is known of the response

    def resume(self, claim: Claim) -> None:
        """Continue a log that another server has begun.

        A provider that generates the response by itself sends again what that server published.
        """
        self._sequencer.resume(claim.events)
        if claim.upstream_id:
            self._replays = sum(event.type not in LIFECYCLE for event in claim.events)
        self.stream.append(claim.events)
        self._is_recorded = True
        if self._mirror is not None:
            self._mirror.resume(claim, self.stream, self._scope.listener())

    def set_target(self, target: Target) -> None:
        """This target answers: the store is to know it."""
        self.spec = self.spec.answered_by(target)
        if self._mirror is not None:
            self._mirror.replace_record(self.spec.record)

    # Events

    def publish(self, draft: Draft) -> bool:
        """Publish a draft of the provider; false if ``flush`` has to wait for the store first."""
        if draft.type in LIFECYCLE or self._replays:
            if self._is_replay(draft):
                return True
            draft = self._with_items(draft)
        return self._publish(self._sequencer.sequence(draft))

    def publish_own(self, draft: Draft) -> bool:
        """Publish a draft of the bridge; false as ``publish``."""
        return self._publish(self._sequencer.sequence(draft))

    async def open(self, *, queued: bool = False) -> None:
        """Publish what a response begins with, unless it has begun. Raises as ``flush``."""
        await self._publish_now(self._sequencer.open(queued=queued))

    async def keepalive(self) -> None:
        """Publish the snapshot once more."""
        await self._publish_now(self._sequencer.keepalive(self.folded().response()))

    async def cancel(self) -> None:
        """End the response as cancelled."""
        await self._publish_now(self._sequencer.cancel())

    async def interrupt(self) -> None:
        """End the response as incomplete, because the client interrupts it."""
        await self._publish_now(self._sequencer.interrupt(self.folded().finished_items()))

    async def steer(self) -> None:
        """End the response as incomplete, because a successor continues."""
        await self._publish_now(self._sequencer.steer(self.folded().finished_items()))

    async def fail(self, error: BridgeError) -> None:
        """End the response as failed, with its output so far where the error keeps it."""
        output = self.folded().partial_output() if error.keeps_output else []
        await self._publish_now(self._sequencer.fail(error, output))

    def refuse(self, error: BridgeError) -> None:
        """Close the stream with an error: the response never began."""
        self._scope.close()
        if self._mirror is not None:
            self._mirror.discard(self._id)
        self.stream.close(error)

    async def release(self) -> bool:
        """Give the response back to the store, for another server; false if that fails.

        The stream is closed then, without a terminal event.
        """
        if self._mirror is None or not await self._mirror.release(self._id):
            return False
        self._scope.close()
        self.stream.close()
        return True

    async def flush(self) -> None:
        """Publish what is pending, when the store knows what it has to know before.

        Raises ``BridgeError`` if the response cannot begin.
        """
        if self.is_ended:
            self._scope.close()
        async with self._lock:
            is_new = await self._record()  # what the store begins with is published in any case
            if is_new or await self._holds_lease():
                self._append_pending()
            await self._append_end()
        if self.is_ended:
            self.stream.close()

    async def _publish_now(self, events: list[Event]) -> None:
        if not self._publish(events):
            await self.flush()

    def _publish(self, events: list[Event]) -> bool:
        """Append events to the stream, or keep them for ``flush``: false if any are kept."""
        now, mirror = self._clock.monotonic(), self._mirror
        must_wait = not self._is_recorded or self._sequencer.result is not None
        if must_wait or (mirror is not None and mirror.lease_may_have_expired(self._id, now)):
            self._pending += events
            return not self._pending
        if self._pending:
            events, self._pending = [*self._pending, *events], []
        self._append(events, now)
        return True

    def _append(self, events: list[Event], now: float) -> None:
        if not events:
            return
        self.last_at = now
        if self.first_at is None:
            self.first_at = now
        self.stream.append(events)
        if self._mirror is not None:
            self._mirror.notify_appended(self._id)

    def _append_pending(self) -> None:
        """Publish what is pending, but for the terminal event."""
        end = [event for event in self._pending[-1:] if event.is_terminal]
        events = self._pending[: len(self._pending) - len(end)]
        self._pending = end
        self._append(events, self._clock.monotonic())

    async def _record(self) -> bool:
        """Let the store know the response; false if it does already."""
        if self._is_recorded:
            return False
        if self._mirror is not None:
            opening = [event for event in self._pending if not event.is_terminal]
            listener = self._scope.listener()
            await self._mirror.create(self.spec.record, opening, self.stream, listener)
            self._mirror.replace_record(self.spec.record)  # the target may be known since then
        self._is_recorded = True
        return True

    async def _holds_lease(self) -> bool:
        """Whether the response is still this server's; asks the store where that is uncertain."""
        if self._mirror is None:
            return True
        if self._mirror.lease_may_have_expired(self._id, self._clock.monotonic()):
            await self._mirror.confirm_lease(self._id)
        return self._mirror.tracks(self._id)

    async def _append_end(self) -> None:
        """Publish the terminal event, if it is pending."""
        if not self._pending or not self._pending[-1].is_terminal:
            return
        is_stored = self._mirror is None or await self._mirror.append_end(self._id, self._pending)
        if not is_stored:
            self._pending = [self._taken_over()]
        elif self._on_end is not None and self.result is not None:
            await self._on_end(self.spec, self.result)
        self._append(self._pending, self._clock.monotonic())
        self._pending = []

    def _taken_over(self) -> Event:
        """The end here of a response that has another end in the store."""
        end = end_for(self._id, self.stream.events, ResponseTakenOver())
        self._sequencer.result = end.json()["response"]
        return end

    # Drafts of a provider

    def _is_replay(self, draft: Draft) -> bool:
        """Whether an earlier server has published it."""
        if draft.type == CREATED and self.spec.is_provider_run and self._mirror is not None:
            self._mirror.set_upstream_id(self._id, str(draft.fields["response"]["id"]))
        if draft.type in LIFECYCLE or not self._replays:
            return False
        self._replays -= 1
        return True

    def _with_items(self, draft: Draft) -> Draft:
        """A terminal draft with the items that the provider left out of it."""
        response = draft.fields.get("response")
        if draft.type not in TERMINAL or has_items(response):
            return draft
        return Draft(draft.type, {"response": with_items(response, self.folded().output())})
