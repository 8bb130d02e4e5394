"""HTTP on a connection: heads and bodies come in time, and answers are read.

Rule 1: a watch keeps no time and owns no socket: it is told what came and when, it says when it is
due, and asks its ``WatchedTransport`` for the rest.
Rule 2: a client that takes no byte of what waits for it is let go, whatever it asked for and
whoever it is; one that takes a byte now and then is slow, and may be.
"""

from __future__ import annotations

import logging
from enum import Enum
from math import inf

from aiohttp import StreamReader, web

from ws_bridge.config import Limits
from ws_bridge.errors import InvalidRequest
from ws_bridge.server.transport.watch import BYTES_PER_SECOND, WatchedTransport

log = logging.getLogger(__name__)

CHECKS = 3  # in the time that a client has: it gets a third more than that at most


class Phase(Enum):
    """Where a connection stands between one request and the next."""

    HEAD = "a request's head is awaited"
    BODY = "a request's body is awaited"
    ANSWER = "a complete request is being answered"
    IDLE = "nothing is going on; how long is aiohttp's matter"


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
        self._head = (
            bytearray()
        )  # as it comes: a WebSocket's frames must not begin before its answer
        self._next = bytearray()  # what comes before the present request's answer is whole
        self._body: StreamReader | None = None
        self._length = self._received = 0
        self._is_answered = self._is_over = False
        self._written = self._taken = 0  # bytes of answers; those that were gone at the last look
        self._taken_at = now
        self._check_at = inf

    @property
    def due(self) -> float:
        """When a head or a body is too slow, or when to look whether the client reads."""
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
        """Whether the client may be sending still."""
        if self._phase is Phase.HEAD:
            return bool(self._head)
        return self._is_over or self._phase is Phase.BODY

    def receive(self, data: bytes, now: float) -> bytes:
        """Count what has come; what aiohttp is given of it."""
        self._now = now
        if self._is_over:
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
        """A request has a whole head: its body comes next, if it has one."""
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
        if self._phase is Phase.BODY and not self._is_over:
            self._begin(Phase.IDLE if self._is_answered else Phase.ANSWER)

    def answered(self, now: float) -> None:
        """The answer is made; of a body that nobody wanted to read, the rest is thrown away."""
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
        return self._is_over

    @property
    def has_only_head(self) -> bool:
        """Whether nothing came after the head: what follows are frames from their start."""
        head = self._head.lstrip(b"\r\n")
        return not self._next and head.find(b"\r\n\r\n") == len(head) - 4

    def record_written(self, count: int, now: float) -> None:
        """So many bytes of an answer were written; some may wait for the client."""
        self._written += count
        if self._check_at == inf and (unsent := self._transport.unsent()):
            self._taken, self._taken_at = self._written - unsent, now
            self._schedule_check(now)

    def on_timer(self, now: float) -> None:
        """It is too late for a head or for a body, or time to look whether the client reads."""
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
        if (taken := self._written - unsent) > self._taken:
            self._taken, self._taken_at = taken, now
        if now - self._taken_at >= self._limits.unread_seconds:
            log.info("slow_reader")
            self._transport.close_socket(at_once=True)
        else:
            self._schedule_check(now)

    def _schedule_check(self, now: float) -> None:
        seconds = self._limits.unread_seconds
        self._check_at = min(now + seconds / CHECKS, self._taken_at + seconds)
        self._transport.schedule()

    def _end_slow(self) -> None:
        if self._phase is Phase.HEAD:
            if self._transport.unsent():  # the answer before is still on its way
                self._begin(Phase.HEAD)
            else:
                self._transport.close_socket(at_once=False)
        elif (
            self._transport.is_reading_paused()
        ):  # this side does not listen: the client's time begins anew
            self._begin(Phase.BODY)
        elif self._body is None:
            self._transport.close()
        else:
            self._is_over = True
            self._begin(Phase.ANSWER)
            late = InvalidRequest("The request body took too long.", code="request_timeout")
            late.status = 408
            self._body.set_exception(late)
            self._body.feed_eof()  # or aiohttp would go on waiting for the rest

    def _begin(self, phase: Phase) -> None:
        self._phase = phase
        self._since = self._now
        self._transport.schedule()
