"""A WebSocket on a connection: its messages come in time and in few pieces, and there is life.

What a message may be is aiohttp's matter, and beyond that the ``Connection``'s.
"""

from __future__ import annotations

from math import inf

from aiohttp import web

from ws_bridge.config import Limits
from ws_bridge.server.transport.frame_scanner import FrameScanner, FrameViolation
from ws_bridge.server.transport.watch import BYTES_PER_SECOND, LINGER_SECONDS, WatchedTransport

# aiohttp lists the reads of a frame: tiny ones cost 28 times their size (aio-libs/aiohttp#13350),
# so they are put together before.
TINY = 512
CRUMBS = 4096

TOO_SLOW = FrameViolation(1008, "message took too long")
SILENT = FrameViolation(1011, "no sign of life")


class WebSocketWatch:
    """A WebSocket: its messages come in time and in few pieces, and it gives signs of life."""

    __slots__ = (
        "_boundaries",
        "_crumbs",
        "_is_ending",
        "_last_received",
        "_limits",
        "_since",
        "_transport",
        "frames",
        "ws",
    )

    def __init__(
        self, transport: WatchedTransport, limits: Limits, ws: web.WebSocketResponse, now: float
    ) -> None:
        self.ws = ws
        self.frames = FrameScanner(
            fragments=limits.message_fragments, controls=limits.control_frames
        )
        self._transport = transport
        self._limits = limits
        self._last_received = now
        self._since = inf  # when the message began that is half received
        self._boundaries = 0
        self._crumbs = b""
        self._is_ending = False

    @property
    def due(self) -> float:
        """When a message is too slow, or the client too long silent."""
        if self._is_ending:
            return self._last_received + LINGER_SECONDS
        more = self.frames.received / BYTES_PER_SECOND
        slow = self._since + self._limits.message_seconds + more
        return min(slow, self._last_received + self._limits.silent_seconds)

    @property
    def remaining(self) -> int:
        """Bytes of the present frame that are still to come."""
        return self.frames.remaining

    @property
    def is_unfinished(self) -> bool:
        """Whether the client may be sending still: it has not closed."""
        return not self.frames.is_closed

    @property
    def is_ending(self) -> bool:
        """Whether the client is being sent away."""
        return self._is_ending

    def receive(self, data: bytes, now: float) -> bytes:
        """Measure what has come; what aiohttp is given of it."""
        if self._is_ending:
            return b""
        self._last_received = now
        frames = self.frames
        if frames.is_whole(data):  # nearly always
            return data
        ahead = frames.remaining
        if breach := frames.scan(data, now):
            self._cut(breach)
            return b""
        if frames.is_at_boundary:
            if self._since != inf:
                self._since = inf
                self._transport.record_received(0)
        else:
            self._receive_part(now)
        is_inside = frames.remaining and ahead - frames.remaining == len(
            data
        )  # nothing but payload
        if is_inside and len(data) < TINY and len(self._crumbs) < CRUMBS:
            self._crumbs += data
            return b""
        if self._crumbs:
            data, self._crumbs = self._crumbs + data, b""
        return data

    def _receive_part(self, now: float) -> None:
        if self._since == inf or self._boundaries != self.frames.boundaries:
            self._since, self._boundaries = now, self.frames.boundaries
            self._transport.schedule()
        self._transport.record_received(self.frames.received)

    def on_timer(self, now: float) -> None:
        """The client is too slow, or silent; or it has heard why it is sent away."""
        if self._is_ending:
            self._transport.close_socket(at_once=self._transport.unsent() > 0)
        elif (
            self._transport.is_reading_paused()
        ):  # this side does not listen: the client's times begin anew
            self._last_received = now
            self._since = now if self._since != inf else inf
            self._transport.schedule()
        else:
            is_silent = now >= self._last_received + self._limits.silent_seconds
            self._last_received = now
            self._cut(SILENT if is_silent else TOO_SLOW)

    def _cut(self, breach: FrameViolation) -> None:
        self._is_ending = True
        self._crumbs = b""
        self._transport.record_received(0)
        self._transport.close_websocket(self.ws, breach)
        self._transport.schedule()
