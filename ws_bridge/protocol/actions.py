"""A connection's decisions, as values: the socket carries them out in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ws_bridge.errors import CloseFrame
from ws_bridge.protocol.events import Draft
from ws_bridge.protocol.history import Turn
from ws_bridge.protocol.json_limits import USUAL, JsonLimits
from ws_bridge.protocol.references import Made
from ws_bridge.protocol.request import CreateResponse
from ws_bridge.protocol.steering import Steer
from ws_bridge.types import Json


@dataclass(frozen=True, slots=True)
class StartResponse:
    """Start a response on a lane; report ``response_created`` and ``response_ended``."""

    request: CreateResponse
    lane: str | None
    parent: Turn | None = None
    steers: tuple[Steer, ...] = ()  # they are committed with its `response.created`
    is_successor: bool = False  # started by the bridge itself, for accepted steers
    size: int = 0  # bytes of memory that it takes
    known: Mapping[str, Made] = field(default_factory=dict)  # items that its input names


@dataclass(frozen=True, slots=True)
class StopResponse:
    """End the running response of a lane: ``cancel`` or ``interrupt``."""

    lane: str | None
    how: str


@dataclass(frozen=True, slots=True)
class AcceptSteer:
    """Publish that a steer was accepted; end the lane's running response at an item's end."""

    lane: str | None
    steer: Steer


@dataclass(frozen=True, slots=True)
class PublishDraft:
    """Publish an event of the lane's running response."""

    lane: str | None
    draft: Draft


@dataclass(frozen=True, slots=True)
class SendFrame:
    """Send a frame that belongs to no response."""

    frame: Json


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """Close the connection: the client keeps sending what is refused."""

    frame: CloseFrame


Action = StartResponse | StopResponse | AcceptSteer | PublishDraft | SendFrame | CloseConnection


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The numbers (docs/protocol.md §5)."""

    running: int = 16
    lanes: int = 32
    queued: int = 64
    queued_bytes: int = 8 * 2**20
    cached_turns: int = 256
    steers: int = 16  # that wait for one response's end
    bad_frames: int = 20  # in a row, before the connection is closed
    json_limits: JsonLimits = USUAL
    default_model: str | None = None


@dataclass(frozen=True, slots=True)
class QueuedCreate:
    """A create, or its refusal, in the queue."""

    lane: str | None
    action: StartResponse | SendFrame
    size: int
    parent_id: Any = None  # a refused continuation evicts this parent, if it is an id
