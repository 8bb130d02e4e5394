"""What is watched on a client's connection: first HTTP, then perhaps a WebSocket, last its end.

Rule 1: a watch keeps no time and owns no socket. Each call has the bytes and the time, ``due`` is
when it is to be called, and it asks its ``WatchedTransport`` for the rest.
Rule 2: any client that takes no byte of what waits for it is cut off, whatever it asked for. One
that takes a byte now and then is slow, and may be.
Rule 3: the size and the form of a WebSocket message are checked by aiohttp and by ``Connection``.
Rule 4: after the end on this side, what the client still sends is read and dropped for a moment:
bytes left unread turn the end into a reset, which throws away the close frame or the refusal.
"""

from __future__ import annotations

import logging
from enum import Enum
from math import inf
from typing import Protocol

from aiohttp import StreamReader, web

from ws_bridge.config import Limits
from ws_bridge.errors import MESSAGE_TOO_SLOW, SILENT_CLIENT, CloseFrame, RequestTimeout
from ws_bridge.server.transport.frame_scanner import FrameScanner
from ws_bridge.server.transport.frame_splitter import FrameSplitter

log = logging.getLogger(__name__)

BYTES_PER_SECOND = 512 * 1024  # a message or body may take a second longer for so many bytes
LINGER_SECONDS = 1.0  # for a client to read why its connection ends
CHECKS = 3  # in the time that a client has to read: it gets a third more than that at most

# aiohttp lists the reads of a frame: tiny ones cost 28 times their size (aio-libs/aiohttp#13350),
# so they are joined first.
TINY = 512
JOINED = 4096


class WatchedTransport(Protocol):
    """What a watch may ask of its connection."""

    def schedule(self) -> None:
        """Read ``due`` again: it may have come nearer."""
        ...

    def record_received(self, count: int) -> None:
        """Count a message or body of which so many bytes are here; 0 when it is complete."""
        ...

    def close_websocket(self, ws: web.WebSocketResponse, frame: CloseFrame) -> None:
        """End the WebSocket with a close frame."""
        ...

    def is_reading_paused(self) -> bool:
        """Whether this side reads nothing at present."""
        ...

    def unsent(self) -> int:
        """Bytes that wait for the client to read."""
        ...

    def close(self) -> None:
        """End the connection, its last bytes sent."""
        ...

    def close_socket(self, *, at_once: bool) -> None:
        """Close the socket itself; ``at_once`` drops what is unsent."""
        ...


class Phase(Enum):
    """Where an HTTP connection stands between one request and the next."""

    HEAD = "a request's head is awaited"
    BODY = "a request's body is awaited"
    ANSWER = "a complete request is being answered"
    IDLE = "no request is open; aiohttp limits how long"


