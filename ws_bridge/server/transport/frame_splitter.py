"""A client's large WebSocket frames → fragments, so that each is unmasked as it comes.

aiohttp keeps the reads of a frame, and joins and unmasks all of it in one piece when it is whole:
for 64 MiB that takes a tenth of a second.

Rule 1: pure: bytes in, bytes out; it refuses nothing, and keeps only a head that is half received.
Rule 2: a frame that is larger than a message may be stays as it is: aiohttp refuses it by its head.
"""

from __future__ import annotations

from collections.abc import Iterator

from ws_bridge.server.transport.frame_scanner import CONTINUATION_TO_BINARY, LONG, MASK

LARGE = 2**20  # bytes of a frame
FRAGMENT = 256 * 1024  # a multiple of the mask's bytes: all have the frame's mask
FINAL = 0x80
LENGTH = bytes((0x80 | 127,))  # a mask, and a length of eight bytes


class FrameSplitter:
    """The position of one client's byte stream in its frames."""

    __slots__ = ("_final", "_head", "_largest", "_mask", "_remaining", "_until")

    def __init__(self, largest: int) -> None:
        self._largest = largest  # bytes of a message
        self._head = b""  # the part of a frame's head that has come
        self._remaining = 0  # payload bytes of the frame that are still to come
        self._until = 0  # and those before the next head that stands there instead
        self._final = 0
        self._mask = b""

    def split(self, data: bytes) -> bytes:
        """What aiohttp gets for the bytes that have come next."""
        size = len(data)
        if size < self._until:  # nearly all of a large frame
            self._until -= size
            self._remaining -= size
            return data
        return b"".join(self._parts(data))

    def _parts(self, data: bytes) -> Iterator[bytes]:
        if self._head:
            data, self._head = self._head + data, b""
        at = 0
        while at < len(data):
            if not self._remaining:
                payload = at + _head_size(data, at)
                if payload > len(data):
                    self._head = data[at:]
                    return
                yield self._begin(data[at:payload])
                at = payload
                continue
            end = min(at + self._until, len(data))
            yield data[at:end]
            self._remaining -= end - at
            self._until -= end - at
            at = end
            if self._remaining and not self._until:
                yield self._next_head(0)

    def _begin(self, head: bytes) -> bytes:
        """The head that aiohttp gets."""
        short = head[1] & 127
        size = self._remaining = int.from_bytes(head[2:-MASK]) if short in LONG else short
        if head[0] & 15 not in CONTINUATION_TO_BINARY or not LARGE < size <= self._largest:
            self._until = size
            return head
        self._final, self._mask = head[0] & FINAL, head[-MASK:]
        return self._next_head(head[0] & ~FINAL)

    def _next_head(self, opcode: int) -> bytes:
        self._until = min(self._remaining, FRAGMENT)
        is_last = self._until == self._remaining
        first = opcode | (self._final if is_last else 0)
        return bytes((first,)) + LENGTH + self._until.to_bytes(8) + self._mask


def _head_size(data: bytes, at: int) -> int:
    """Bytes of the head that begins there; of its first byte alone only that there are more."""
    return 2 + MASK + (LONG.get(data[at + 1] & 127, 0) if at + 1 < len(data) else 0)
