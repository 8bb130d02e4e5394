"""`ws-bridge chat`: a conversation with a bridge, in the terminal."""

from ws_bridge.chat.terminal import run

__all__ = ["run"]
