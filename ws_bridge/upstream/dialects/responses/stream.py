"""The stream of a provider that speaks Responses over HTTP → drafts.

Rule 1: events are passed on in the provider's own bytes, but for response objects and for what the
normaliser puts right. Nothing is counted here: usage is the provider's.
Rule 2: a draft has these bytes only where they can be passed on: no key of the bridge's own stands
in them twice, and no half of a character.
Rule 3: a whole answer instead of a stream is replayed as the stream that it would have been.
"""

from __future__ import annotations

import orjson

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import LIFECYCLE, Draft
from ws_bridge.protocol.json_edit import OWN_KEYS, is_plain
from ws_bridge.protocol.output.builder import mint_id
from ws_bridge.protocol.output.half_characters import all_whole
from ws_bridge.protocol.output.replay import TERMINAL_OF, replay
from ws_bridge.protocol.references import minting
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.base import ReaderInput
from ws_bridge.upstream.dialects.event_reader import (
    DONE,
    UNREADABLE,
    EventReader,
    ServerSentEvent,
    parsed,
)
from ws_bridge.upstream.dialects.responses.normaliser import Normaliser
from ws_bridge.upstream.errors import CANCELLED, UNTYPED_EVENT, truncated
from ws_bridge.upstream.provider_errors import error_of, has_error


class ResponsesReader(EventReader):
    """The ``StreamReader`` of this dialect."""

    def __init__(self, given: ReaderInput) -> None:
        super().__init__(given)
        self._normaliser = Normaliser(minting(given.response_id, mint_id))

    def _event(self, event: ServerSentEvent) -> list[Draft]:
        name, data = event
        if data == DONE or not data:
            return []
        return list(self._normaliser.take(draft_of(data, name)))

    def _whole(self, answer: Json) -> list[Draft]:
        return whole_answer(answer, self._given.response_id)


def whole_answer(answer: Json, response_id: str = "") -> list[Draft]:
    """The drafts of a finished response object. Raises ``UpstreamError`` if it is none.

    ``response_id``: see ``replay``.
    """
    if not isinstance(answer, dict) or has_error(answer) or "output" not in answer:
        raise error_of(None, answer)
    status = answer.get("status")
    if status == "cancelled":
        raise UpstreamError(CANCELLED)
    if status == "failed":
        raise error_of(None, answer)
    if status not in TERMINAL_OF:
        raise truncated()
    return list(replay(all_whole(answer), response_id))


def draft_of(text: bytes, name: str = "") -> Draft:
    """The event; ``name`` is its type where the text has none. Raises ``UpstreamError``."""
    try:
        fields: Json = orjson.loads(text)
        kind = fields.pop("type", None)
    except (orjson.JSONDecodeError, AttributeError, TypeError):
        return _crooked(text, name)
    if not isinstance(kind, str):
        return _untyped(fields, kind, name)
    fields.pop("sequence_number", None)
    fields.pop("stream_id", None)
    # A response object is never passed on in its own bytes: no need to look at those.
    can_pass = kind in LIFECYCLE or is_plain(text, OWN_KEYS)
    return Draft(kind, fields, text if can_pass else b"")


def _crooked(text: bytes, name: str) -> Draft:
    """An event that only the slow parser takes. Raises ``UpstreamError`` for all others."""
    fields = parsed(text)
    if not isinstance(fields, dict):
        raise UpstreamError(UNREADABLE)
    kind = fields.pop("type", None)
    if not isinstance(kind, str):
        return _untyped(fields, kind, name)
    for own in ("sequence_number", "stream_id"):
        fields.pop(own, None)
    return Draft(kind, fields)


def _untyped(fields: Json, kind: object, name: str) -> Draft:
    if has_error(fields):
        raise error_of(None, fields)
    if kind is not None or not name.startswith("response."):
        raise UpstreamError(UNTYPED_EVENT)
    for own in ("sequence_number", "stream_id"):
        fields.pop(own, None)
    return Draft(name, fields)
