"""What a watch may ask of the connection that it watches."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web

from ws_bridge.server.transport.frame_scanner import FrameViolation

BYTES_PER_SECOND = 512 * 1024  # a message or body may take a second longer for so many bytes
LINGER_SECONDS = 1.0  # for a client to hear of the end, whatever it is sending


class WatchedTransport(Protocol):
    """What a watch may ask of its connection."""

    def schedule(self) -> None:
        """Look at ``due`` again: it may have come nearer."""
        ...

    def record_received(self, count: int) -> None:
        """Count a message or body of which so many bytes are here; 0 when it is complete."""
        ...

    def close_websocket(self, ws: web.WebSocketResponse, breach: FrameViolation) -> None:
        """End the WebSocket with a close frame."""
        ...

    def is_reading_paused(self) -> bool:
        """Whether this side reads nothing at present."""
        ...

    def unsent(self) -> int:
        """Bytes that wait for the client to read."""
        ...

    def close(self) -> None:
        """End the connection, its last bytes sent."""
        ...

    def close_socket(self, *, at_once: bool) -> None:
        """Close the socket itself, or throw it away."""
        ...
