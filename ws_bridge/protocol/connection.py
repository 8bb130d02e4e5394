"""One client connection's rules: what may come when, per lane. It decides; it never does.

Rule 1: a lane is strict FIFO; lanes run side by side; so many run at once, so many may wait.
Rule 2: every create gets exactly one answer: its response, or one error, in its turn on its lane.
Only what may not even wait (no lane, no room, no time left) is refused at once.
Rule 3: a bad frame is answered once and changes nothing else; the connection lives on.
Rule 4: what was steered goes on by itself at the response's end, before all that waits on the lane.
Rule 5: a finished turn can be continued on this connection; a continuation that fails takes its
parent with it on that lane, a failed fork from another lane does not (wire contract 4.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from ws_bridge.errors import (
    BridgeError,
    InvalidRequest,
    RateLimited,
    StreamLimitReached,
    UnsupportedParameter,
)
from ws_bridge.protocol import steering
from ws_bridge.protocol.actions import Accept, Action, Reply, Rules, Say, Start, Stop, Waiting
from ws_bridge.protocol.events import Draft
from ws_bridge.protocol.history import Turn
from ws_bridge.protocol.request import flat, parse_create, parse_frame, parse_stream_id
from ws_bridge.protocol.steering import Steer

Json = dict[str, Any]


class Connection:
    """The state of one connection. Feed it frames and ends; do what it returns, in order."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._named: set[str] = set()
        self._running: dict[str | None, str | None] = {}  # lane → response id, once it has one
        self._waiting: list[Waiting] = []
        self._cache: dict[str, tuple[str | None, Turn]] = {}
        self._latest: dict[str | None, str] = {}
        self._starts: dict[str | None, Start] = {}  # lane → what runs there
        self._steers: dict[str, list[Steer]] = {}  # response id → accepted, and not committed yet
        self._numbers: dict[str, int] = {}  # response id → the last number said of it, once ended
        self._closed_by: BridgeError | None = None

    # What the client sends

    def receive(self, text: str | bytes) -> list[Action]:
        """What a text frame leads to."""
        try:
            frame = parse_frame(text, FRAMES)
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
        body = flat(frame)
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
        target = frame.get("previous_response_id")
        lane = next(iter(self._lanes_of(target)), None)
        is_running = lane in self._running and self._running[lane] == target
        try:
            steer = steering.read_steer(frame)
            self._check_steer(steer, lane, is_running=is_running)
        except steering.SteerRefused as refused:
            said = steering.failed(refused.code, target, frame.get("input"), message=str(refused))
            return [Reply(lane, said)] if is_running else [self._say_after(target, said)]
        self._steers.setdefault(steer.target, []).append(steer)
        return [Accept(lane, steer)]

    def _check_steer(self, steer: Steer, lane: str | None, *, is_running: bool) -> None:
        if not is_running:
            turn = self.cached(steer.target)
            raise steering.SteerRefused(
                "response_already_completed" if turn else "response_not_found"
            )
        if not steering.may_be_steered(self._starts[lane].request):
            raise steering.SteerRefused("steering_not_supported")
        if len(self._steers.get(steer.target, ())) >= self._rules.steers:
            raise steering.SteerRefused("too_many_pending_steers")

    def _say_after(self, response_id: object, draft: Draft) -> Say:
        """A steer event about a response that has ended, or that nobody knows."""
        number = self._numbers.get(str(response_id), -1) + 1
        if response_id in self._numbers:
            self._numbers[str(response_id)] = number
        lane = self._cache.get(str(response_id), (None, None))[0]
        named = {} if lane is None else {"stream_id": lane}
        return Say({"type": draft.type, "sequence_number": number, **named, **draft.fields})

    def _ignore(self, _frame: Json, _size: int) -> list[Action]:
        return []

    # What became of it

    def began(self, lane: str | None, response_id: str) -> None:
        """The lane's create has its response: steers that it brings are committed."""
        self._running[lane] = response_id
        self._steers.pop(self._starts[lane].request.previous_response_id or "", None)

    def finished(self, lane: str | None, turn: Turn | None) -> None:
        """The lane's response is about to say its last: from now on a chain can go on from it."""
        if turn is None:
            return
        self._cache[turn.id] = (lane, turn)
        self._latest[lane] = turn.id
        if len(self._cache) > self._rules.cached_turns:
            latest = {*self._latest.values(), *self._steers}
            oldest = next((known for known in self._cache if known not in latest), None)
            self._drop(oldest or "")

    def ended(self, start: Start, *, failed: bool, last: int = -1) -> list[Action]:
        """The lane's create was answered to the end; what may go next, goes.

        ``last`` is the number of the response's last event.
        """
        response_id = self._running.pop(start.lane, None)
        self._starts.pop(start.lane, None)
        says: list[Action] = []
        if failed:
            parent_id = start.request.previous_response_id or ""
            says += self._give_back(parent_id, "successor_creation_failed")
            self._evict(parent_id, start.lane)
        if response_id is not None:
            self._numbers[response_id] = last
            says += self._go_on(start, response_id)
            if response_id not in self._cache:
                self._drop(response_id)
        return [*says, *self._ready()]

    def _go_on(self, start: Start, response_id: str) -> Iterator[Action]:
        """What becomes of the steers of a response that has ended."""
        steers, turn = self._steers.get(response_id, []), self.cached(response_id)
        if steers and (turn is None or self._closed_by):
            code = "successor_creation_failed" if turn else "response_not_active"
            yield from self._give_back(response_id, code)
        elif steers and turn is not None:
            owed = list(steering.owed(turn.output))
            if not owed:
                request = steering.successor(start.request, response_id, steers)
                begun = Start(request, start.lane, turn, is_successor=True)
                self._waiting.insert(0, Waiting(start.lane, begun, 0))
            elif not self._is_awaited(response_id, start.lane):
                for steer in steers:
                    yield self._say_after(response_id, steering.pending(steer, owed))

    def _give_back(self, response_id: str, code: str) -> list[Action]:
        """Hand back what was steered, and can never be committed."""
        steers = self._steers.pop(response_id, [])
        return [self._say_after(response_id, steering.returned(one, code)) for one in steers]

    def _is_awaited(self, response_id: str, lane: str | None) -> bool:
        """Whether the create that goes on from a response is here already."""
        actions = (waits.action for waits in self._waiting if waits.lane == lane)
        starts = (action for action in actions if isinstance(action, Start))
        return any(start.request.previous_response_id == response_id for start in starts)

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
            self._drop(response_id)

    def _drop(self, response_id: str) -> None:
        for known in (self._cache, self._numbers, self._steers):
            known.pop(response_id, None)

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
                self._starts[waits.lane] = start = self._with_parent(waits.action)
                yield start
            else:
                self._evict(waits.parent_id, waits.lane)
                yield waits.action
        self._waiting = still

    def _with_parent(self, start: Start) -> Start:
        request = start.request
        parent = start.parent or self.cached(request.previous_response_id)
        steers = self._steers.get(request.previous_response_id or "", [])
        if steers and not start.is_successor and parent is not None:
            request = steering.joined(request, steers)
        return replace(start, request=request, parent=parent)


FRAMES: dict[str, Callable[[Connection, Json, int], list[Action]]] = {
    "response.create": Connection._create,  # noqa: SLF001 - the table of this class
    "response.cancel": Connection._cancel,  # noqa: SLF001
    "response.interrupt": Connection._interrupt,  # noqa: SLF001
    "response.steer": Connection._steer,  # noqa: SLF001
    "response.processed": Connection._ignore,  # noqa: SLF001
}
