"""The bridge, but that its sockets say back what they hear: what Autobahn's cases ask of a server.

Everything else is the bridge's: ``ws-bridge serve``, its listening socket, its guard below aiohttp,
its gate, the upgrade with its settings. Only the loop that reads messages is another.
"""

import sys

from aiohttp import WSMsgType

from ws_bridge import cli
from ws_bridge.errors import NOT_UTF8
from ws_bridge.protocol.client_frames import is_utf8
from ws_bridge.server.websocket import sockets


class Echo(sockets.Socket):
    """A socket of the bridge that answers each message with itself."""

    async def serve(self) -> None:
        """Until the client is gone."""
        async for message in self._ws:
            if message.type is WSMsgType.TEXT and not is_utf8(message.data):
                await self._outbox.close(NOT_UTF8)
            elif message.type is WSMsgType.TEXT:
                await self._ws.send_str(message.data.decode())
            elif message.type is WSMsgType.BINARY:
                await self._ws.send_bytes(message.data)


if __name__ == "__main__":
    sockets.Socket = Echo
    sys.exit(cli.main(sys.argv[1:]))
