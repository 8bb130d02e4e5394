"""Clients that hold sockets: a process that does one job a line, and answers with what it saw.

Thousands of sockets must cost the machine as little as can be on this side, so a socket is a bare
protocol here: it sends its handshake, answers pings, notes a close, and knows nothing else.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson
import uvloop

Json = dict[str, Any]

PING, PONG, CLOSE = 0x9, 0xA, 0x8
NO_MASK = bytes(4)  # a mask all the same, as a client's frame must have; it changes nothing
RESET = struct.pack("ii", 1, 0)
OPEN_SECONDS = 60.0  # for one handshake, on a machine where thousands come at once
TOGETHER = 64  # connections of a churn at a time
GOODBYE = bytes((0x80 | CLOSE, 0x82)) + NO_MASK + struct.pack("!H", 1000)


def frames(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """(opcode, payload) of each whole frame of a server, and what waits for the next read."""
    found, at = [], 0
    while len(data) - at >= 2:
        length, begin = data[at + 1] & 0x7F, at + 2
        if length >= 126:
            size = 2 if length == 126 else 8
            if len(data) < begin + size:
                break
            length = int.from_bytes(data[begin : begin + size])
            begin += size
        if len(data) < begin + length:
            break
        found.append((data[at] & 0x0F, data[begin : begin + length]))
        at = begin + length
    return found, data[at:]


def handshake(url: str) -> bytes:
    """What asks for an upgrade."""
    place = urlsplit(url)
    return (
        f"GET /v1/responses HTTP/1.1\r\nHost: {place.netloc}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()


@dataclass
class Tally:
    """What all sockets of this process have seen."""

    pings: int = 0
    dropped: int = 0  # ended, and not by this side
    reasons: dict[str, int] = field(default_factory=dict)

    def drop(self, reason: str) -> None:
        """One more is gone."""
        self.dropped += 1
        self.reasons[reason] = self.reasons.get(reason, 0) + 1


class Held(asyncio.Protocol):
    """One socket."""

    def __init__(self, hello: bytes, tally: Tally) -> None:
        self._hello = hello
        self._tally = tally
        self._rest = b""
        self._is_leaving = False
        self._reason = "closed without a frame"
        self.opened: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:  # uvloop's are no asyncio.Transport
        self._transport = transport
        transport.write(self._hello)

    def data_received(self, data: bytes) -> None:
        self._rest += data
        if not self.opened.done() and not self._is_upgraded():
            return
        found, self._rest = frames(self._rest)
        for code, payload in found:
            if code == PING:
                self._tally.pings += 1
                pong = bytes((0x80 | PONG, 0x80 | len(payload))) + NO_MASK + payload
                self._transport.write(pong)
            elif code == CLOSE:
                self._reason = f"close {payload[:2].hex()} {payload[2:].decode()}"

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_result(False)
        elif not self._is_leaving:
            self._tally.drop(repr(exc) if exc else self._reason)

    def leave(self, *, rudely: bool) -> None:
        """End it: with a close frame, or with a reset."""
        self._is_leaving = True
        if self._transport.is_closing():
            return
        if rudely:
            line = self._transport.get_extra_info("socket")
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self._transport.abort()
        else:
            self._transport.write(GOODBYE)
            self._transport.close()

    def _is_upgraded(self) -> bool:
        head, end, rest = self._rest.partition(b"\r\n\r\n")
        if not end:
            return False
        self._rest = rest
        is_upgraded = head.startswith(b"HTTP/1.1 101")
        self.opened.set_result(is_upgraded)
        if not is_upgraded:
            self._transport.close()
        return is_upgraded


class Holder:
    """The sockets of this process."""

    def __init__(self) -> None:
        self._held: list[Held] = []
        self._tally = Tally()

    async def do(self, job: Json) -> Json:
        """One job, by its name."""
        jobs = {"open": self.open, "tell": self.tell, "drop": self.drop, "churn": self.churn}
        return await jobs[job.pop("do")](**job)

    async def open(self, url: str, count: int, seconds: float, addresses: list[str]) -> Json:
        """Open so many more, evenly over so many seconds."""
        begin = time.monotonic()
        hello = handshake(url)
        tasks = []
        for number in range(count):
            await asyncio.sleep(max(0, begin + seconds * number / count - time.monotonic()))
            address = addresses[number % len(addresses)]
            tasks.append(asyncio.create_task(self._open(url, hello, address)))
        took = await asyncio.gather(*tasks)
        opened = sorted(one for one in took if one is not None)
        slowest = opened[-1] if opened else 0.0
        seconds = time.monotonic() - begin
        failed = count - len(opened)
        return {"opened": len(opened), "failed": failed, "seconds": seconds, "slowest": slowest}

    async def tell(self) -> Json:
        """What was seen until now."""
        tally = self._tally
        held = len(self._held) - tally.dropped
        return {
            "held": held,
            "pings": tally.pings,
            "dropped": tally.dropped,
            "reasons": tally.reasons,
        }

    async def drop(self) -> Json:
        """Be gone, all at once: half with a close, half without a word."""
        for number, held in enumerate(self._held):
            held.leave(rudely=number % 2 == 0)
        self._held, self._tally = [], Tally()
        return {}

    async def churn(self, url: str, count: int, addresses: list[str]) -> Json:
        """Connect and leave so many times, some together."""
        hello = handshake(url)
        turns = iter(range(count))
        begin, failed = time.monotonic(), 0

        async def come_and_go() -> None:
            nonlocal failed
            for number in turns:
                held = await self._connect(url, hello, addresses[number % len(addresses)])
                if held is None:
                    failed += 1
                else:
                    held.leave(rudely=number % 2 == 0)

        await asyncio.gather(*(come_and_go() for _ in range(TOGETHER)))
        return {"failed": failed, "seconds": time.monotonic() - begin}

    async def _open(self, url: str, hello: bytes, address: str) -> float | None:
        """Seconds until it was open, or None."""
        begin = time.monotonic()
        held = await self._connect(url, hello, address)
        if held is None:
            return None
        self._held.append(held)
        return time.monotonic() - begin

    async def _connect(self, url: str, hello: bytes, address: str) -> Held | None:
        place = urlsplit(url)
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                _, held = await asyncio.get_running_loop().create_connection(
                    lambda: Held(hello, self._tally),
                    place.hostname,
                    place.port,
                    local_addr=(address, 0),
                )
                return held if await held.opened else None
        except OSError:  # TimeoutError too
            return None


async def main() -> None:
    holder = Holder()
    while line := await asyncio.to_thread(sys.stdin.readline):  # pings are answered meanwhile
        sys.stdout.write(f"{orjson.dumps(await holder.do(orjson.loads(line))).decode()}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(main())
