"""What a client's WebSocket frames say of themselves, before anybody keeps their bytes.

Rule 1: pure: bytes and a time in, a breach or nothing out; no socket, no clock, no payload kept.
Rule 2: it measures, and judges only what aiohttp's own reader lets pass: frames without a mask,
close codes that nobody may send, messages in ever more pieces, floods of frames that carry nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

CONTROL_SECONDS = 10.0  # the span of the budget for control frames

CONTINUATION_TO_BINARY = range(3)  # opcodes of frames that carry a message
CLOSE = 8
# RFC 6455, 7.4, and its registry; 1004, 1005, 1006 and 1015 never travel.
CLOSE_CODES = frozenset((*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)))
LONG = {126: 2, 127: 8}  # by the length's first seven bits: bytes that hold the length itself
MASK = 4
WHOLE_TEXT = 0x81  # the first byte of a text message in one frame
SHORT = 128 + 126  # the second one, if the length stands in the next two


@dataclass(frozen=True, slots=True)
class FrameViolation:
    """Why a connection is ended, in a close frame's terms."""

    code: int
    words: str


UNMASKED = FrameViolation(1002, "client frames must be masked")
NO_CLOSE_CODE = FrameViolation(1002, "invalid close code")
TOO_MANY_FRAGMENTS = FrameViolation(1008, "message in too many fragments")
TOO_MANY_CONTROLS = FrameViolation(1008, "too many control or empty frames")


class FrameScanner:
    """Where one client's byte stream stands."""

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
        self._head = b""  # of a frame, as far as it has come
        self._is_in_frame = self._is_data = self._is_final = False  # the frame being received
        self.remaining = 0  # payload bytes that the frame being received has announced
        self.received = 0  # payload bytes of the message being received
        self.is_at_boundary = True  # no frame and no message is half received
        self.boundaries = 0  # how often it was so between two frames
        self.is_closed = False  # the client's close frame has come

    def is_whole(self, data: bytes) -> bool:
        """Whether this is one whole text message of common size; nothing need be followed then."""
        size = len(data)
        if not self.is_at_boundary or size < 7 or data[0] != WHOLE_TEXT:
            return False
        length = data[1]
        if length == SHORT:
            return size == 8 + (data[2] << 8 | data[3])
        return 128 < length < SHORT and size == length - 122

    def scan(self, data: bytes, now: float) -> FrameViolation | None:
        """Follow what has come; nothing is looked at after a breach: a flood costs little."""
        breach = self._follow(data, now)
        self.is_at_boundary = not (self._is_in_frame or self._fragments or self._head)
        return breach

    def _follow(self, data: bytes, now: float) -> FrameViolation | None:
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
                return UNMASKED
            size = 2 + LONG.get(data[at + 1] & 127, 0) + MASK
            if end - at < size + 2 and end - at < size + _bytes_to_check(
                data, at
            ):  # the dear one last
                break
            if breach := self._open_frame(data, at, size, now):
                return breach
            at += size
        self._head = data[at:]
        return None

    def _open_frame(self, data: bytes, at: int, size: int, now: float) -> FrameViolation | None:
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
                return NO_CLOSE_CODE
        elif not (self._is_data and length) and self._spends_too_much(now):
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

    def _spends_too_much(self, now: float) -> bool:
        if now >= self._span_ends:
            self._span_ends, self._controls = now + CONTROL_SECONDS, 0
        self._controls += 1
        return self._controls > self._max_controls


def _bytes_to_check(data: bytes, at: int) -> int:
    """How many payload bytes a verdict needs: a close frame's code."""
    return min(2, data[at + 1] & 127) if data[at] & 15 == CLOSE else 0


def _close_code(data: bytes, payload: int) -> int:
    mask = data[payload - MASK : payload]
    return (data[payload] ^ mask[0]) << 8 | data[payload + 1] ^ mask[1]
