"""A client that asks `/healthz` again and again while others are served: a job a line."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import orjson

Json = dict[str, Any]

PAUSE_SECONDS = 0.001  # between two questions: it takes no core for itself


class Prober:
    """Asks on one connection from ``begin`` to ``end``."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._took: list[int] = []

    async def begin(self, url: str) -> Json:
        """Ask without end."""
        self._took = []
        place = urlsplit(url)
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        ask = f"GET /healthz HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode()
        self._task = asyncio.create_task(self._ask(reader, writer, ask))
        return {}

    async def end(self) -> Json:
        """How often it was answered, and the longest time in ms."""
        assert self._task
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        took = sorted(self._took) or [0]
        return {"asks": len(self._took), "longest_ms": took[-1] / 1e6}

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ask: bytes
    ) -> None:
        try:
            while True:
                begin = time.monotonic_ns()
                writer.write(ask)
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                    assert head.startswith(b"HTTP/1.1 200"), head
                    await reader.readexactly(_length(head))
                finally:  # an answer that is waited for at the end counts so far
                    self._took.append(time.monotonic_ns() - begin)
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            writer.close()


def _length(head: bytes) -> int:
    lines = head.lower().split(b"\r\n")
    return next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-len"))


async def main() -> None:
    """Read jobs, and write their answers."""
    prober, loop = Prober(), asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        job = orjson.loads(line)
        told = await (prober.begin(job["url"]) if job["do"] == "begin" else prober.end())
        sys.stdout.buffer.write(orjson.dumps(told) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    asyncio.run(main())