class HttpWatch:
    """HTTP: heads and bodies come in time, and answers are read."""

    def __init__(
        self, transport: WatchedTransport, limits: Limits, largest: int, now: float
    ) -> None:
        self._transport = transport
        self._limits = limits
        self._largest = largest
        self._phase = Phase.HEAD
        self._since = self._now = now
        # The head as it comes: a WebSocket's frames must not begin before its answer.
        self._head = bytearray()
        self._next = bytearray()  # what comes before the present request's answer is whole
        self._body: StreamReader | None = None
        self._length = self._received = 0
        self._is_answered = self._is_late = False
        self._written = self._sent = 0  # bytes of answers; those that had left at the last check
        self._sent_at = now
        self._check_at = inf

    @property
    def due(self) -> float:
        """When a head or a body is too slow, or when to check whether the client reads."""
        return min(self._slow_at, self._check_at)

    @property
    def _slow_at(self) -> float:
        if self._phase is Phase.HEAD:
            return self._since + self._limits.head_seconds
        if self._phase is Phase.BODY:
            more = self._received / BYTES_PER_SECOND
            return self._since + self._limits.message_seconds + more
        return inf

    @property
    def remaining(self) -> int:
        """Bytes of the body that are still to come."""
        return max(0, self._length - self._received)

    @property
    def is_unfinished(self) -> bool:
        """Whether the client may still be sending."""
        if self._phase is Phase.HEAD:
            return bool(self._head)
        return self._is_late or self._phase is Phase.BODY

    def receive(self, data: bytes, now: float) -> bytes:
        """Count what has come; return what aiohttp gets of it."""
        self._now = now
        if self._is_late:
            return b""
        if self._phase is Phase.IDLE:
            self._head.clear()
            self._begin(Phase.HEAD)
        if self._phase is Phase.HEAD:
            self._head += data
        elif self._phase is Phase.BODY:
            self._received += len(data)
            if not self._is_answered:
                self._transport.record_received(self._received)
        else:
            self._next += data
        return data

    def head_received(self, request: web.BaseRequest, now: float) -> None:
        """A request has its whole head. Its body comes next, if it has one."""
        self._now = now
        self._received, self._length = 0, request.content_length or self._largest
        self._is_answered = False
        self._body = request.content
        if request.content.is_eof():
            self._begin(Phase.ANSWER)
        else:
            self._begin(Phase.BODY)
            request.content.on_eof(self._body_received)

    def _body_received(self) -> None:
        self._transport.record_received(0)
        if self._phase is Phase.BODY and not self._is_late:
            self._begin(Phase.IDLE if self._is_answered else Phase.ANSWER)

    def answered(self, now: float) -> None:
        """The answer is made. The rest of a body that the handler did not read is dropped."""
        self._now = now
        self._is_answered = True
        self._body = None
        self._transport.record_received(0)
        if self._phase is Phase.ANSWER:
            self._head, self._next = self._next, bytearray()
            self._begin(Phase.HEAD if self._head else Phase.IDLE)

    @property
    def is_late(self) -> bool:
        """Whether the body took too long."""
        return self._is_late

    @property
    def has_only_head(self) -> bool:
        """Whether nothing came after the head: what follows are frames from their start."""
        head = self._head.lstrip(b"\r\n")
        return not self._next and head.find(b"\r\n\r\n") == len(head) - 4

    def record_written(self, count: int, now: float) -> None:
        """So many bytes of an answer were written; some may wait for the client."""
        self._written += count
        if self._check_at == inf and (unsent := self._transport.unsent()):
            self._sent, self._sent_at = self._written - unsent, now
            self._schedule_check(now)

    def on_timer(self, now: float) -> None:
        """End a head or a body that is too slow, or an answer that is not read."""
        self._now = now
        if now >= self._check_at:
            self._check_reader(now)
        if now >= self._slow_at:
            self._end_slow()

    def _check_reader(self, now: float) -> None:
        self._check_at = inf
        unsent = self._transport.unsent()
        if not unsent:
            self._transport.schedule()
            return
        if (sent := self._written - unsent) > self._sent:
            self._sent, self._sent_at = sent, now
        if now - self._sent_at >= self._limits.unread_seconds:
            log.info("slow_reader")
            self._transport.close_socket(at_once=True)
        else:
            self._schedule_check(now)

    def _schedule_check(self, now: float) -> None:
        seconds = self._limits.unread_seconds
        self._check_at = min(now + seconds / CHECKS, self._sent_at + seconds)
        self._transport.schedule()

    def _end_slow(self) -> None:
        if self._phase is Phase.HEAD:
            if self._transport.unsent():  # the answer before is still on its way
                self._begin(Phase.HEAD)
            else:
                self._transport.close_socket(at_once=False)
        elif self._transport.is_reading_paused():
            self._begin(Phase.BODY)  # the client waits for this side: its time starts again
        elif self._body is None:
            self._transport.close()
        else:
            self._is_late = True
            self._begin(Phase.ANSWER)
            self._body.set_exception(RequestTimeout())
            self._body.feed_eof()  # or aiohttp would go on waiting for the rest

    def _begin(self, phase: Phase) -> None:
        self._phase = phase
        self._since = self._now
        self._transport.schedule()


