"""Every command that a Redis-protocol server is given, as its own MONITOR tells it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator

from support.hang import HANG_SECONDS
from support.redis_servers import Node

LONGEST_LINE = 2**26


@contextlib.asynccontextmanager
async def watched(node: Node, password: str = "") -> AsyncIterator[list[str]]:
    """The commands given inside; the list is whole when this is left."""
    commands: list[str] = []
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port, limit=LONGEST_LINE)
    if password:
        writer.write(f"AUTH {password}\r\n".encode())
        await reader.readline()
    writer.write(b"MONITOR\r\n")
    await reader.readline()
    reading = asyncio.create_task(_read(reader, commands, last := secrets.token_hex(8)))
    try:
        yield commands
        await asyncio.to_thread(node.cli, "ECHO", last)
        async with asyncio.timeout(HANG_SECONDS):
            await reading
    finally:
        reading.cancel()
        writer.close()


async def _read(reader: asyncio.StreamReader, commands: list[str], last: str) -> None:
    while last not in (line := (await reader.readline()).decode("utf-8", "replace")):
        commands.append(line)
