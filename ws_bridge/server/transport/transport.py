"""Between the socket and aiohttp: every byte that comes in passes here first.

A ``ClientTransport`` is two things at once: to the loop it is the connection's protocol, to
aiohttp's handler it is the transport. So it sees what comes before anything keeps it, it owns the
pauses of reading, and it decides how a connection ends.

Rule 1: a client's slowness, silence and size have limits; a violation ends that connection alone.
Rule 2: a connection has one timer at most, set again only when it has fired or would fire too late.
Rule 3: the watch changes from HTTP to WebSocket to closing; this module knows none of their rules.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from math import inf
from typing import Any, NoReturn, cast

from aiohttp import web

from ws_bridge.config import Limits
from ws_bridge.errors import CloseFrame, InvalidRequest
from ws_bridge.server.refusal_log import RefusalLog
from ws_bridge.server.transport.receive_budget import ReceiveBudget
from ws_bridge.server.transport.watches import (
    LINGER_SECONDS,
    HttpWatch,
    LingeringClose,
    WebSocketWatch,
)

log = logging.getLogger(__name__)

MIB = 2**20
# A timer that fires so late says that this process stood still: what clients sent meanwhile has not
# been read yet, so that they get another moment.
STALL_SECONDS = 0.25


class ListenerState:
    """What the connections of one listening socket share: limits, sums, and who is connected."""

    def __init__(self, limits: Limits, largest: int, refusal_log: RefusalLog | None = None) -> None:
        self.limits = limits
        self.refusal_log = refusal_log
        self.largest = largest  # bytes of a message or body
        self.loop = asyncio.get_running_loop()
        self.receiving = ReceiveBudget(limits.receiving_mib * MIB)
        self._open: set[asyncio.Transport] = set()
        self._all_closed = asyncio.Event()
        self._all_closed.set()
        self._closing: set[asyncio.Task[Any]] = set()

    def set_limits(self, limits: Limits) -> None:
        """Have these limits for connections that are made from now on, and in sum."""
        self.limits = limits
        self.receiving.limit = limits.receiving_mib * MIB

    def add(self, connection: asyncio.Transport) -> None:
        """A connection was made."""
        self._open.add(connection)
        self._all_closed.clear()

    def remove(self, connection: asyncio.Transport) -> None:
        """A connection is over."""
        self._open.discard(connection)
        if not self._open:
            self._all_closed.set()

    def send_close(self, sending: Coroutine[Any, Any, Any]) -> None:
        """Send a close frame in a task; ``close`` waits for it."""
        task = self.loop.create_task(sending)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Return when every connection is over; those that linger too long are cut off."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * LINGER_SECONDS):
                await self._all_closed.wait()
        for connection in list(self._open):
            connection.abort()
        await asyncio.gather(*self._closing, return_exceptions=True)


class ClientTransport(asyncio.Protocol, asyncio.Transport):
    """The connection of one client."""

    __slots__ = (
        "_handler",
        "_is_paused",
        "_is_suspended",
        "_state",
        "_timer",
        "_timer_at",
        "_transport",
        "_watch",
    )

    _transport: asyncio.Transport  # from `connection_made` on

    def __init__(self, handler: asyncio.Protocol, state: ListenerState) -> None:
        super().__init__()
        self._handler = handler
        self._state = state
        self._watch: HttpWatch | WebSocketWatch | LingeringClose = HttpWatch(
            self, state.limits, state.largest, state.loop.time()
        )
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        self._is_paused = False  # by aiohttp
        self._is_suspended = False  # by the receive budget

    # For the listener

    def head_received(self, request: web.BaseRequest) -> None:
        """The head of a request has come."""
        if isinstance(self._watch, HttpWatch):
            self._watch.head_received(request, self._state.loop.time())

    def answered(self) -> bool:
        """The answer is made. Returns whether the request was too slow to go on after it."""
        watch, now = self._watch, self._state.loop.time()
        if isinstance(watch, WebSocketWatch) and not watch.ws.prepared:
            # No handshake: requests may follow.
            self._watch = watch = HttpWatch(self, self._state.limits, self._state.largest, now)
            self.schedule()
        elif isinstance(watch, HttpWatch):
            watch.answered(now)
            return watch.is_late
        return False

    def refused(self, status: int, reason: str) -> None:
        """A request was refused before the application saw it."""
        if self._state.refusal_log is not None:
            self._state.refusal_log.refused(status, reason)

    def begin_frames(self, ws: web.WebSocketResponse) -> None:
        """Frames come from now on. Raises ``InvalidRequest`` if one has come already."""
        if isinstance(self._watch, HttpWatch):
            if not self._watch.has_only_head:
                raise InvalidRequest("Nothing may be sent before the handshake is answered.")
            now, largest = self._state.loop.time(), self._state.largest
            self._watch = WebSocketWatch(self, self._state.limits, ws, now, largest)
            self.schedule()

    def message_parsed(self) -> None:
        """A WebSocket's last message was parsed."""
        if isinstance(self._watch, WebSocketWatch):
            self._watch.message_parsed()

    # For the loop: a protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by name
        self._state.add(self)
        self.schedule()
        self._handler.connection_made(self)

    def data_received(self, data: bytes) -> None:
        """Bytes have come: the watch gets them first."""
        if data := self._watch.receive(data, self._state.loop.time()):
            self._handler.data_received(data)

    def eof_received(self) -> None:
        """The client sends no more: it is gone, and the loop closes the transport."""
        self._handler.eof_received()
        self._begin_close(lingers=False)

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is over."""
        closing = self._begin_close(lingers=False)  # a write from now on would raise in uvloop
        if self._timer:
            self._timer.cancel()
        self._state.remove(self)
        self._handler.connection_lost(error)
        closing.detach()

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._handler.resume_writing()

    # For aiohttp: a transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send. After the end nothing is sent."""
        watch = self._watch
        if type(watch) is not LingeringClose:
            self._transport.write(data)
            if type(watch) is HttpWatch:
                watch.record_written(len(data), self._state.loop.time())

    def writelines(self, pieces: Any) -> None:
        """Send."""
        self.write(b"".join(pieces))

    def close(self) -> None:
        """End the connection. The client reads why, even if it is sending."""
        self._begin_close(lingers=self._watch.is_unfinished)

    def abort(self) -> None:
        """End the connection; what is unsent is dropped."""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether nothing more can be sent."""
        return type(self._watch) is LingeringClose or self._transport.is_closing()

    def pause_reading(self) -> None:
        """Read nothing more for the handler."""
        if type(self._watch) is not LingeringClose:
            self._is_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on for the handler."""
        self._is_paused = False
        self._resume_reading()

    def is_reading(self) -> bool:
        """Whether what comes is read."""
        return self._transport.is_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See the socket's own transport."""
        return self._transport.get_extra_info(name, default)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The handler that gets what is received."""
        return self._handler

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set from how many unsent bytes on writers wait."""
        if not self._transport.is_closing():
            self._transport.set_write_buffer_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Down to and from how many unsent bytes on writers wait."""
        return self._transport.get_write_buffer_limits()

    def get_write_buffer_size(self) -> int:
        """How many bytes are unsent."""
        return self._transport.get_write_buffer_size()

    def can_write_eof(self) -> bool:
        """Whether this side can end its sending alone."""
        return self._transport.can_write_eof()

    def write_eof(self) -> None:
        """End the sending of this side."""
        self._transport.write_eof()

    @property
    def _sendfile_compatible(self) -> NoReturn:
        """The stock loop asks this before it sends a file past its transport, which it may not."""
        raise NotImplementedError

    # For the receive budget: a sender

    @property
    def remaining(self) -> int:
        """Bytes of the present message or body that are still to come."""
        return self._watch.remaining

    def suspend(self) -> None:
        """Read nothing until ``resume``."""
        self._is_suspended = True
        self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        self._is_suspended = False
        self._resume_reading()

    # For the watch

    def schedule(self) -> None:
        """Set the timer for when the watch is due. One that fires too early is set again then."""
        due = self._watch.due
        if due < self._timer_at:
            if self._timer:
                self._timer.cancel()
            self._timer = self._state.loop.call_at(due, self._on_timer)
            self._timer_at = due

    def record_received(self, count: int) -> None:
        """Count a message or body of which so many bytes are here; 0 when it is complete."""
        if count:
            self._state.receiving.record(self, count)
        else:
            self._state.receiving.discard(self)

    def close_websocket(self, ws: web.WebSocketResponse, frame: CloseFrame) -> None:
        """End the WebSocket with a close frame, behind all that was sent before."""
        log.info("client_cut code=%d reason=%s", frame.code, frame.reason)
        if ws.prepared:
            message = frame.reason.encode()
            self._state.send_close(ws.close(code=frame.code, message=message, drain=False))
        else:
            self.abort()

    def is_reading_paused(self) -> bool:
        """Whether this side reads nothing at present."""
        return self._is_suspended or self._is_paused

    def unsent(self) -> int:
        """Bytes that wait for the client to read."""
        return self._transport.get_write_buffer_size()

    def close_socket(self, *, at_once: bool) -> None:
        """Close the socket itself; ``at_once`` drops what is unsent."""
        if at_once:
            self._transport.abort()
        else:
            self._transport.close()

    def _on_timer(self) -> None:
        now = self._state.loop.time()
        is_late = now - self._timer_at > STALL_SECONDS
        self._timer, self._timer_at = None, inf
        if self._watch.due > now:
            self.schedule()
        elif is_late:
            self._timer_at = now + LINGER_SECONDS
            self._timer = self._state.loop.call_at(self._timer_at, self._on_timer)
        else:
            self._watch.on_timer(now)

    def _begin_close(self, *, lingers: bool) -> LingeringClose:
        watch, now = self._watch, self._state.loop.time()
        if isinstance(watch, LingeringClose):
            return watch
        is_ending = isinstance(watch, WebSocketWatch) and watch.is_ending
        frames = watch.frames if isinstance(watch, WebSocketWatch) and not is_ending else None
        seconds = 0.0 if is_ending else self._state.limits.unread_seconds
        self._watch = closing = LingeringClose(self, now, frames=frames, seconds=seconds)
        self._state.receiving.discard(self)
        if not lingers or self._transport.is_closing():
            closing.close_socket(now)
            return closing
        self._is_paused = self._is_suspended = False
        self._resume_reading()
        if isinstance(watch, HttpWatch) and self._transport.can_write_eof():
            self._transport.write_eof()  # some clients read an answer up to its end
        self.schedule()
        return closing

    def _resume_reading(self) -> None:
        if not (self._is_paused or self._is_suspended or self._transport.is_closing()):
            self._transport.resume_reading()
