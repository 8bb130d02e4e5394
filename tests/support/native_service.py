"""A provider's own WebSocket as all that a server asks."""

from ws_bridge.upstream.base import Target
from ws_bridge.upstream.websocket.upstream import WebSocketUpstream


class NativeService(WebSocketUpstream):
    """It knows no prices."""

    def prices_of(self, _target: Target) -> None:
        return None
