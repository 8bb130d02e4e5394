"""One client connection's rules: which frame may come when, per lane. Pure: it returns actions.

Rule 1: a lane is strict FIFO; lanes run side by side; so many run at once, so many may wait.
Rule 2: every create gets exactly one answer: its response, or one error, in its turn on its lane.
Only what may not even wait (no lane, no room, no time left) is refused at once.
Rule 3: a bad frame is answered once and changes nothing else; the connection lives on, unless so
many come in a row that nothing else is to be expected. A create is never bad: it has its turn.
Rule 4: accepted steers start a successor at the response's end, before the lane's queue.
Rule 5: a finished turn can be continued on this connection; a continuation that fails takes its
parent with it on that lane, a failed fork from another lane does not (docs/protocol.md §6.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ws_bridge.errors import (
    TOO_MANY_BAD_FRAMES,
    BridgeError,
    InvalidRequest,
    RateLimited,
    StreamLimitReached,
)
from ws_bridge.protocol import steering
from ws_bridge.protocol.actions import (
    AcceptSteer,
    Action,
    CloseConnection,
    ConnectionLimits,
    PublishDraft,
    QueuedCreate,
    SendFrame,
    StartResponse,
    StopResponse,
)
from ws_bridge.protocol.client_frames import (
    CANCEL,
    CREATE,
    INTERRUPT,
    PROCESSED,
    STEER,
    ClientFrame,
    read_frame,
)
from ws_bridge.protocol.events import Draft
from ws_bridge.protocol.history import Turn
from ws_bridge.protocol.request import CreateResponse, flat, parse_stream_id
from ws_bridge.protocol.steering import Steer, SteerQueue, SteerRefused
from ws_bridge.protocol.turn_cache import ConnectionTurns, TurnCache
from ws_bridge.types import Json

SUCCESSOR_FAILED = "successor_creation_failed"


class Connection:
    """The state of one connection. Give it frames and ends; carry out the actions in order."""

    def __init__(
        self, rules: ConnectionLimits, cache: TurnCache | None = None, owner: str = ""
    ) -> None:
        self.rules = rules
        self._named: frozenset[str] = frozenset()
        self._running: dict[str | None, str | None] = {}  # lane → response id, once it has one
        self._queue: list[QueuedCreate] = []
        self._turns = ConnectionTurns(rules.cached_turns, cache, owner)
        self._starts: dict[str | None, StartResponse] = {}  # lane → what runs there
        self._steers = SteerQueue(rules.steers, rules.queued_bytes)
        self._ended: dict[str, tuple[str | None, int]] = {}  # ended → its lane, the last number
        self._closed_by: BridgeError | None = None
        self._bad_in_a_row = 0

    # What the client sends

    def receive(self, text: str | bytes) -> list[Action]:
        """The actions that a text frame causes."""
        return self.apply(read_frame(text, self.rules))

    def apply(self, message: ClientFrame) -> list[Action]:
        """The actions that a parsed text frame causes."""
        try:
            if message.error is not None:
                raise message.error
            actions = FRAMES[message.frame["type"]](self, message)
        except BridgeError as error:
            return self.refuse_frame(error.without_traceback())  # which holds the frame
        self._bad_in_a_row = 0
        return actions

    def refuse_frame(self, error: BridgeError) -> list[Action]:
        """The actions for an invalid frame: its error, and the close after too many in a row."""
        self._bad_in_a_row += 1
        over = self._bad_in_a_row >= self.rules.bad_frames
        return [
            SendFrame(error.frame()),
            *([CloseConnection(TOO_MANY_BAD_FRAMES)] if over else []),
        ]

    def _create(self, message: ClientFrame) -> list[Action]:
        try:
            lane = self._lane(message.frame)
        except StreamLimitReached as reached:
            return [SendFrame(reached.frame(message.frame["stream_id"]))]
        if self._must_wait(lane) and self._has_no_room(message.size):
            error = RateLimited("Too many creates are waiting on this connection.")
            return [SendFrame(error.frame(lane))]
        self._queue.append(self._queued_create(message, lane))
        return self.refuse(self._closed_by) if self._closed_by else list(self._take_ready())

    def _must_wait(self, lane: str | None) -> bool:
        return lane in self._running or len(self._running) >= self.rules.running

    def _has_no_room(self, size: int) -> bool:
        """Whether one more may not wait; a single large one may, or it never could."""
        waiting = sum(waits.size for waits in self._queue)
        too_large = bool(self._queue) and waiting + size > self.rules.queued_bytes
        return too_large or len(self._queue) >= self.rules.queued

    def _lane(self, frame: Json) -> str | None:
        lane = parse_stream_id(frame)
        if lane is None or lane in self._named:
            return lane
        if len(self._named) >= self.rules.lanes:
            raise StreamLimitReached(self.rules.lanes)
        self._named |= {lane}
        return lane

    def _queued_create(self, message: ClientFrame, lane: str | None) -> QueuedCreate:
        parent_id = flat(message.frame).get("previous_response_id")
        request, size = message.create, message.size
        if not isinstance(request, CreateResponse):
            return QueuedCreate(lane, SendFrame(request.frame(lane)), size, parent_id)
        # A fork's parent is pinned now, whatever its own lane does next; on the same lane what
        # goes before may still take it away.
        is_home = self._turns.is_on_lane(parent_id, lane)
        parent = None if is_home else self.cached(parent_id)
        start = StartResponse(request, lane, parent, size=message.weight)
        return QueuedCreate(lane, start, size)

    def _stop(self, message: ClientFrame, how: str) -> list[Action]:
        frame = message.frame
        lane, response_id = parse_stream_id(frame), frame.get("response_id")
        if response_id is not None and not isinstance(response_id, str):
            raise InvalidRequest("'response_id' must be a string.", param="response_id")
        if response_id is None:
            return [StopResponse(lane, how)] if lane in self._running else []
        return [StopResponse(lane, how) for lane in self._lanes_of(response_id)]

    def _lanes_of(self, response_id: object) -> list[str | None]:
        """The lane on which the response runs, if it does."""
        known = self._running.items()
        return [lane for lane, running in known if running is not None and running == response_id]

    def _steer(self, message: ClientFrame) -> list[Action]:
        frame, size = message.frame, message.size
        target = frame.get("previous_response_id")
        lanes = self._lanes_of(target)
        try:
            steer = steering.read_steer(frame, size)
            self._check_steer(steer, lanes)
            self._steers.add(steer)
        except SteerRefused as refused:
            draft = steering.failed(refused.code, target, frame.get("input"), message=str(refused))
            return [
                PublishDraft(lanes[0], draft) if lanes else self._event_after_end(target, draft)
            ]
        return [AcceptSteer(lanes[0], steer)]

    def _check_steer(self, steer: Steer, lanes: list[str | None]) -> None:
        known = self.cached(steer.target)
        if known or not lanes:  # known: its end was published
            raise SteerRefused("response_already_completed" if known else "response_not_found")
        if not steering.can_steer(self._starts[lanes[0]].request):
            raise SteerRefused("steering_not_supported")
        if self._closed_by:  # the answer need not be cut short for nothing
            raise SteerRefused(SUCCESSOR_FAILED)

    def _event_after_end(self, response_id: object, draft: Draft) -> SendFrame:
        """A steer event about a response that has ended, or is unknown here."""
        known = response_id if isinstance(response_id, str) else ""
        lane, last = self._ended.get(known, (None, -1))
        if known in self._ended:
            self._ended[known] = (lane, last + 1)
        named = {} if lane is None else {"stream_id": lane}
        return SendFrame({"type": draft.type, "sequence_number": last + 1, **named, **draft.fields})

    # How it went

    def response_created(self, lane: str | None, response_id: str) -> None:
        """The lane's create has this response."""
        self._running[lane] = response_id

    def keep_turn(self, lane: str | None, turn: Turn | None) -> None:
        """Keep the turn of a response before its terminal event: creates can continue it."""
        if turn is None:
            return
        self._turns.keep(lane, turn)
        self._drop(self._turns.surplus(self._steers.targets()))

    def response_ended(self, start: StartResponse, *, failed: bool, last: int = -1) -> list[Action]:
        """The lane's create is answered to its end; the creates that may start now are returned.

        ``last`` is the number of the response's last event; -1: it had no event.
        """
        response_id = self._running.pop(start.lane, None)
        self._starts.pop(start.lane, None)
        # Without `response.created`, what it brought is not committed.
        actions = self._return_steers(start.steers, SUCCESSOR_FAILED) if last < 0 else []
        if failed and not start.is_successor:  # what comes back can be brought again
            actions += self._evict(start.request.previous_response_id, start.lane)
        for dropped in self._turns.pop_evicted():  # what waited for one has nothing to go on
            actions += self._return_steers(self._steers.take(dropped), SUCCESSOR_FAILED)
            self._ended.pop(dropped, None)
        if response_id is not None:
            self._ended[response_id] = (start.lane, last)
            actions += self._continue_steered(start, response_id)
            if response_id not in self._turns:
                self._drop(response_id)
        return [*actions, *self._take_ready()]

    def _continue_steered(self, start: StartResponse, response_id: str) -> list[Action]:
        """The actions for the steers of a response that has ended."""
        turn = self.cached(response_id)
        if turn is None or self._closed_by:
            code = SUCCESSOR_FAILED if turn else "response_not_active"
            return self._return_steers(self._steers.take(response_id), code)
        if required := list(steering.required_outputs(turn.output)):
            if self._is_continued(response_id, start.lane):
                return []
            drafts = [
                steering.pending(one, required) for one in self._steers.waiting_for(response_id)
            ]
            return [self._event_after_end(response_id, draft) for draft in drafts]
        if steers := self._steers.take(response_id):
            request = steering.successor(start.request, response_id, steers)
            begun = StartResponse(request, start.lane, turn, steers, is_successor=True)
            self._queue.insert(0, QueuedCreate(start.lane, begun, 0))
        return []

    def _return_steers(self, steers: Sequence[Steer], code: str) -> list[Action]:
        """Return steers that can never be committed."""
        return [self._event_after_end(one.target, steering.returned(one, code)) for one in steers]

    def _is_continued(self, response_id: str, lane: str | None) -> bool:
        """Whether a create that continues the response is queued already."""
        starts = [waits.action for waits in self._queue if isinstance(waits.action, StartResponse)]
        wanted = (lane, response_id)
        return any((one.lane, one.request.previous_response_id) == wanted for one in starts)

    def refuse(self, error: BridgeError) -> list[Action]:
        """Start no more responses: queued and later creates get ``error``, each in its turn."""
        self._closed_by = error
        actions: list[Action] = []
        for target in self._steers.targets():
            if not self._lanes_of(target):  # else at its end
                actions += self._return_steers(self._steers.take(target), SUCCESSOR_FAILED)
        self._queue = [replace(one, action=SendFrame(error.frame(one.lane))) for one in self._queue]
        return [*actions, *self._take_ready()]

    def close(self) -> None:
        """Release all turns: the client is gone."""
        self._turns.close()

    @property
    def lanes(self) -> int:
        """How many lanes run or wait now."""
        return len(self._running.keys() | {waits.lane for waits in self._queue})

    @property
    def queued(self) -> int:
        """How many creates wait for their turn."""
        return len(self._queue)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of memory that the creates take that wait."""
        starts = (queued.action for queued in self._queue)
        return sum(start.size for start in starts if isinstance(start, StartResponse))

    # What a chain can go on from

    def cached(self, response_id: str | None) -> Turn | None:
        """A turn of this connection."""
        return self._turns.get(response_id)

    def _evict(self, response_id: Any, lane: str | None) -> list[Action]:
        """Forget a turn of the lane; steers that wait for it are returned."""
        if not self._turns.is_on_lane(response_id, lane):
            return []
        actions = self._return_steers(self._steers.take(response_id), SUCCESSOR_FAILED)
        self._drop(response_id)
        return actions

    def _drop(self, response_id: str) -> None:
        self._turns.drop(response_id)
        self._ended.pop(response_id, None)

    def _take_ready(self) -> Iterator[Action]:
        """Take the creates from the queue that may start now, oldest first; a lane is FIFO."""
        blocked = set(self._running)
        still: list[QueuedCreate] = []
        for waits in self._queue:
            is_full = (
                isinstance(waits.action, StartResponse) and len(self._running) >= self.rules.running
            )
            if waits.lane in blocked or is_full:
                blocked.add(waits.lane)
                still.append(waits)
                continue
            if isinstance(waits.action, StartResponse):
                self._running[waits.lane] = None
                blocked.add(waits.lane)
                self._starts[waits.lane] = start = self._with_parent(waits.action)
                yield start
            else:
                yield waits.action
                yield from self._evict(waits.parent_id, waits.lane)
        self._queue = still

    def _with_parent(self, start: StartResponse) -> StartResponse:
        if start.is_successor:
            return replace(start, known=self._turns.find_items(start.request.referenced))
        parent_id = start.request.previous_response_id or ""
        parent = start.parent or self.cached(parent_id)
        steers = (
            self._steers.take(parent_id) if self._turns.is_on_lane(parent_id, start.lane) else ()
        )
        request = steering.joined(start.request, steers) if steers else start.request
        known = self._turns.find_items(request.referenced)
        return replace(start, request=request, parent=parent, steers=steers, known=known)


FRAMES: dict[str, Callable[[Connection, ClientFrame], list[Action]]] = {
    CREATE: Connection._create,  # noqa: SLF001 - the table of this class
    CANCEL: partial(Connection._stop, how="cancel"),  # noqa: SLF001
    INTERRUPT: partial(Connection._stop, how="interrupt"),  # noqa: SLF001
    STEER: Connection._steer,  # noqa: SLF001
    PROCESSED: lambda *_: [],
}
