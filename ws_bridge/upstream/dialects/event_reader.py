"""A provider's bytes → server-sent events → drafts: what the readers of all dialects share (pure).

Rule 1: an event is given out as soon as its end is there, whatever pieces the bytes come in.
Rule 2: what the standard allows is read: a byte order mark, CR, LF and CRLF, comments, `data` in
several lines. Comments and events without data say nothing.
Rule 3: some providers answer in JSON where a stream was asked for: a body that begins with "{" or
"[" is one JSON text, whole at its end.
Rule 4: drafts that stand before an error are returned, and the error is in ``failure``.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

import orjson

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import TERMINAL, Draft
from ws_bridge.protocol.output.builder import OutputBuilder, mint_id
from ws_bridge.protocol.references import minting
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.base import ReaderInput
from ws_bridge.upstream.errors import ENDLESS_EVENT, TooLarge, truncated

DONE = b"[DONE]"
UNREADABLE = "The model provider sent an event that is not JSON."

MAX_EVENT = 64 * 2**20  # bytes; a terminal event repeats the whole answer

_BOM = b"\xef\xbb\xbf"
_END = re.compile(rb"\r\n\r\n|\n\n|\r\r(?!\n)|\r\n\n|\n\r\n|\n\r(?!\n)|\r\n\r(?!\n)")
_LINE_END = re.compile(rb"\r\n|\n|\r")


class ServerSentEvent(NamedTuple):
    """One event: its name, "" if it has none, and its data."""

    name: str
    data: bytes


class SseDecoder:
    """Bytes → events. ``whole_json`` has the body where it is JSON and not a stream."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._has_begun = False
        self.is_json = False

    @property
    def whole_json(self) -> bytes:
        """The body so far, of an answer that is JSON."""
        return bytes(self._rest) if self.is_json else b""

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """The events that the data completes. Raises ``TooLarge`` for one without an end."""
        if not self._has_begun and not self._begin(data):
            return []
        if not self._has_begun:
            self._has_begun = True
            data, self._rest = bytes(self._rest), bytearray()
        if self.is_json:
            self._rest += data
            return []
        if not self._rest and data.endswith(b"\n\n") and b"\r" not in data:  # nearly always
            blocks = data[:-2].split(b"\n\n")
        elif not self._rest and data.endswith(b"\r\n\r\n") and _has_crlf_only(data):  # Google's
            blocks = data[:-4].split(b"\r\n\r\n")
        else:
            blocks = self._blocks(data)
        return [event for block in blocks if (event := _event(block)) is not None]

    def finish(self) -> list[ServerSentEvent]:
        """The stream is over: an event whose blank line is missing counts all the same."""
        rest, self._rest = bytes(self._rest), bytearray() if not self.is_json else self._rest
        event = None if self.is_json else _event(rest.strip(b"\r\n"))
        return [] if event is None else [event]

    def _begin(self, data: bytes) -> bool:
        """Whether the form of the body is known; until then its first bytes wait."""
        self._rest += data
        if len(self._rest) < len(_BOM) and _BOM.startswith(bytes(self._rest)):
            return False
        head = self._rest.removeprefix(_BOM).lstrip()
        if not head:
            return False
        self._rest = self._rest.removeprefix(_BOM)
        self.is_json = head.startswith((b"{", b"["))
        return True

    def _blocks(self, data: bytes) -> list[bytes]:
        begin, scan_from = 0, max(0, len(self._rest) - 3)  # an end may straddle two reads
        self._rest += data
        blocks = []
        # The last byte may be the first half of CRLF.
        last = len(self._rest) - (1 if self._rest.endswith(b"\r") else 0)
        for end in _END.finditer(self._rest, scan_from, last):
            blocks.append(bytes(self._rest[begin : end.start()]))
            begin = end.end()
        del self._rest[:begin]
        if len(self._rest) > MAX_EVENT:
            raise TooLarge(ENDLESS_EVENT)
        return blocks


def _has_crlf_only(data: bytes) -> bool:
    return data.count(b"\r\n") == data.count(b"\n") == data.count(b"\r")


def _event(block: bytes) -> ServerSentEvent | None:
    """The event in a block of lines; None if it has no data."""
    if block.startswith(b"data: ") and b"\n" not in block and b"\r" not in block:
        return ServerSentEvent("", block[6:])
    if block.startswith(b"event: ") and block.count(b"\n") == 1 and b"\r" not in block:
        head, _, line = block.partition(b"\n")
        if line.startswith(b"data: "):
            return ServerSentEvent(head[7:].decode(errors="replace"), line[6:])
    name, data = "", []
    for line in _LINE_END.split(block):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode(errors="replace")
    return ServerSentEvent(name, b"\n".join(data)) if data else None


class EventDecoder(Protocol):
    """Bytes → events, in any framing; see ``SseDecoder``."""

    is_json: bool

    @property
    def whole_json(self) -> bytes:
        """The body so far, of an answer that is JSON."""
        ...

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """The events that the data completes. Raises ``UpstreamError``."""
        ...

    def finish(self) -> list[ServerSentEvent]:
        """The stream is over: the last events. Raises ``UpstreamError``."""
        ...


class EventReader(ABC):
    """A ``StreamReader`` of events; subclasses read one event, or a whole answer.

    ``decoder``: for events in another framing than that of server-sent events.
    """

    def __init__(self, given: ReaderInput, decoder: EventDecoder | None = None) -> None:
        self._given = given
        self._output = OutputBuilder(given.tools, minting(given.response_id, mint_id))
        self._decoder = decoder or SseDecoder()
        self.failure: UpstreamError | None = None
        self.paused: Any = None  # a dialect's own, where the provider pauses
        self.is_over = False

    def feed(self, data: bytes) -> list[Draft]:
        """See ``StreamReader``."""
        return self._read_each(self._decoder.feed(data), self._event)

    def finish(self) -> list[Draft]:
        """See ``StreamReader``."""
        drafts = self._read_each(self._decoder.finish(), self._event)
        if self.is_over:
            return drafts
        if self._decoder.is_json and not drafts:
            whole = parsed(self._decoder.whole_json)
            return self._read_each([whole], self._whole)
        if drafts:  # then the next call raises
            return drafts
        drafts = self._end_of_wire()
        self.is_over = bool(drafts) and drafts[-1].type in TERMINAL
        return drafts

    def _read_each(self, events: Iterable[Any], read: Callable[[Any], list[Draft]]) -> list[Draft]:
        """The drafts of all events, up to an error or the end."""
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        drafts: list[Draft] = []
        for event in events:
            if self.is_over:
                break
            try:
                drafts += read(event)
            except UpstreamError as failure:
                if not drafts:
                    raise
                self.failure = failure
                break
            if drafts and drafts[-1].type in TERMINAL:
                self.is_over = True
        return drafts

    @abstractmethod
    def _event(self, event: ServerSentEvent) -> list[Draft]:
        """The drafts of one event. Raises ``UpstreamError`` for the provider's errors."""

    @abstractmethod
    def _whole(self, answer: Json) -> list[Draft]:
        """The drafts of an answer that came as one JSON object, the last one terminal."""

    def _end_of_wire(self) -> list[Draft]:
        """The drafts of a stream that is over without its own end."""
        raise truncated()


def parsed(data: bytes) -> Any:
    """The JSON of an event. Raises ``UpstreamError``."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:  # half of a surrogate pair, which orjson refuses
        return json.loads(data)
    except (ValueError, RecursionError):
        raise UpstreamError(UNREADABLE) from None
