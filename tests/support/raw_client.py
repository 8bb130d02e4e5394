"""A client made of a plain socket: it says what no library would, and sees every byte."""

import asyncio
import itertools
import socket
import struct
from typing import Self
from urllib.parse import urlsplit

from support.hang import HANG_SECONDS

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x01\x02\x03\x04"
HANDSHAKE = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def head(opcode: int, length: int, *, final: bool = True) -> bytes:
    """A masked frame's head; what it announces need not be true."""
    first = bytes([opcode | 0x80 * final])
    if length < 126:
        return first + bytes([0x80 | length]) + MASK
    size = b"\xfe" + struct.pack("!H", length) if length < 65536 else b"\xff" + _eight(length)
    return first + size + MASK


def _eight(length: int) -> bytes:
    return struct.pack("!Q", length)


def masked(payload: bytes) -> bytes:
    """The payload as it travels."""
    repeated = (MASK * (len(payload) // 4 + 1))[: len(payload)]
    size = len(payload)
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return mixed.to_bytes(size, "big")


def frame(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """One client frame."""
    return head(opcode, len(payload), final=final) + masked(payload)


def request(method: str, path: str, headers: dict[str, str]) -> bytes:
    """A request's head."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


UPGRADE = request("GET", "/v1/responses", HANDSHAKE)


class RawClient:
    """One TCP connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connect, and say nothing."""
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=2**24)
        line = writer.get_extra_info("socket")
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(reader, writer)

    @classmethod
    async def upgraded(cls, url: str) -> Self:
        """Connect, and shake hands."""
        line = await cls.open(url)
        await line.send(UPGRADE)
        assert b" 101 " in await line.answer()
        return line

    async def send(self, data: bytes) -> None:
        if self._writer.is_closing():
            raise ConnectionResetError
        self._writer.write(data)
        async with asyncio.timeout(HANG_SECONDS):
            await self._writer.drain()

    async def drip(self, data: bytes, pace: float) -> None:
        """Byte by byte, until all is sent or the server says something."""
        for number in data:
            try:
                await self.send(bytes([number]))
            except ConnectionError:
                return
            if self._reader._buffer or self._reader._eof:
                return
            await asyncio.sleep(pace)

    async def answer(self) -> bytes:
        """An HTTP answer's head."""
        async with asyncio.timeout(HANG_SECONDS):
            return await self._reader.readuntil(b"\r\n\r\n")

    async def rest(self) -> bytes:
        """All that comes until the server's end. Raises ``ConnectionResetError`` if it is rude."""
        async with asyncio.timeout(HANG_SECONDS):
            return await self._reader.read()

    async def frames(self, number: int) -> list[tuple[int, bytes]]:
        """So many frames, as opcode and payload."""
        return [await self._frame() for _ in range(number)]

    async def close_frame(self) -> tuple[int, str]:
        """The close frame's code and reason, whatever comes before."""
        for _ in itertools.count():
            opcode, payload = await self._frame()
            if opcode == CLOSE:
                return struct.unpack("!H", payload[:2])[0], payload[2:].decode()
        raise AssertionError

    async def _frame(self) -> tuple[int, bytes]:
        async with asyncio.timeout(HANG_SECONDS):
            first, second = await self._reader.readexactly(2)
            length = second
            if second == 126:
                (length,) = struct.unpack("!H", await self._reader.readexactly(2))
            elif second == 127:
                (length,) = struct.unpack("!Q", await self._reader.readexactly(8))
            assert first & 0x80, "the server sends whole messages"
            return first & 15, await self._reader.readexactly(length)

    def pause(self) -> None:
        """Read nothing more."""
        self._reader._transport.pause_reading()

    def close(self) -> None:
        self._writer.close()
