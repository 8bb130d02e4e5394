"""The end of a connection: it is heard, and it is short.

Rule 1: what a client still sends is read and forgotten for a moment, because bytes left unread turn
the end into a reset, which throws away the close frame or the refusal.
Rule 2: what is unsent may be read as long as the client reads at all.
"""

from __future__ import annotations

from ws_bridge.server.transport.frame_scanner import FrameScanner
from ws_bridge.server.transport.watch import LINGER_SECONDS, WatchedTransport


class LingeringClose:
    """Closed on this side."""

    remaining = 0
    is_unfinished = False

    def __init__(
        self,
        transport: WatchedTransport,
        now: float,
        *,
        frames: FrameScanner | None,
        seconds: float,
    ) -> None:
        self._transport = transport
        self._frames = frames
        self._seconds = seconds  # what is unsent must get less in so many
        self._is_socket_closed = False
        self._unsent = 0
        self._due = now + LINGER_SECONDS

    @property
    def due(self) -> float:
        """When the client has had time enough to hear of the end."""
        return self._due

    def receive(self, data: bytes, now: float) -> bytes:
        """Forget it; a close frame is the last that comes."""
        if self._frames and (self._frames.scan(data, now) or self._frames.is_closed):
            self._frames = None
            self.close_socket(now)
        return b""

    def close_socket(self, now: float) -> None:
        """Close the socket; watch that what is unsent gets less."""
        if not self._is_socket_closed:
            self._is_socket_closed = True
            self._unsent = self._transport.unsent()
            self._due = now + self._seconds
            self._transport.close_socket(at_once=False)
            self._transport.schedule()

    def on_timer(self, now: float) -> None:
        """The client has heard of the end, or will not."""
        if not self._is_socket_closed:
            self.close_socket(now)
        elif (unsent := self._transport.unsent()) < self._unsent:
            self._unsent, self._due = unsent, now + self._seconds
            self._transport.schedule()
        else:
            self._transport.close_socket(at_once=True)

    def end(self) -> None:
        """The socket is gone; nothing is asked of this any more."""
        del self._transport  # or the two would keep each other alive until the next collection
