"""Drafts of an upstream → the events that every reader of the response gets.

Rule 1: `response.created`, `response.in_progress`, then all else, then exactly one terminal event.
Rule 2: numbers count from 0 without a gap; ids, lineage and storage are the bridge's.
Rule 3: a terminal event that the upstream did not send (failure, cancel, interrupt) is made here.
Rule 4: an invalid item gets no event (``output.received``); events of its parts change nothing.
Rule 5: of exceptions only a ``BridgeError`` is published: its message is meant for clients.
Rule 6: the usual forms of an event are written here, all others by ``Event.of``: the text is alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from ws_bridge.errors import BridgeError, UpstreamError
from ws_bridge.protocol.events import (
    COMPLETED,
    CREATED,
    FAILED,
    IN_PROGRESS,
    INCOMPLETE,
    LIFECYCLE,
    OPENING,
    QUEUED,
    Draft,
    Event,
)
from ws_bridge.protocol.output.items import ADDED, DONE
from ws_bridge.protocol.output.received import is_item
from ws_bridge.protocol.reducer import Reducer
from ws_bridge.protocol.response import Envelope
from ws_bridge.types import Json, Now

STATUS = {COMPLETED: "completed", INCOMPLETE: "incomplete", FAILED: "failed"}
NUMBER = b'"sequence_number":'  # always a key: inside of a string its quotes are escaped
# Of all other events a provider's own text is passed on as it is.
INSPECTED = LIFECYCLE | {ADDED, DONE}


class Sequencer:
    """The numbering and the frame of one response. Every method returns the events to append."""

    def __init__(self, envelope: Envelope, lane: str | None, now: Now) -> None:
        self._envelope = envelope
        self._lane = lane
        self._now = now
        self._next = 0
        self._emitted: set[str] = set()
        self._has_begun = (
            False  # a status of `in_progress` was sent: it is never `queued` after that
        )
        self._upstream: Json = {}  # the provider's latest response object
        self.result: Json | None = None  # the terminal event's response
        self.failure: UpstreamError | None = None  # of a draft that cannot be written

    @property
    def is_open(self) -> bool:
        """Whether `response.created` was emitted."""
        return CREATED in self._emitted

    @property
    def is_ended(self) -> bool:
        """Whether the terminal event was emitted; no event comes after it."""
        return self.result is not None

    def resume(self, events: Sequence[Event]) -> None:
        """Continue the numbers of an earlier writer's events; none of them is terminal."""
        self._emitted = {event.type for event in events}
        self._has_begun = IN_PROGRESS in self._emitted
        self._next = events[-1].number + 1 if events else 0

    def open(self, *, queued: bool = False) -> list[Event]:
        """`created` and then `in_progress` (or `queued`), where they were not emitted yet."""
        waits = queued and not self._has_begun
        status = "queued" if waits else "in_progress"
        kinds = (CREATED, QUEUED if waits else IN_PROGRESS)
        return [self._emit_opening(kind, status) for kind in kinds if kind not in self._emitted]

    def sequence(self, drafts: Sequence[Draft]) -> list[Event]:
        """The events that a batch of the upstream's drafts becomes; none after the end.

        A draft that cannot be written ends the batch, and ``failure`` is why.
        """
        events: list[Event] = []
        is_flowing = self._is_flowing()
        try:
            for draft in drafts:
                if is_flowing and draft.type not in INSPECTED:  # nearly all of a stream
                    text = self._text_of(draft)
                    if text is None:
                        events.append(Event.of(draft, self._next, self._lane))
                    else:
                        events.append(Event(draft.type, self._next, text))
                    self._next += 1
                else:
                    self._sequence_inspected(draft, events)
                    is_flowing = self._is_flowing()
        except UpstreamError as failure:
            self.failure = failure.without_traceback()
        return events

    def _text_of(self, draft: Draft) -> bytes | None:
        """The next event's JSON; None for a draft of another form than the usual ones."""
        if draft.text:
            return _renumbered(draft.text, self._next) if self._lane is None else None
        head: Json = {"type": draft.type, "sequence_number": self._next}
        if self._lane is not None:
            head["stream_id"] = self._lane
        try:
            # A copy: orjson leaves about 4 KiB behind each small result that is kept.
            return b"%b" % orjson.dumps(head | draft.fields)
        except TypeError:
            return None

    def _is_flowing(self) -> bool:
        """Whether the response is open, and has not ended."""
        return IN_PROGRESS in self._emitted and self.result is None

    def _sequence_inspected(self, draft: Draft, events: list[Event]) -> None:
        """Append the events of a draft that may open or end the response, or be left out."""
        if self.is_ended:
            return
        if draft.type in LIFECYCLE:
            events += self._sequence_lifecycle(draft)
        elif draft.type not in (ADDED, DONE) or is_item(draft.fields.get("item")):
            events += self.open() if IN_PROGRESS not in self._emitted else []
            events.append(self._number(draft))

    def keepalive(self, snapshot: Json) -> list[Event]:
        """`response.in_progress` once more, with the current snapshot (docs/protocol.md §3.6)."""
        if self.is_ended or IN_PROGRESS not in self._emitted:
            return []
        return [self._emit(IN_PROGRESS, snapshot)]

    def fail(self, error: BridgeError, output: list[Json]) -> list[Event]:
        """End as failed, with the output so far."""
        return self._end(FAILED, "failed", error=error.response_error(), output=output)

    def cancel(self) -> list[Event]:
        """End as cancelled: `response.failed`, an object of that status (docs/protocol.md §2.5)."""
        return self._end(FAILED, "cancelled", output=[])

    def interrupt(self, finished: list[Json]) -> list[Event]:
        """End as incomplete, reason `interrupted`; finished items stay (docs/protocol.md §2.6)."""
        return self._cut_short("interrupted", finished, end_turn=False)

    def steer(self, finished: list[Json]) -> list[Event]:
        """End as incomplete, reason `steered`: a successor goes on (docs/protocol.md §2.7)."""
        return self._cut_short("steered", finished)

    def _cut_short(self, reason: str, output: list[Json], **more: Any) -> list[Event]:
        details = {"reason": reason}
        return self._end(
            INCOMPLETE, "incomplete", incomplete_details=details, output=output, **more
        )

    def _sequence_lifecycle(self, draft: Draft) -> list[Event]:
        if draft.type in OPENING:
            return self._sequence_opening(draft)
        events = self.open() if IN_PROGRESS not in self._emitted else []
        return [*events, self._sequence_terminal(draft)]

    def _sequence_opening(self, draft: Draft) -> list[Event]:
        self._upstream = _response_of(draft)
        if draft.type == CREATED:
            status = "queued" if self._upstream.get("status") == "queued" else "in_progress"
            return [] if self.is_open else [self._emit_opening(CREATED, status)]
        return self.open(queued=draft.type == QUEUED)

    def _sequence_terminal(self, draft: Draft) -> Event:
        status = STATUS[draft.type]
        response = self._envelope.adopt(_response_of(draft), status)
        if status == "completed":
            response["completed_at"] = max(int(self._now()), self._envelope.created_at)
        return self._emit_terminal(draft.type, response)

    def _end(self, kind: str, status: str, **fields: Any) -> list[Event]:
        if self.is_ended:
            return []
        events = self.open() if IN_PROGRESS not in self._emitted else []
        response = self._envelope.adopt(self._upstream, status) | {"usage": None, **fields}
        return [*events, self._emit_terminal(kind, response)]

    def _emit_opening(self, kind: str, status: str) -> Event:
        self._has_begun = status == "in_progress"
        response = self._envelope.adopt(self._upstream, status)
        return self._emit(kind, response | {"output": [], "usage": None})

    def _emit_terminal(self, kind: str, response: Json) -> Event:
        event = self._emit(kind, response)
        self.result = response
        return event

    def _emit(self, kind: str, response: Json) -> Event:
        self._emitted.add(kind)
        return self._number(Draft(kind, {"response": response}))

    def _number(self, draft: Draft) -> Event:
        event = Event.of(draft, self._next, self._lane)
        self._next += 1
        return event


