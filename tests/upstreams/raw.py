"""A provider on loopback that answers in raw bytes, so that it can break HTTP's rules."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

Script = Callable[["RawProvider", asyncio.StreamWriter], Awaitable[bool]]
"""Answers one request; whether the connection goes on."""


@dataclass
class RawProvider:
    """Every request goes to the next script, and those after the last to the last."""

    base_url: str = ""
    scripts: list[Script] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    connections: int = 0
    closed: int = 0  # connections that the client closed, or that broke
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(true)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, EOFError):
            pass
        finally:
            writer.close()
            self.closed += 1
            await self._tell()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")
        pairs = (line.split(": ", 1) for line in lines if line)
        headers = {name.lower(): value for name, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.requests.append((first, headers, body))
        await self._tell()
        script = self.scripts[min(len(self.requests), len(self.scripts)) - 1]
        answering = asyncio.ensure_future(script(self, writer))
        gone = asyncio.ensure_future(reader.read(1)) if script in WATCHED else None
        waiting = [one for one in (answering, gone) if one is not None]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if gone is None:
            return await answering
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return False

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


WATCHED: set[Script] = set()  # scripts that hang: they end when the client goes away


def says(
    *pieces: bytes,
    status: str = "200 OK",
    headers: str = "content-type: text/event-stream\r\n",
    keeps: bool = True,
) -> Script:
    """An answer in chunks, whole."""

    async def answer(_: RawProvider, writer: asyncio.StreamWriter) -> bool:
        writer.write(f"HTTP/1.1 {status}\r\n{headers}transfer-encoding: chunked\r\n\r\n".encode())
        for piece in pieces:
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return keeps

    return answer


def says_with(others: int, *pieces: bytes) -> Script:
    """An answer that comes when so many requests are there, each on its own connection."""
    plain = says(*pieces)

    async def answer(provider: RawProvider, writer: asyncio.StreamWriter) -> bool:
        await provider.until(lambda: len(provider.requests) >= others)
        return await plain(provider, writer)

    return answer


def begins(*pieces: bytes, ends: bool = True, resets: bool = False) -> Script:
    """An answer that is cut after its pieces, or that hangs there."""

    async def answer(_: RawProvider, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for piece in pieces:
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
        if resets:
            writer.transport.abort()
        elif not ends:
            await asyncio.Event().wait()
        return False

    if not ends:
        WATCHED.add(answer)
    return answer


async def hangs_up(_: RawProvider, __: asyncio.StreamWriter) -> bool:
    """Closes without a byte."""
    return False


async def is_silent(_: RawProvider, __: asyncio.StreamWriter) -> bool:
    """Never answers."""
    await asyncio.Event().wait()
    return False


WATCHED.add(is_silent)
