"""A client on a bare socket that reads when the test says so, and what frames it then got."""

import asyncio
import base64
import json
import socket
from urllib.parse import urlsplit

from support.hang import HANG_SECONDS

TEXT, CLOSE, PING = 1, 8, 9


class SlowReader:
    """One TCP connection with a small receive buffer."""

    def __init__(self, line: socket.socket) -> None:
        self.socket = line
        self.got = bytearray()

    @classmethod
    async def open(cls, url: str, path: str, *headers: str, buffer: int = 4096) -> "SlowReader":
        """Connect and ask; the answer's head is read, and not a byte more."""
        address = urlsplit(url)
        line = socket.socket()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        line.setblocking(False)
        await asyncio.get_running_loop().sock_connect(line, (address.hostname, address.port))
        client = cls(line)
        head = [f"GET {path} HTTP/1.1", f"Host: {address.netloc}", *headers, "", ""]
        await client.send("\r\n".join(head).encode())
        while not client.got.endswith(b"\r\n\r\n"):
            await client.read(1)
        client.got.clear()
        return client

    @classmethod
    async def upgraded(cls, url: str, buffer: int = 4096) -> "SlowReader":
        """A WebSocket."""
        key = base64.b64encode(bytes(16)).decode()
        asks = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
        path = "/v1/responses"
        return await cls.open(url, path, *asks, f"Sec-WebSocket-Key: {key}", buffer=buffer)

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def send_frame(self, text: str, opcode: int = TEXT) -> None:
        """A frame, masked with zeros."""
        size = len(text.encode())
        long = bytes([0xFE]) + size.to_bytes(2, "big") if size > 125 else bytes([0x80 | size])
        await self.send(bytes([0x80 | opcode]) + long + bytes(4) + text.encode())

    async def create(self, **fields: object) -> None:
        await self.send_frame(json.dumps({"type": "response.create", "model": "m", **fields}))

    async def read(self, most: int = 2**16) -> int:
        """Take some bytes; 0 at the end of the connection."""
        data = await asyncio.get_running_loop().sock_recv(self.socket, most)
        self.got += data
        return len(data)

    async def rest(self) -> list[tuple[int, bytes]]:
        """All there is to the end, as frames."""
        async with asyncio.timeout(HANG_SECONDS):
            while await self.read():
                pass
        return list(frames(bytes(self.got)))

    def close(self) -> None:
        self.socket.close()


def frames(data: bytes):
    """Unmasked, whole frames: opcode and payload. Fails for anything else."""
    while data:
        assert data[0] & 0xF0 == 0x80, "not a whole frame"
        size, at = data[1], 2
        assert size < 128, "masked"
        if size > 125:
            at += 2 if size == 126 else 8
            size = int.from_bytes(data[2:at], "big")
        assert len(data) >= at + size, "cut short"
        yield data[0] & 0x0F, data[at : at + size]
        data = data[at + size :]
