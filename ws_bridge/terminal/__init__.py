"""`ws-bridge chat`: a conversation with a bridge, in the terminal."""

from ws_bridge.terminal.screen import run

__all__ = ["run"]
