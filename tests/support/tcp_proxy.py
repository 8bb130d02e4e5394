"""A TCP proxy on loopback with switches: what a bad network looks like from both its ends.

Rule 1: every switch works from the next chunk on; what is passed on keeps its bytes and its order.
Rule 2: a cut is a reset (RST) towards both ends, as from a machine that vanished and came back.
Rule 3: the port stays the proxy's own while it refuses: no other process can listen there.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Self

CHUNK = 65536
IN_FLIGHT = 64  # chunks between the ends; more stay in the kernel's buffers, as on a real line
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class ReservedPort:
    """A free loopback port that is only ours, also while no server listens there.

    The port is bound without SO_REUSEADDR, so that no other process can take it, and gets the
    option afterwards: on Linux a server that sets it too, as all do, can then listen beside the
    bound socket. Nor does the kernel ever give the port to an outgoing connection.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.number: int = self._socket.getsockname()[1]

    def release(self) -> None:
        """Give it back."""
        self._socket.close()


class Cut(Exception):
    """The connection is to be reset now."""


@dataclass(eq=False)
class Link:
    """One connection through the proxy: its task, its two ends, and what was asked last."""

    task: asyncio.Task[None]
    ends: list[asyncio.StreamWriter] = field(default_factory=list)
    asked: bytes = b""

    def reset(self) -> None:
        """Drop both ends at once, with a RST."""
        for end in self.ends:
            line = end.get_extra_info("socket")
            with contextlib.suppress(OSError):  # it is closed already
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            end.transport.abort()


class Proxy:
    """``async with Proxy(port) as proxy``: clients connect to ``proxy.port``.

    Counters: ``connections`` accepted so far, ``open_now``, ``bytes_up`` (to the server) and
    ``bytes_down`` that were passed on, ``cuts`` (connections reset), ``swallowed`` answers.
    ``delay`` is a latency in seconds each way: a chunk comes out so long after it went in, however
    many are on the way. ``cut_every = n`` resets the connection after each n-th chunk from clients,
    of all connections together; the chunk is passed on first, its answer is lost. 0 is off.
    """

    def __init__(self, port: int) -> None:
        self.delay = 0.0
        self.cut_every = 0
        self.connections = self.cuts = self.swallowed = 0
        self.bytes_up = self.bytes_down = 0
        self._target = port
        self._reserved = ReservedPort()
        self.port = self._reserved.number
        self._server: asyncio.Server | None = None
        self._links: set[Link] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._chunks_up = 0
        self._to_swallow, self._to_swallow_of = 0, b""

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [link.task for link in self._links]
        self.refuse()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._reserved.release()

    @property
    def open_now(self) -> int:
        """Connections that stand."""
        return len(self._links)

    # The switches

    def freeze(self) -> None:
        """Pass nothing from now on, in any direction; connections stand and are accepted."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Pass on again, what was held back first."""
        self._flowing.set()

    def refuse(self) -> None:
        """Reset all connections, and refuse new ones."""
        if self._server:
            self._server.close()
        self._server = None
        self.cut()

    async def accept(self) -> None:
        """Listen (again), on the same port."""
        if self._server is None:
            self._server = await asyncio.start_server(self._connect, "127.0.0.1", self.port)

    def cut(self) -> None:
        """Reset all connections; new ones are accepted."""
        for link in tuple(self._links):
            link.task.cancel()

    async def wait_cut(self) -> None:
        """Return when what was cut just now is closed: a client's next look finds it so."""
        tasks = [link.task for link in self._links if link.task.cancelling()]
        await asyncio.gather(*tasks, return_exceptions=True)

    def move(self, port: int) -> None:
        """Reset all connections; new ones lead to another server."""
        self._target = port
        self.cut()

    def swallow_answers(self, count: int, of: bytes = b"") -> None:
        """Drop the next answers of the server, each with its connection: executed, but unknown.

        An answer is a chunk from the server. With ``of`` only answers to a chunk with these bytes
        count (``b"EVALSHA"``), so that handshakes of new connections pass.
        """
        self._to_swallow, self._to_swallow_of = count, of

    # The lines

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from accepted to closed. This task is cancelled by a cut."""
        task = asyncio.current_task()
        assert task is not None
        link = Link(task, [writer])
        self._links.add(link)
        self.connections += 1
        try:
            await self._relay(link, reader)
        except (Cut, OSError, asyncio.CancelledError):
            # The task is the proxy's own and ends here, so the cancellation is not lost.
            self.cuts += 1
            link.reset()
        finally:
            self._links.discard(link)
            for end in link.ends:
                end.close()

    async def _relay(self, link: Link, reader: asyncio.StreamReader) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        near_writer = link.ends[0]
        link.ends.append(far_writer)
        line_up: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(IN_FLIGHT)
        line_down: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(IN_FLIGHT)
        parts = [
            asyncio.create_task(part)
            for part in (
                self._take(reader, line_up),
                self._take(far_reader, line_down),
                self._pass_up(link, line_up, far_writer),
                self._pass_down(link, line_down, near_writer),
            )
        ]
        try:
            await asyncio.gather(*parts)
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    async def _take(
        self, reader: asyncio.StreamReader, line: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        """Put what comes in on the line, with the time it is due; the empty chunk is the end."""
        clock = asyncio.get_running_loop().time
        chunk = b"-"
        while chunk:
            chunk = await reader.read(CHUNK)
            await line.put((clock() + self.delay, chunk))

    async def _due(self, line: asyncio.Queue[tuple[float, bytes]]) -> AsyncIterator[bytes]:
        """Yield the chunks of a line when they are due, unless all stands still."""
        clock = asyncio.get_running_loop().time
        chunk = b"-"
        while chunk:
            due, chunk = await line.get()
            if (wait := due - clock()) > 0:
                await asyncio.sleep(wait)
            await self._flowing.wait()
            yield chunk

    async def _pass_up(
        self, link: Link, line: asyncio.Queue[tuple[float, bytes]], end: asyncio.StreamWriter
    ) -> None:
        async for chunk in self._due(line):
            link.asked = chunk or link.asked
            self.bytes_up += len(chunk)
            await _send(end, chunk)
            self._chunks_up += bool(chunk)
            if chunk and self.cut_every and self._chunks_up % self.cut_every == 0:
                raise Cut

    async def _pass_down(
        self, link: Link, line: asyncio.Queue[tuple[float, bytes]], end: asyncio.StreamWriter
    ) -> None:
        async for chunk in self._due(line):
            if chunk and self._to_swallow and self._to_swallow_of in link.asked:
                self._to_swallow -= 1
                self.swallowed += 1
                raise Cut
            self.bytes_down += len(chunk)
            await _send(end, chunk)


async def _send(end: asyncio.StreamWriter, chunk: bytes) -> None:
    """Pass on a chunk, or the end: a connection closed on one side is half closed on the other."""
    if chunk:
        end.write(chunk)
        await end.drain()
    elif end.can_write_eof():
        end.write_eof()
