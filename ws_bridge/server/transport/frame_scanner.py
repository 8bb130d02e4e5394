"""What a client's WebSocket frames announce, read from the byte stream before anything keeps it.

Rule 1: pure: bytes and a time in, a close frame or nothing out; no socket, no clock; it keeps no
payload.
Rule 2: it measures. It refuses only what aiohttp's own reader lets pass: frames without a mask,
close codes that may not be sent, messages in ever more fragments, floods of empty frames.
"""

from __future__ import annotations

from ws_bridge.errors import (
    INVALID_CLOSE_CODE,
    TOO_MANY_CONTROLS,
    TOO_MANY_FRAGMENTS,
    UNMASKED_FRAME,
    CloseFrame,
)

CONTROL_SECONDS = 10.0  # the span in which control frames are counted

CONTINUATION_TO_BINARY = range(3)  # opcodes of frames that carry a message
CLOSE = 8
# RFC 6455, 7.4, and its registry; 1004, 1005, 1006 and 1015 never travel.
CLOSE_CODES = frozenset((*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)))
LONG = {126: 2, 127: 8}  # by the length's first seven bits: bytes that hold the length itself
MASK = 4
WHOLE_TEXT = 0x81  # the first byte of a text message in one frame
SHORT = 128 + 126  # the second byte, if the length stands in the next two


class FrameScanner:
    """The position of one client's byte stream between its frames and messages."""

    __slots__ = (
        "_controls",
        "_fragments",
        "_head",
        "_is_data",
        "_is_final",
        "_is_in_frame",
        "_max_controls",
        "_max_fragments",
        "_span_ends",
        "boundaries",
        "is_at_boundary",
        "is_closed",
        "received",
        "remaining",
    )

    def __init__(self, *, fragments: int, controls: int) -> None:
        self._max_fragments = fragments
        self._max_controls = controls
        self._controls = 0
        self._span_ends = 0.0
        self._fragments = 0  # of the message that is being received
        self._head = b""  # the part of a frame's head that has come
        self._is_in_frame = self._is_data = self._is_final = False  # the frame being received
        self.remaining = 0  # payload bytes of the present frame that are still to come
        self.received = 0  # payload bytes of the message being received
        self.is_at_boundary = True  # no frame and no message is half received
        self.boundaries = 0  # boundaries between messages so far
        self.is_closed = False  # the client's close frame has come

    def is_whole(self, data: bytes) -> bool:
        """Whether this is exactly one text message of common size, which needs no scan."""
        size = len(data)
        if not self.is_at_boundary or size < 7 or data[0] != WHOLE_TEXT:
            return False
        length = data[1]
        if length == SHORT:
            return size == 8 + (data[2] << 8 | data[3])
        return 128 < length < SHORT and size == length - 122

    def scan(self, data: bytes, now: float) -> CloseFrame | None:
        """Read on; return the close frame that a violation calls for.

        Bytes after a violation are not read, so that a flood costs little.
        """
        violation = self._read_frames(data, now)
        self.is_at_boundary = not (self._is_in_frame or self._fragments or self._head)
        return violation

    def _read_frames(self, data: bytes, now: float) -> CloseFrame | None:
        if self._head:
            data, self._head = self._head + data, b""
        at, end = 0, len(data)
        while True:
            if self._is_in_frame:
                step = min(self.remaining, end - at)
                at += step
                self.remaining -= step
                if self._is_data:
                    self.received += step
                if self.remaining:
                    return None
                self._end_frame()
            if end - at < 2:
                break
            if data[at + 1] < 128:
                return UNMASKED_FRAME
            size = 2 + LONG.get(data[at + 1] & 127, 0) + MASK
            # The function call costs most and comes last.
            if end - at < size + 2 and end - at < size + _code_bytes(data, at):
                break
            if violation := self._open_frame(data, at, size, now):
                return violation
            at += size
        self._head = data[at:]
        return None

    def _open_frame(self, data: bytes, at: int, size: int, now: float) -> CloseFrame | None:
        self.remaining = length = (
            data[at + 1] & 127
            if size == 2 + MASK
            else int.from_bytes(data[at + 2 : at + size - MASK], "big")
        )
        opcode = data[at] & 15
        self._is_in_frame = True
        self._is_final = data[at] > 127
        self._is_data = opcode in CONTINUATION_TO_BINARY
        if opcode == CLOSE:
            self.is_closed = True
            if length == 1 or (length and _close_code(data, at + size) not in CLOSE_CODES):
                return INVALID_CLOSE_CODE
        elif not (self._is_data and length) and self._exceeds_controls(now):
            return TOO_MANY_CONTROLS
        if self._is_data:
            self._fragments += 1
            if self._fragments > self._max_fragments:
                return TOO_MANY_FRAGMENTS
        return None

    def _end_frame(self) -> None:
        self._is_in_frame = False
        if self._is_data and self._is_final:
            self._fragments = self.received = 0
        if not self._fragments:
            self.boundaries += 1

    def _exceeds_controls(self, now: float) -> bool:
        if now >= self._span_ends:
            self._span_ends, self._controls = now + CONTROL_SECONDS, 0
        self._controls += 1
        return self._controls > self._max_controls


def _code_bytes(data: bytes, at: int) -> int:
    """How many payload bytes are to be checked with the head: those of a close frame's code."""
    return min(2, data[at + 1] & 127) if data[at] & 15 == CLOSE else 0


def _close_code(data: bytes, payload: int) -> int:
    mask = data[payload - MASK : payload]
    return (data[payload] ^ mask[0]) << 8 | data[payload + 1] ^ mask[1]
