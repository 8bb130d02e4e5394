"""What a job is made of, as frozen values."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from enum import Enum

from ws_bridge.protocol.actions import Start
from ws_bridge.protocol.events import Draft
from ws_bridge.protocol.history import Turn
from ws_bridge.protocol.request import CreateResponse
from ws_bridge.protocol.response import Envelope
from ws_bridge.store.base import Record
from ws_bridge.upstream.base import Target, Tried


class EndReason(Enum):
    """Why a job was stopped from outside."""

    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    STEERED = "steered"  # a successor goes on from here
    SHUTDOWN = "shutdown"
    TAKEN_OVER = "taken over"  # by another server: nothing that is said here counts any more


Drafts = Callable[[Callable[[], bool], Callable[[Tried], None]], AsyncGenerator[Draft, None]]


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a response may be silent towards its readers, in seconds."""

    created_after: float = 2.0  # `created` is said by then, whether the provider answered or not
    keepalive: float = 30.0  # 0 = off


@dataclass(frozen=True, slots=True)
class Create:
    """One create of one client, from any transport."""

    request: CreateResponse
    owner: str
    transport: str  # "websocket", "http", "sse", "background"
    lane: str | None = None
    parent: Turn | None = None  # known to the connection already; else looked up by id
    size: int = 0  # bytes of what was asked

    @classmethod
    def of(cls, start: Start, owner: str) -> Create:
        """A socket's."""
        return cls(start.request, owner, "websocket", start.lane, start.parent, start.size)


@dataclass(frozen=True, slots=True)
class JobSpec:
    """Everything a job is made of."""

    record: Record
    envelope: Envelope
    target: Target
    lane: str | None
    parent: Turn | None
    transport: str
    is_provider_run: bool = False  # in the provider's own background mode

    def answered_by(self, target: Target) -> JobSpec:
        """The plan as it is once it is known who answers."""
        record = replace(self.record, maker=target.maker)
        is_run = self.is_provider_run and target.native_background
        return replace(self, record=record, target=target, is_provider_run=is_run)


def new_response_id() -> str:
    """An id nobody can guess: 192 random bits."""
    return "resp_" + secrets.token_hex(24)
