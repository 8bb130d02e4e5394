"""One client connection's rules: what may come when, per lane. It decides; it never does.

Rule 1: a lane is strict FIFO; lanes run side by side; so many run at once, so many may wait.
Rule 2: every create gets exactly one answer: its response, or one error, in its turn on its lane.
Only what may not even wait (no lane, no room, no time left) is refused at once.
Rule 3: a bad frame is answered once and changes nothing else; the connection lives on.
Rule 4: a finished turn can be continued on this connection; a continuation that fails takes its
parent with it on that lane, a failed fork from another lane does not (wire contract 4.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import orjson

from ws_bridge.errors import (
    BridgeError,
    InvalidRequest,
    RateLimited,
    StreamLimitReached,
    UnsupportedParameter,
)
from ws_bridge.protocol.history import Turn
from ws_bridge.protocol.request import (
    CreateResponse,
    check_depth,
    parse_create,
    parse_stream_id,
)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Start:
    """Begin a response on a lane; tell ``began`` and ``ended`` about it."""

    request: CreateResponse
    lane: str | None
    parent: Turn | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """End the running response of a lane: ``cancel`` or ``interrupt``."""

    lane: str | None
    how: str


@dataclass(frozen=True, slots=True)
class Say:
    """Send a frame that belongs to no response."""

    frame: Json


Action = Start | Stop | Say


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers (wire contract 4.1.9)."""

    running: int = 16
    lanes: int = 32
    queued: int = 64
    queued_bytes: int = 8 * 2**20
    cached_turns: int = 256
    default_model: str | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A create, or its refusal, that waits for its turn."""

    lane: str | None
    action: Start | Say
    size: int
    parent_id: Any = None  # what a refused continuation takes with it, if it is an id


class Connection:
    """The state of one connection. Feed it frames and ends; do what it returns, in order."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._named: set[str] = set()
        self._running: dict[str | None, str | None] = {}  # lane → response id, once it has one
        self._waiting: list[Waiting] = []
        self._cache: dict[str, tuple[str | None, Turn]] = {}
        self._latest: dict[str | None, str] = {}
        self._closed_by: BridgeError | None = None

    # What the client sends

    def receive(self, text: str | bytes) -> list[Action]:
        """What a text frame leads to."""
        try:
            frame = _parse(text)
            return FRAMES[frame["type"]](self, frame, len(text))
        except BridgeError as error:
            return [Say(error.frame())]

    def _create(self, frame: Json, size: int) -> list[Action]:
        try:
            lane = self._lane(frame)
        except StreamLimitReached as reached:
            return [Say(reached.frame(frame["stream_id"]))]
        if self._must_wait(lane) and self._has_no_room(size):
            error = RateLimited("Too many creates are waiting on this connection.")
            return [Say(error.frame(lane))]
        self._waiting.append(self._read_create(frame, lane, size))
        return self.refuse(self._closed_by) if self._closed_by else list(self._ready())

    def _must_wait(self, lane: str | None) -> bool:
        return lane in self._running or len(self._running) >= self._rules.running

    def _has_no_room(self, size: int) -> bool:
        """Whether one more may not wait; a single large one may, or it never could."""
        waiting = sum(waits.size for waits in self._waiting)
        too_large = bool(self._waiting) and waiting + size > self._rules.queued_bytes
        return too_large or len(self._waiting) >= self._rules.queued

    def _lane(self, frame: Json) -> str | None:
        lane = parse_stream_id(frame)
        if lane is None or lane in self._named:
            return lane
        if len(self._named) >= self._rules.lanes:
            raise StreamLimitReached(self._rules.lanes)
        self._named.add(lane)
        return lane

    def _read_create(self, frame: Json, lane: str | None, size: int) -> Waiting:
        body = _flat(frame)
        parent_id = body.get("previous_response_id")
        try:
            if body.get("background"):
                raise UnsupportedParameter(
                    "'background' is not supported over WebSocket.", param="background"
                )
            request = parse_create(body, self._rules.default_model)
        except BridgeError as error:
            return Waiting(lane, Say(error.frame(lane)), size, parent_id)
        home, parent = self._cache.get(parent_id or "", (lane, None))
        # A fork's parent is pinned now, whatever its own lane does next; on the same lane what
        # goes before may still take it away.
        return Waiting(lane, Start(request, lane, None if home == lane else parent), size)

    def _cancel(self, frame: Json, _size: int) -> list[Action]:
        return self._stop(frame, "cancel")

    def _interrupt(self, frame: Json, _size: int) -> list[Action]:
        return self._stop(frame, "interrupt")

    def _stop(self, frame: Json, how: str) -> list[Action]:
        lane, response_id = parse_stream_id(frame), frame.get("response_id")
        if response_id is not None and not isinstance(response_id, str):
            raise InvalidRequest("'response_id' must be a string.", param="response_id")
        if response_id is None:
            return [Stop(lane, how)] if lane in self._running else []
        return [Stop(lane, how) for lane in self._lanes_of(response_id)]

    def _lanes_of(self, response_id: object) -> list[str | None]:
        """The lane on which the response runs, if it does."""
        known = self._running.items()
        return [lane for lane, running in known if running is not None and running == response_id]

    def _steer(self, frame: Json, _size: int) -> list[Action]:
        check_depth(frame)  # it is handed back
        target = frame.get("previous_response_id")
        steer: Json = {"previous_response_id": target, "input": frame.get("input")}
        error = {
            "type": InvalidRequest.type,
            "code": "steering_not_supported",
            "message": "Steering is not supported for this response.",
        }
        failed = {"type": "response.steer.failed", "sequence_number": 0, "error": error}
        lane = next(iter(self._lanes_of(target)), self._cache.get(str(target), (None, None))[0])
        named = {} if lane is None else {"stream_id": lane}
        return [Say({**failed, "steer": steer, **named})]

    def _ignore(self, _frame: Json, _size: int) -> list[Action]:
        return []

    # What became of it

    def began(self, lane: str | None, response_id: str) -> None:
        """The lane's create has its response."""
        self._running[lane] = response_id

    def finished(self, lane: str | None, turn: Turn | None) -> None:
        """The lane's response is about to say its last: from now on a chain can go on from it."""
        if turn is None:
            return
        self._cache[turn.id] = (lane, turn)
        self._latest[lane] = turn.id
        if len(self._cache) > self._rules.cached_turns:
            latest = set(self._latest.values())
            oldest = next((known for known in self._cache if known not in latest), None)
            self._cache.pop(oldest or "", None)

    def ended(self, start: Start, *, failed: bool) -> list[Action]:
        """The lane's create was answered to the end; what may go next, goes."""
        self._running.pop(start.lane, None)
        if failed:
            self._evict(start.request.previous_response_id, start.lane)
        return list(self._ready())

    def refuse(self, error: BridgeError) -> list[Action]:
        """Start nothing any more: what waits and comes later is told ``error`` in its turn."""
        self._closed_by = error
        self._waiting = [
            replace(waits, action=Say(error.frame(waits.lane))) for waits in self._waiting
        ]
        return list(self._ready())

    @property
    def is_idle(self) -> bool:
        """Nothing runs and nothing waits."""
        return not self._running and not self._waiting

    @property
    def lanes(self) -> int:
        """How many lanes run or wait now."""
        return len(self._running.keys() | {waits.lane for waits in self._waiting})

    # What a chain can go on from

    def cached(self, response_id: str | None) -> Turn | None:
        """A turn of this connection."""
        return self._cache.get(response_id or "", (None, None))[1]

    def _evict(self, response_id: object, lane: str | None) -> None:
        if isinstance(response_id, str) and self._cache.get(response_id, (lane,))[0] == lane:
            self._cache.pop(response_id, None)

    def _ready(self) -> Iterator[Action]:
        """Take from the queue what may go now, oldest first; a lane's first blocks its next."""
        blocked = set(self._running)
        still: list[Waiting] = []
        for waits in self._waiting:
            is_full = isinstance(waits.action, Start) and len(self._running) >= self._rules.running
            if waits.lane in blocked or is_full:
                blocked.add(waits.lane)
                still.append(waits)
                continue
            if isinstance(waits.action, Start):
                self._running[waits.lane] = None
                blocked.add(waits.lane)
                yield self._with_parent(waits.action)
            else:
                self._evict(waits.parent_id, waits.lane)
                yield waits.action
        self._waiting = still

    def _with_parent(self, start: Start) -> Start:
        parent = start.parent or self.cached(start.request.previous_response_id)
        return replace(start, parent=parent)


FRAMES: dict[str, Callable[[Connection, Json, int], list[Action]]] = {
    "response.create": Connection._create,  # noqa: SLF001 - the table of this class
    "response.cancel": Connection._cancel,  # noqa: SLF001
    "response.interrupt": Connection._interrupt,  # noqa: SLF001
    "response.steer": Connection._steer,  # noqa: SLF001
    "response.processed": Connection._ignore,  # noqa: SLF001
}


def _parse(text: str | bytes) -> Json:
    """The frame of a text message. Raises ``InvalidRequest`` for what is none."""
    try:
        frame = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise InvalidRequest("The message is not valid JSON.") from None
    if not isinstance(frame, dict):
        raise InvalidRequest("The message must be a JSON object.")
    kind = frame.get("type")
    if not isinstance(kind, str):
        raise InvalidRequest("Missing required parameter: 'type'.", param="type")
    if kind not in FRAMES:
        raise InvalidRequest(f"Unknown message type '{kind[:100]}'.", param="type")
    return frame


def _flat(frame: Json) -> Json:
    """The create's fields: flat as documented, or nested as early servers took them."""
    nested = frame.get("response")
    if isinstance(nested, dict) and "model" not in frame and "input" not in frame:
        return nested
    return frame
