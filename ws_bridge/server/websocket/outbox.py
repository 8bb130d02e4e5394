"""Everything that is sent to one WebSocket client.

Rule 1: all messages that are ready go in one write: the write costs, not the frame.
Rule 2: to a client that does not read, no more is written than its transport holds and one piece.
The rest stays in the response's stream, which keeps it anyway.
Rule 3: nothing is written after a close frame.

Frames are built here, because a server's are neither masked nor compressed: a head and the text.
Pings, pongs and closes are aiohttp's; both write whole frames, so that they never mix.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from struct import Struct

from aiohttp import web

from ws_bridge.clock import Clock
from ws_bridge.errors import SLOW_CONSUMER, CloseFrame
from ws_bridge.protocol.events import TERMINAL, Event
from ws_bridge.server.slow_consumer import SlowConsumer

log = logging.getLogger(__name__)

BUFFER_BYTES = 64 * 1024  # writers wait while a transport holds more; the most of one write
CLOSE_SECONDS = 5.0  # for a slow client to read why it is closed

TEXT = 0x81  # a whole text message
SHORT, LONG = 126, 2**16  # bytes from which on the length takes 2 bytes, or 8
_SHORT, _MEDIUM, _LONG = Struct("!BB").pack, Struct("!BBH").pack, Struct("!BBQ").pack


def frame(text: bytes) -> bytes:
    """A text message as one unmasked frame (RFC 6455, 5.2)."""
    size = len(text)
    if size < SHORT:
        return _SHORT(TEXT, size) + text
    if size < LONG:
        return _MEDIUM(TEXT, 126, size) + text
    return _LONG(TEXT, 127, size) + text


def chunked(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The parts in pieces of at most ``HELD_BYTES``; a larger part is a piece of its own."""
    pending: list[bytes] = []
    size = 0
    for part in parts:
        size += len(part)
        if pending and size > BUFFER_BYTES:
            yield _join(pending)
            size = len(part)
        pending.append(part)
        if size > BUFFER_BYTES:  # at once: the next one may be as large
            yield _join(pending)
            size = 0
    if pending:
        yield _join(pending)


def _join(pending: list[bytes]) -> bytes:
    """The parts as one, and ``pending`` empty: the piece may wait long, and is kept only once."""
    piece = b"".join(pending)
    pending.clear()
    return piece


class Outbox:
    """What one socket sends. For a client that is gone it does nothing, and raises nothing."""

    __slots__ = (
        "_clock",
        "_drain",
        "_lock",
        "_protocol",
        "_seconds",
        "_slow_consumer",
        "_transport",
        "_writer",
        "_ws",
        "is_slow",
    )

    def __init__(
        self,
        request: web.Request,
        ws: web.WebSocketResponse,
        clock: Clock,
        unread_seconds: float,
    ) -> None:
        """For a socket that is prepared. Raises ``ConnectionResetError`` if its client is gone."""
        if request.transport is None:
            raise ConnectionResetError
        self._transport = request.transport
        self._protocol = request.protocol
        self._writer = request.writer
        self._ws = ws
        self._clock = clock
        self._seconds = unread_seconds
        self._slow_consumer: SlowConsumer | None = None
        self._lock: asyncio.Lock | None = None  # of the sender that waits for the client to read
        self._drain: asyncio.Task[None] | None = None
        self.is_slow = False  # closed, because the client did not read
        self._transport.set_write_buffer_limits(BUFFER_BYTES)

    def take(self, events: Sequence[Event]) -> bool:
        """Send a stream's events in order, if that needs no wait; else send none of them.

        A terminal event is never taken: there is more to do at the end than to send it.
        """
        if self._protocol.writing_paused or events[-1].type in TERMINAL:
            return False
        if self._lock is not None and self._lock.locked():
            return False
        if len(events) == 1:
            self._write(frame(events[0].text))
        elif sum(len(event.text) for event in events) <= BUFFER_BYTES:
            self._write(b"".join(frame(event.text) for event in events))
        else:
            return False
        return True

    async def send(self, texts: Sequence[bytes]) -> None:
        """Send each text as a message, in order; wait while the client has enough to read."""
        for piece in chunked(map(frame, texts)):
            if self._protocol.writing_paused:
                await self._wait_for_room()
            self._write(piece)

    def _write(self, piece: bytes) -> None:
        if self._ws.closed or self._transport.is_closing():
            return
        try:
            self._transport.write(piece)
        except ConnectionError:
            log.debug("socket_gone")

    async def ping(self) -> None:
        """Show the client, and proxies between, that the connection lives; not if it is full."""
        # Not after a close frame either, which aiohttp would do.
        if not self._ws.closed and not self._protocol.writing_paused:
            with contextlib.suppress(ConnectionError):
                await self._ws.ping()

    async def close(self, frame: CloseFrame) -> None:
        """Send a close frame after all that was sent, and begin to close the connection."""
        await self._ws.close(code=frame.code, message=frame.reason.encode(), drain=False)

    async def release(self) -> None:
        """End all waits; the socket is used no more. A slow client has a moment to read why."""
        if self._slow_consumer is not None:
            await self._slow_consumer.cancel()
        if self.is_slow:
            await self._flush_or_abort()
        if self._drain is not None:
            self._drain.cancel()
            await asyncio.gather(self._drain, return_exceptions=True)

    async def _wait_for_room(self) -> None:
        # One after the other, in the order they came: a sender that has waited writes at once, and
        # the next one has to wait again.
        self._lock = self._lock or asyncio.Lock()
        async with self._lock:
            self._slow_consumer = self._slow_consumer or SlowConsumer(
                self._transport, self._clock, self._seconds, self._close_slow
            )
            with self._slow_consumer:
                while self._protocol.writing_paused and not self._transport.is_closing():
                    await asyncio.wait([self._drained()])

    def _drained(self) -> asyncio.Task[None]:
        """A task that ends when the transport takes more, or is lost.

        A wait for it may be cancelled. aiohttp's own wait may not: it would cancel all others that
        wait or come later.
        """
        if self._drain is None or self._drain.done():
            self._drain = asyncio.create_task(self._wait_until_drained())
        return self._drain

    async def _wait_until_drained(self) -> None:
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    async def _close_slow(self) -> None:
        """Close, and then cut off: a client that does not read will hardly read the close frame."""
        self.is_slow = True
        log.info("slow_consumer")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.close(SLOW_CONSUMER)
        await self._flush_or_abort()

    async def _flush_or_abort(self) -> None:
        """Wait a moment for what is written to leave; then cut the connection off."""
        if self._transport.get_write_buffer_size():
            self._transport.set_write_buffer_limits(0)  # drained means that all has left
            await asyncio.wait([self._drained()], timeout=CLOSE_SECONDS)
        if self._transport.get_write_buffer_size():
            self._transport.abort()
