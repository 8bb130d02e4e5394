"""The one place where a draft becomes an event that the store and the stream get.

Rule 1: the store knows the response before its first event is published, and its end before the
terminal event is; only a store that is away is not waited for (``mirror``).
Rule 2: events are published in the order of their numbers, from whichever task they come.
Rule 3: the side data of the provider's end goes to the store with it, and into no event.
Rule 4: where the lease may have expired, as after a standstill, the store is asked first, so that
nothing is published under numbers that another server has given out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from operator import attrgetter
from typing import Any

from ws_bridge.clock import Clock
from ws_bridge.errors import BridgeError, ResponseTakenOver
from ws_bridge.jobs.backlog import HeldLease
from ws_bridge.jobs.cancel_scope import CancelScope
from ws_bridge.jobs.mirror import Mirror
from ws_bridge.jobs.spec import JobSpec
from ws_bridge.protocol.events import FAILED, LIFECYCLE, TERMINAL, Draft, Event
from ws_bridge.protocol.output.items import DONE
from ws_bridge.protocol.output.received import has_items, with_items
from ws_bridge.protocol.preface import PrefacedDrafts
from ws_bridge.protocol.reducer import Reducer
from ws_bridge.protocol.references import ids_to_index
from ws_bridge.protocol.sequencer import Sequencer, end_for
from ws_bridge.protocol.side_data import MAX_SIDE_DATA, side_data_size
from ws_bridge.store.base import Claim
from ws_bridge.stream import Stream
from ws_bridge.types import Json
from ws_bridge.upstream.base import Answer
from ws_bridge.upstream.prices import PriceRow

log = logging.getLogger(__name__)

OnEnd = Callable[[JobSpec, Json], Awaitable[None]]
OnItem = Callable[[Draft, str], None]

# Of these more is wanted than an event.
INSPECTED = LIFECYCLE | {DONE}
_type_of = attrgetter("type")


class Publisher:
    """Numbers the drafts of one response and publishes their events.

    Without a mirror nothing is stored. ``on_item`` is called with each finished item's draft and
    its maker. ``on_end`` is awaited with the final object before the terminal event is published.
    """

    def __init__(
        self,
        spec: JobSpec,
        scope: CancelScope,
        *,
        mirror: Mirror | None,
        on_item: OnItem | None,
        on_end: OnEnd | None,
        clock: Clock,
    ) -> None:
        self.spec = spec  # with the target that answers, once it is known
        self.stream = Stream()
        self.first_at: float | None = None  # when the first event was published; monotonic, seconds
        self.side_data: Json | None = None  # of the provider's end; bounded
        self.last_at = clock.monotonic()  # when the last one was, or when the publisher was made
        self._id = spec.record.id
        self._scope = scope
        self._mirror = mirror
        self._on_item = on_item
        self._on_end = on_end
        self._clock = clock
        self._sequencer = Sequencer(spec.envelope, spec.lane, clock.wall)
        self._reducer = Reducer()
        self._pending: list[Event] = []  # numbered, and not published yet
        self._is_recorded = mirror is None  # the store knows the response, and what it begins with
        self._is_reserved = False  # the store knows the response, and none of its events
        self._lease = HeldLease()  # the mirror's
        self._model = ""  # of the target that answers, where that is another than was asked for
        self._preface: PrefacedDrafts | None = None
        self._prices: PriceRow | None = None  # where the cost is reported
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
            self._lease = self._mirror.resume(
                claim, self.stream, self._scope.listener(), trace=self.spec.trace
            )

    def set_answer(self, answer: Answer) -> None:
        """This answer comes: the store is to know its target, and its id at the provider."""
        target, preface = answer.target, answer.preface
        self._model = "" if target.name == self.spec.target.name else target.name
        self._preface = PrefacedDrafts(preface.items, preface.usage) if preface else None
        self._prices = answer.prices if target.report_cost else None
        self.spec = self.spec.answered_by(target)
        if self._mirror is not None:
            self._mirror.replace_record(self.spec.record)
            if answer.upstream_id:
                self._mirror.set_upstream_id(self._id, answer.upstream_id)

    # Events

    def publish(self, drafts: Sequence[Draft]) -> bool:
        """Publish a batch of the provider; false if ``flush`` has to wait for the store first.

        Raises ``UpstreamError`` for a draft that cannot be written; those before it are published.
        """
        is_plain = INSPECTED.isdisjoint(map(_type_of, drafts))  # nearly all of a stream is
        if not is_plain:
            self._note_items(drafts)
        if self._replays:
            drafts = self._without_replays(drafts)
        if self._preface is not None:
            drafts = self._preface.of(drafts)
        events = self._sequencer.sequence(drafts) if is_plain else self._sequence_each(drafts)
        is_published = self._publish(events)
        if self._sequencer.failure is not None:
            raise self._sequencer.failure
        return is_published

    def publish_own(self, draft: Draft) -> bool:
        """Publish a draft of the bridge; false as ``publish``."""
        return self._publish(self._sequencer.sequence((draft,)))

    async def reserve(self) -> None:
        """Let the store know the response before its first event. Raises ``StoreUnavailable``."""
        if self._mirror is not None:
            record, listener = self.spec.record, self._scope.listener()
            self._lease = await self._mirror.create(
                *(record, (), self.stream, listener), is_promise=True, trace=self.spec.trace
            )
            self._is_reserved = True

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
        now = self._clock.monotonic()
        must_wait = not self._is_recorded or self._sequencer.result is not None
        if must_wait or now >= self._lease.valid_until:
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
        if self._mirror is not None and not self._lease.is_noted:
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
            if self._is_reserved:
                await self._mirror.append_opening(self._id, opening)
            else:
                listener, record = self._scope.listener(), self.spec.record
                self._lease = await self._mirror.create(
                    record, opening, self.stream, listener, trace=self.spec.trace
                )
            self._mirror.replace_record(self.spec.record)  # the target may be known since then
        self._is_recorded = True
        return True

    async def _holds_lease(self) -> bool:
        """Whether the response is still this server's; asks the store where that is uncertain."""
        if self._mirror is None:
            return True
        if self._clock.monotonic() >= self._lease.valid_until:
            await self._mirror.confirm_lease(self._id)
        return self._mirror.tracks(self._id)

    async def _append_end(self) -> None:
        """Publish the terminal event, if it is pending."""
        if not self._pending or not self._pending[-1].is_terminal:
            return
        item_ids = ids_to_index((self.result or {}).get("output") or ())
        is_stored = self._mirror is None or await self._mirror.append_end(
            self._id, self._pending, self.side_data, item_ids
        )
        if not is_stored:
            self._pending, self.side_data = [self._taken_over()], None
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

    def _note_items(self, drafts: Sequence[Draft]) -> None:
        if self._on_item is not None:
            for draft in drafts:
                if draft.type == DONE:
                    self._on_item(draft, self.spec.record.maker)

    def _without_replays(self, drafts: Sequence[Draft]) -> list[Draft]:
        """The drafts without those that an earlier server has published."""
        new = []
        for draft in drafts:
            if self._replays and draft.type not in LIFECYCLE:
                self._replays -= 1
            else:
                new.append(draft)
        return new

    def _sequence_each(self, drafts: Sequence[Draft]) -> list[Event]:
        """The events of a batch with lifecycle drafts, which are completed."""
        events: list[Event] = []
        for draft in drafts:
            is_lifecycle = draft.type in LIFECYCLE
            whole = self._completed(draft, events) if is_lifecycle else draft
            was_ended = self.is_ended
            events += self._sequencer.sequence((whole,))
            if self._sequencer.failure is not None:
                break
            if self.is_ended and not was_ended:
                self.side_data = self._side_data_of(draft)
        return events

    def _side_data_of(self, end: Draft) -> Json | None:
        """What the end's maker must get back."""
        given = end.fields.get("side_data")
        if given is None or end.type == FAILED:
            return None
        size = side_data_size(given)
        if 0 <= size <= MAX_SIDE_DATA:
            return given  # type: ignore[no-any-return]
        log.warning("side_data_dropped id=%s bytes=%d", self._id, size)
        return None

    def _completed(self, draft: Draft, before: Sequence[Event]) -> Draft:
        """A lifecycle draft with what the provider left out: the model's name, the items."""
        response = draft.fields.get("response")
        if self._model and isinstance(response, dict) and not response.get("model"):
            response = response | {"model": self._model}
        if draft.type in TERMINAL and not has_items(response):
            folded = Reducer().fold([*self.stream.events, *self._pending, *before])
            response = with_items(response, folded.output())
        if draft.type in TERMINAL and self._prices is not None:
            response = _priced(response, self._prices)
        is_changed = response is not draft.fields.get("response")
        return Draft(draft.type, {"response": response}) if is_changed else draft


def _priced(response: Any, prices: PriceRow) -> Any:
    """The response with its cost in the usage, where the provider tells none itself."""
    usage = response.get("usage") if isinstance(response, dict) else None
    if not isinstance(usage, dict) or "cost" in usage:
        return response
    return response | {"usage": usage | {"cost": prices.cost(usage)}}
