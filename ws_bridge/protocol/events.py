"""Server events: built once, numbered once, serialised once.

An upstream yields a ``Draft`` (a type and its fields). The ``Sequencer`` gives it its number and
makes it an ``Event``, which keeps its text: socket, SSE, log and store all send the same bytes.

Rule 1: ``sequence_number`` and ``stream_id`` belong to the bridge; a draft never carries them.
Rule 2: on the default lane the key ``stream_id`` is absent, not null (docs/protocol.md §3.2).

Drafts and events are named tuples: each delta is made into one of both, and a dataclass costs more.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import orjson

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.json_edit import replaced
from ws_bridge.types import Json

CREATED = "response.created"
QUEUED = "response.queued"
IN_PROGRESS = "response.in_progress"
COMPLETED = "response.completed"
INCOMPLETE = "response.incomplete"
FAILED = "response.failed"
TERMINAL = frozenset({COMPLETED, INCOMPLETE, FAILED})
OPENING = frozenset({CREATED, QUEUED, IN_PROGRESS})
LIFECYCLE = OPENING | TERMINAL

SMALL = 64 * 1024  # bytes of an event's text

TERMINAL_STATUS = frozenset({"completed", "incomplete", "failed", "cancelled"})


class Draft(NamedTuple):
    """One thing that an upstream reports, before it is event number N of a response.

    ``fields`` is everything but ``type``, ``sequence_number`` and ``stream_id``; the draft owns it,
    and it is not changed afterwards. ``text`` is the event's JSON as a provider sent it that speaks
    this very protocol: it is passed on as it is, but for number and lane. Response objects have
    none.
    """

    type: str
    fields: Json
    text: bytes = b""


class Event(NamedTuple):
    """One numbered event of one response. ``text`` is its JSON, UTF-8, one line."""

    type: str
    number: int
    text: bytes

    @classmethod
    def of(cls, draft: Draft, number: int, lane: str | None) -> Event:
        """Serialise a draft of any form; the sequencer writes the usual ones by itself."""
        if draft.text:
            return cls(draft.type, number, _renumbered(draft.text, number, lane))
        head: Json = {"type": draft.type, "sequence_number": number}
        if lane is not None:
            head["stream_id"] = lane
        text = _written(head | draft.fields)
        # A copy: orjson leaves about 4 KiB behind each small result that is kept.
        return cls(draft.type, number, b"%b" % text if len(text) < SMALL else text)

    @classmethod
    def parse(cls, text: bytes) -> Event:
        """An event from its text, as ``of`` made it."""
        fields = orjson.loads(text)
        return cls(fields["type"], fields["sequence_number"], text)

    @property
    def is_terminal(self) -> bool:
        """Nothing of this response comes after it."""
        return self.type in TERMINAL

    def json(self) -> Json:
        """The event's fields, parsed at each call; the live path never calls it."""
        parsed: Json = orjson.loads(self.text)
        return parsed

    def sse(self) -> bytes:
        """The event as one server-sent event (docs/protocol.md §7.3)."""
        return b"event: %b\ndata: %b\n\n" % (self.type.encode(), self.text)


def _written(fields: Json) -> bytes:
    """The fields as JSON. Raises ``UpstreamError`` for what is not of JSON at all."""
    try:
        return orjson.dumps(fields)
    except TypeError:  # half a character, a number beyond all, something nested without end
        pass
    try:
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode(
            errors="replace"
        )
    except (TypeError, ValueError, RecursionError):
        raise UpstreamError("The model provider sent an event that cannot be passed on.") from None


def _renumbered(text: bytes, number: int, lane: str | None) -> bytes:
    """A provider's event on one line with our number and lane; all other bytes as they were."""
    if b"\n" in text or b"\r" in text:  # between tokens: inside of a JSON string they are escaped
        text = text.translate(None, b"\r\n")
    named = b'"%b"' % lane.encode() if lane is not None else None
    return replaced(text, {b'"sequence_number"': b"%d" % number, b'"stream_id"': named})


SSE_DONE = b"data: [DONE]\n\n"
SSE_KEEPALIVE = b": keep-alive\n\n"
