"""Server-sent events, cut from a provider's bytes as they come (pure).

Rule 1: an event is given out as soon as its end is there, whatever pieces the bytes come in.
Rule 2: what the standard allows is read: a byte order mark, CR, LF and CRLF, comments, `data` in
several lines. Comments and events without data say nothing.
Rule 3: some providers answer in JSON where a stream was asked for: a body that begins with "{" or
"[" is one JSON text, whole at its end.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ws_bridge.upstream.errors import ENDLESS_EVENT, TooLarge

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
