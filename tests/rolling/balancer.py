"""A TCP balancer: each connection goes to the next server that says it is ready."""

import asyncio
import contextlib
import itertools
from collections.abc import Sequence
from typing import Self

import aiohttp

CHUNK = 65536
LOOK_SECONDS = 0.25


class Balancer:
    """``async with Balancer(ports) as balancer``: clients connect to ``balancer.port``."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self._next = itertools.count()
        self._ready: list[int] = list(ports)
        self._looking: asyncio.Task[None]
        self._server: asyncio.Server
        self._links: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._link, "127.0.0.1", 0, backlog=1024)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._looking = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in (self._looking, *self._links):
            task.cancel()
        await asyncio.gather(self._looking, *self._links, return_exceptions=True)

    async def _look(self) -> None:
        """Ask each server now and then whether it wants connections."""
        timeout = aiohttp.ClientTimeout(total=1)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                answers = await asyncio.gather(*(_is_ready(session, one) for one in self._ports))
                pairs = zip(self._ports, answers, strict=True)
                self._ready = [port for port, is_ready in pairs if is_ready] or [*self._ports]
                await asyncio.sleep(LOOK_SECONDS)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._links.add(task)
        try:
            other = await self._connect()
            if other is not None:
                await asyncio.gather(_pump(reader, other[1]), _pump(other[0], writer))
        except asyncio.CancelledError:
            pass  # the edge of the task: the server would log it
        finally:
            self._links.discard(task)
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """To the next server in turn that listens; None if there is none."""
        first, ports = next(self._next), self._ready
        for number in range(len(ports)):
            port = ports[(first + number) % len(ports)]
            with contextlib.suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", port)
        return None


async def _is_ready(session: aiohttp.ClientSession, port: int) -> bool:
    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
        async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
            return answer.status == 200
    return False


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All bytes of one direction, then the end of it."""
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()