def _renumbered(text: bytes, number: int) -> bytes | None:
    """A provider's event with our number; None if it is not written as nearly all are.

    That is: on one line, of the default lane, and with no inner object before its number.
    """
    key = text.find(NUMBER)
    is_usual = key > 0 and text.count(b"{", 0, key) == 1 and b'"stream_id"' not in text
    if not is_usual or b"\n" in text or b"\r" in text:
        return None
    end = text.find(b",", key)
    digits = text[key + len(NUMBER) : end].lstrip()
    if not digits.isdigit():
        return None
    return b"%b%d%b" % (text[: end - len(digits)], number, text[end:])


def _response_of(draft: Draft) -> Json:
    response = draft.fields.get("response")
    return response if isinstance(response, dict) else {}


def end_for(response_id: str, events: Sequence[Event], error: BridgeError | None) -> Event:
    """The terminal event of a response whose writer is gone; without an error it was cancelled.

    What the log has of the output is kept, as far as the response was not cancelled.
    """
    reducer = Reducer().fold(events)
    response = reducer.response() or Envelope(response_id, model="", created_at=0).snapshot("")
    if error is None:
        response |= {"status": "cancelled", "output": [], "error": None}
    else:
        output, failure = reducer.partial_output(), error.response_error()
        response |= {"status": "failed", "output": output, "error": failure}
    lane = events[-1].json().get("stream_id") if events else None
    number = events[-1].number + 1 if events else 0
    return Event.of(Draft(FAILED, {"response": response}), number, lane)


def end_after_loss(
    response_id: str, events: Sequence[Event], last: int, error: BridgeError | None
) -> list[Event]:
    """The end of a log that had numbers up to ``last``, of which only ``events`` are left.

    A snapshot of those stands before it, and declares the gap.
    """
    known = events[-1].number if events else -1
    lane = events[-1].json().get("stream_id") if events else None
    nothing = Envelope(response_id, model="", created_at=0).snapshot("in_progress")
    response = Reducer().fold(events).response() or nothing
    gap = {"after": known, "until": last + 1}
    snapshot = Event.of(Draft(IN_PROGRESS, {"response": response, "gap": gap}), last + 1, lane)
    return [snapshot, end_for(response_id, [*events, snapshot], error)]
