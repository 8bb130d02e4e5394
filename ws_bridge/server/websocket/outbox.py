"""Everything that goes out to one WebSocket client.

Rule 1: what is ready goes in one write: the cost is that of the write, not of the frame.
Rule 2: no more is written to a client that does not read than its transport holds and one piece;
the rest stays where it is kept anyway, in the response's stream.
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

from aiohttp import WSCloseCode, web

from ws_bridge.clock import Clock
from ws_bridge.server.slow_consumer import SlowConsumer

log = logging.getLogger(__name__)

BUFFER_BYTES = 64 * 1024  # a transport with more takes no more; the most that is written at once
CLOSE_SECONDS = 5.0  # for a client that is let go to read why

TEXT = 0x81  # a whole text message
SHORT, LONG = 126, 2**16  # bytes from which on the length is spoken in 2 bytes, in 8
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
    held: list[bytes] = []
    size = 0
    for part in parts:
        size += len(part)
        if held and size > BUFFER_BYTES:
            yield _taken(held)
            size = len(part)
        held.append(part)
    if held:
        yield _taken(held)


def _taken(held: list[bytes]) -> bytes:
    """The parts as one; kept nowhere else, however long the piece waits to be sent."""
    piece = b"".join(held)
    held.clear()
    return piece


class Outbox:
    """The way out of one socket. Raises nothing of a client that is gone: there it does nothing."""

    __slots__ = (
        "_clock",
        "_drain",
        "_protocol",
        "_seconds",
        "_slow_consumer",
        "_transport",
        "_write_turn",
        "_writer",
        "_ws",
        "is_slow",
    )  # fmt: skip

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
        self._write_turn: asyncio.Lock | None = (
            None  # held by the one who waits for the client to read
        )
        self._drain: asyncio.Task[None] | None = None
        self.is_slow = False  # it was let go because it did not read
        self._transport.set_write_buffer_limits(BUFFER_BYTES)

    def try_send(self, texts: Sequence[bytes]) -> bool:
        """Send each text as a message, in order, if nobody has to wait; else send none of them."""
        if self._protocol.writing_paused or (
            self._write_turn is not None and self._write_turn.locked()
        ):
            return False
        if len(texts) == 1:
            self._write(frame(texts[0]))
        elif sum(map(len, texts)) <= BUFFER_BYTES:
            self._write(b"".join(map(frame, texts)))
        else:
            return False
        return True

    async def send(self, texts: Sequence[bytes]) -> None:
        """The same; wait while the client has enough to read."""
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
        """Show the client, and all proxies on the way, that there is life; not if it has enough."""
        # Not after a close frame either, which aiohttp would do.
        if not self._ws.closed and not self._protocol.writing_paused:
            with contextlib.suppress(ConnectionError):
                await self._ws.ping()

    async def close(self, code: int, reason: bytes) -> None:
        """Send a close frame after all that was sent, and begin to close the connection."""
        await self._ws.close(code=code, message=reason, drain=False)

    async def end(self) -> None:
        """Wait for nobody any more; a client that was let go has a moment."""
        if self._slow_consumer is not None:
            await self._slow_consumer.cancel()
        if self.is_slow:
            await self._flush_or_abort()
        if self._drain is not None:
            self._drain.cancel()
            await asyncio.gather(self._drain, return_exceptions=True)

    async def _wait_for_room(self) -> None:
        # In turns, the longest waiting first: whoever comes through writes at once, and the next
        # one has to wait again.
        async with self._queue():
            self._slow_consumer = self._slow_consumer or SlowConsumer(
                self._transport, self._clock, self._seconds, self._close_slow
            )
            with self._slow_consumer:
                while self._protocol.writing_paused and not self._transport.is_closing():
                    await asyncio.wait([self._drained()])

    def _drained(self) -> asyncio.Task[None]:
        """Done when the transport takes more, or is lost.

        A task of its own: a wait for it may be cancelled, and aiohttp's own wait may not, or all
        others that wait or come later would be cancelled with it.
        """
        if self._drain is None or self._drain.done():
            self._drain = asyncio.create_task(self._wait_until_drained())
        return self._drain

    async def _wait_until_drained(self) -> None:
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    async def _close_slow(self) -> None:
        """Say why, and go: a client that does not read will hardly read this."""
        self.is_slow = True
        log.info("slow_consumer")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.close(WSCloseCode.TRY_AGAIN_LATER, b"slow consumer")
        await self._flush_or_abort()

    async def _flush_or_abort(self) -> None:
        """Let what is written leave; in the end the connection goes, read or not."""
        if self._transport.get_write_buffer_size():
            self._transport.set_write_buffer_limits(0)  # room is when all has left
            await asyncio.wait([self._drained()], timeout=CLOSE_SECONDS)
        if self._transport.get_write_buffer_size():
            self._transport.abort()

    def _queue(self) -> asyncio.Lock:
        if self._write_turn is None:
            self._write_turn = asyncio.Lock()
        return self._write_turn
