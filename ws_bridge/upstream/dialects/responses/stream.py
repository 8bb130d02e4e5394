"""The stream of a provider that speaks Responses over HTTP → drafts.

Rule 1: events are passed on in the provider's own bytes, but for response objects and for what the
normaliser puts right. Nothing is counted here: usage is the provider's.
Rule 2: a whole answer instead of a stream is replayed as the stream that it would have been.
"""

from __future__ import annotations

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import Draft
from ws_bridge.protocol.output.builder import mint_id
from ws_bridge.protocol.output.half_characters import all_whole
from ws_bridge.protocol.output.replay import TERMINAL_OF, replay
from ws_bridge.protocol.references import minting
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.base import DONE, EventReader, ReaderInput
from ws_bridge.upstream.dialects.responses.normaliser import Normaliser
from ws_bridge.upstream.dialects.responses.wire import draft_of
from ws_bridge.upstream.dialects.sse import ServerSentEvent
from ws_bridge.upstream.errors import CANCELLED, truncated
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
        return whole_answer(answer)


def whole_answer(answer: Json) -> list[Draft]:
    """The drafts of a finished response object. Raises ``UpstreamError`` if it is none."""
    if not isinstance(answer, dict) or has_error(answer) or "output" not in answer:
        raise error_of(None, answer)
    status = answer.get("status")
    if status == "cancelled":
        raise UpstreamError(CANCELLED)
    if status == "failed":
        raise error_of(None, answer)
    if status not in TERMINAL_OF:
        raise truncated()
    return list(replay(all_whole(answer)))
