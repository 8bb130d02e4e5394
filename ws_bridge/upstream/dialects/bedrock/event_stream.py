"""AWS's binary event stream, cut into events as the bytes come (pure).

Rule 1: botocore checks the sums and reads the headers; a message that is damaged ends the stream.
Rule 2: an exception is an event whose name begins with ``EXCEPTION``.
Rule 3: an answer of JSON where a stream was asked for is one JSON text. No message can begin like
one: it would be of 1.5 GiB.
"""

from __future__ import annotations

import struct

import orjson
from botocore.eventstream import EventStreamBuffer, EventStreamMessage, ParserError

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.dialects.event_reader import ServerSentEvent

EXCEPTION = "exception:"
DAMAGED = "The model provider sent a message that is damaged."
FAULTS = (ParserError, struct.error, KeyError, IndexError, UnicodeDecodeError)


class EventStreamDecoder:
    """An ``EventDecoder``."""

    def __init__(self) -> None:
        self._buffer = EventStreamBuffer()
        self._head = b""  # blanks, before the form of the body is known
        self._json = bytearray()
        self._has_begun = False
        self.is_json = False

    @property
    def whole_json(self) -> bytes:
        """See ``EventDecoder``."""
        return bytes(self._json)

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """See ``EventDecoder``."""
        if not self._has_begun:
            data = self._head + data
            head = data.lstrip()
            if not head:
                self._head = data
                return []
            self._has_begun, self.is_json = True, head.startswith((b"{", b"["))
        if self.is_json:
            self._json += data
            return []
        self._buffer.add_data(data)
        try:
            return [_event(message) for message in self._buffer]
        except FAULTS:
            raise UpstreamError(DAMAGED) from None

    def finish(self) -> list[ServerSentEvent]:
        """See ``EventDecoder``: half a message says nothing."""
        return []


def _event(message: EventStreamMessage) -> ServerSentEvent:
    headers = message.headers
    kind = headers.get(":message-type", "event")
    if kind == "event":
        return ServerSentEvent(str(headers.get(":event-type", "")), message.payload)
    if kind == "exception":
        return ServerSentEvent(f"{EXCEPTION}{headers.get(':exception-type', '')}", message.payload)
    body = {"message": str(headers.get(":error-message", ""))}
    return ServerSentEvent(f"{EXCEPTION}{headers.get(':error-code', '')}", orjson.dumps(body))
