"""A provider that misbehaves on purpose, and a listener that nobody must ever reach."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from support.hang import HANG_SECONDS

Json = dict[str, Any]


@dataclass
class Canary:
    """A loopback listener; ``visits`` is the first bytes of each connection to it."""

    port: int
    visits: list[bytes] = field(default_factory=list)


@contextlib.asynccontextmanager
async def canary() -> AsyncIterator[Canary]:
    """A listener that answers whatever comes with a picture, and remembers it."""

    async def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(HANG_SECONDS):
                found.visits.append(await reader.read(65536))
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 1\r\n\r\nx"
            )
        writer.close()

    found = Canary(0)
    server = await asyncio.start_server(welcome, "127.0.0.1", 0)
    async with server:
        found.port = server.sockets[0].getsockname()[1]
        yield found


@dataclass
class Misbehaving:
    """Its address, and the heads and bodies that it was sent."""

    url: str
    heard: list[tuple[Json, Any]] = field(default_factory=list)


@contextlib.asynccontextmanager
async def misbehaving(redirect_to: str = "") -> AsyncIterator[Misbehaving]:
    """A provider that says back in its errors what it was told: the key, its host, all.

    With ``redirect_to`` it sends everybody there instead.
    """

    async def refuse(request: web.Request) -> web.Response:
        body = await request.text()
        provider.heard.append((dict(request.headers), body))
        if redirect_to:
            return web.Response(status=307, headers={"Location": redirect_to + request.path})
        told = f"{dict(request.headers)} at {request.url} upstream-canary: {body}"
        error = {"message": told, "type": "odd", "code": "odd", "param": None}
        status = 500 if "500" in body else 400
        return web.Response(
            status=status, text=json.dumps({"error": error}), content_type="application/json"
        )

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", refuse)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    provider = Misbehaving(f"http://127.0.0.1:{runner.addresses[0][1]}")
    try:
        yield provider
    finally:
        await runner.cleanup()