class WebSocketWatch:
    """A WebSocket: its messages come in time and in few fragments, and it is never silent.

    A message that came in several reads is being received until it was parsed.
    """

    __slots__ = (
        "_boundaries",
        "_is_ending",
        "_last_received",
        "_limits",
        "_pieces",
        "_since",
        "_splitter",
        "_transport",
        "_unparsed",
        "frames",
        "ws",
    )

    def __init__(
        self,
        transport: WatchedTransport,
        limits: Limits,
        ws: web.WebSocketResponse,
        now: float,
        largest: int,
    ) -> None:
        self.ws = ws
        self.frames = FrameScanner(
            fragments=limits.message_fragments, controls=limits.control_frames
        )
        self._splitter = FrameSplitter(largest)
        self._transport = transport
        self._limits = limits
        self._last_received = now
        self._since = inf  # when the message began that is half received
        self._boundaries = 0
        self._pieces = b""  # tiny reads, joined
        self._is_ending = False
        self._unparsed = 0  # bytes of complete messages that came in several reads

    @property
    def due(self) -> float:
        """When a message is too slow, or the client too long silent."""
        if self._is_ending:
            return self._last_received + LINGER_SECONDS
        more = self.frames.received / BYTES_PER_SECOND
        slow = self._since + self._limits.message_seconds + more
        return min(slow, self._last_received + self._limits.silent_seconds)

    @property
    def remaining(self) -> int:
        """Bytes of the present frame that are still to come."""
        return self.frames.remaining

    @property
    def is_unfinished(self) -> bool:
        """Whether the client may still be sending: it has not closed."""
        return not self.frames.is_closed

    @property
    def is_ending(self) -> bool:
        """Whether the close frame of a violation was sent."""
        return self._is_ending

    def receive(self, data: bytes, now: float) -> bytes:
        """Measure what has come; return what aiohttp gets of it."""
        if self._is_ending:
            return b""
        self._last_received = now
        frames = self.frames
        if frames.is_whole(data):  # nearly always
            return data
        before, received, boundaries = frames.remaining, frames.received, frames.boundaries
        if violation := frames.scan(data, now):
            self._end(violation)
            return b""
        if received and frames.boundaries != boundaries:
            self._unparsed += received + len(data)
        if frames.is_at_boundary:
            if self._since != inf:
                self._since = inf
                self._transport.record_received(self._unparsed)
        else:
            self._receive_part(now)
        is_payload = frames.remaining and before - frames.remaining == len(data)
        if is_payload and len(data) < TINY and len(self._pieces) < JOINED:
            self._pieces += data
            return b""
        if self._pieces:
            data, self._pieces = self._pieces + data, b""
        return self._splitter.split(data)

    def _receive_part(self, now: float) -> None:
        if self._since == inf or self._boundaries != self.frames.boundaries:
            self._since, self._boundaries = now, self.frames.boundaries
            self._transport.schedule()
        self._transport.record_received(self._unparsed + self.frames.received)

    def message_parsed(self) -> None:
        """What came complete is text no more."""
        if self._unparsed and not self._is_ending:
            self._unparsed = 0
            self._transport.record_received(self.frames.received)

    def on_timer(self, now: float) -> None:
        """End a client that is too slow or silent; close the socket of one whose end is over."""
        if self._is_ending:
            self._transport.close_socket(at_once=self._transport.unsent() > 0)
        elif self._transport.is_reading_paused():
            self._last_received = now  # the client waits for this side: its times start again
            self._since = now if self._since != inf else inf
            self._transport.schedule()
        else:
            is_silent = now >= self._last_received + self._limits.silent_seconds
            self._last_received = now
            self._end(SILENT_CLIENT if is_silent else MESSAGE_TOO_SLOW)

    def _end(self, frame: CloseFrame) -> None:
        self._is_ending = True
        self._pieces = b""
        self._transport.record_received(0)
        self._transport.close_websocket(self.ws, frame)
        self._transport.schedule()


class LingeringClose:
    """A connection that is closed on this side. A client that reads gets what is unsent."""

    remaining = 0
    is_unfinished = False

    def __init__(
        self,
        transport: WatchedTransport,
        now: float,
        *,
        frames: FrameScanner | None,
        seconds: float,
    ) -> None:
        self._transport = transport
        self._frames = frames
        self._seconds = seconds  # what is unsent must get less in so many
        self._is_socket_closed = False
        self._unsent = 0
        self._due = now + LINGER_SECONDS

    @property
    def due(self) -> float:
        """When the client has had time enough to read the last bytes."""
        return self._due

    def receive(self, data: bytes, now: float) -> bytes:
        """Drop it; after the client's close frame nothing more comes."""
        if self._frames and (self._frames.scan(data, now) or self._frames.is_closed):
            self._frames = None
            self.close_socket(now)
        return b""

    def close_socket(self, now: float) -> None:
        """Close the socket; watch that what is unsent gets less."""
        if not self._is_socket_closed:
            self._is_socket_closed = True
            self._unsent = self._transport.unsent()
            self._due = now + self._seconds
            self._transport.close_socket(at_once=False)
            self._transport.schedule()

    def on_timer(self, now: float) -> None:
        """Close the socket, or cut off a client that reads no more."""
        if not self._is_socket_closed:
            self.close_socket(now)
        elif (unsent := self._transport.unsent()) < self._unsent:
            self._unsent, self._due = unsent, now + self._seconds
            self._transport.schedule()
        else:
            self._transport.close_socket(at_once=True)

    def detach(self) -> None:
        """The socket is gone. This is used no more."""
        del self._transport  # or the two would keep each other alive until the next collection
