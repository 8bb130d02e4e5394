"""Random interleavings of everything that can happen on one connection."""

from collections import defaultdict, deque
from typing import Any

import orjson
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ws_bridge.errors import ServerDraining
from ws_bridge.protocol.actions import (
    AcceptSteer,
    Action,
    CloseConnection,
    ConnectionLimits,
    PublishDraft,
    SendFrame,
    StartResponse,
    StopResponse,
)
from ws_bridge.protocol.connection import Connection
from ws_bridge.protocol.history import Turn
from ws_bridge.protocol.steering import Steer

RULES = ConnectionLimits(running=2, lanes=3, queued=3, cached_turns=2, steers=2)
LANES = st.sampled_from([None, "a", "b", "c", "d"])
CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
# How a response ends: the output a chain can go on from, whether it failed, its last number.
ENDS: dict[str, tuple[tuple[dict[str, Any], ...] | None, bool, int]] = {
    "completed": ((), False, 9),
    "called": ((CALL,), False, 9),
    "cancelled": (None, False, 9),
    "failed": (None, True, 9),
    "refused": (None, True, -1),  # before `response.created`
}


class Interleavings(RuleBasedStateMachine):
    """Every create is answered once, in order on its lane, and never more run than may.

    Every accepted steer is committed by one response of its target's lane, handed back once, or
    waits for the outputs of its target's calls.
    """

    def __init__(self) -> None:
        super().__init__()
        self.connection = Connection(RULES)
        self.sent = 0
        self.lanes: set[str | None] = {None}
        self.open: dict[str | None, deque[tuple[str, bool]]] = defaultdict(deque)  # what waits
        self.running: dict[str | None, StartResponse] = {}
        self.ids: dict[str | None, str] = {}  # lane → what runs there
        self.held: dict[str, tuple[Steer, str | None]] = {}  # accepted; with its lane
        self.called: set[str] = set()  # responses that ended with a call
        self.parents: list[str] = []  # all that began
        self.is_closing = False

    @rule(lane=LANES, good=st.booleans(), data=st.data())
    def create(self, lane: str | None, good: bool, data: st.DataObject) -> None:
        parent = data.draw(st.sampled_from(["", "resp_x", *self.parents[-3:]]))
        self.sent += 1
        fields: dict[str, Any] = {"model": "m", "input": str(self.sent)}
        fields |= {} if lane is None else {"stream_id": lane}
        fields |= {} if good else {"temperature": "hot"}
        fields |= {"previous_response_id": parent} if parent else {}
        text = orjson.dumps({"type": "response.create", **fields})
        waiting = sum(map(len, self.open.values()))
        self.open[lane].append((str(self.sent), good and not self.is_closing))
        actions = self.connection.receive(text)
        if refused := self._refused_at_once(actions):
            assert self.open[lane].pop()[0] == str(self.sent)
            is_one_too_many = lane not in self.lanes and len(self.lanes) == RULES.lanes + 1
            if is_one_too_many:
                assert refused == "websocket_stream_limit_reached"
            else:
                assert (refused, waiting) == ("rate_limit_exceeded", RULES.queued)
                self.lanes.add(lane)
            return
        self.lanes.add(lane)
        self._do(actions)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), how=st.sampled_from(sorted(ENDS)))
    def end(self, data: st.DataObject, how: str) -> None:
        lane = data.draw(st.sampled_from(sorted(self.running, key=str)))
        self._end(lane, how)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), good=st.booleans())
    def steer(self, data: st.DataObject, good: bool) -> None:
        lane = data.draw(st.sampled_from(sorted(self.running, key=str)))
        target = self.ids[lane]
        frame = {"type": "response.steer", "previous_response_id": target, "input": "x"}
        (action,) = self.connection.receive(orjson.dumps(frame if good else frame | {"input": 5}))
        waiting = sum(one.target == target for one, _ in self.held.values())
        if good and waiting < RULES.steers and not self.is_closing:
            assert isinstance(action, AcceptSteer)
            assert action.lane == lane
            self.held[action.steer.id] = (action.steer, lane)
        else:
            assert isinstance(action, PublishDraft)
            assert action.lane == lane
            assert "id" not in action.draft.fields["steer"]

    @rule(number=st.integers(0, 8))
    def steer_what_does_not_run(self, number: int) -> None:
        if f"resp_{number}" in self.ids.values():
            return
        frame = {"type": "response.steer", "previous_response_id": f"resp_{number}", "input": "x"}
        (say,) = self.connection.receive(orjson.dumps(frame))
        assert isinstance(say, SendFrame)
        assert say.frame["type"] == "response.steer.failed"
        assert "id" not in say.frame["steer"]

    @rule(lane=LANES, kind=st.sampled_from(["cancel", "interrupt"]))
    def stop(self, lane: str | None, kind: str) -> None:
        frame = {"type": f"response.{kind}", "stream_id": lane}
        actions = self.connection.receive(orjson.dumps(frame))
        assert actions == ([StopResponse(lane, kind)] if lane in self.running else [])

    @rule(text=st.sampled_from(["", "[]", "{}", '{"type":"x"}', '{"type":"response.create"']))
    def babble(self, text: str) -> None:
        say, *end = self.connection.receive(text)  # the end, if it is one too many in a row
        assert isinstance(say, SendFrame)
        assert all(isinstance(action, CloseConnection) for action in end)
        assert say.frame["status"] == 400

    @precondition(lambda self: not self.is_closing and self.sent > 20)  # late: there is more before
    @rule()
    def close(self) -> None:
        self.is_closing = True
        for lane, creates in self.open.items():
            self.open[lane] = deque((number, False) for number, _ in creates)
        self._do(self.connection.refuse(ServerDraining()))

    @invariant()
    def never_more_run_than_may(self) -> None:
        assert len(self.running) <= RULES.running

    @invariant()
    def nothing_waits_that_could_go(self) -> None:
        if len(self.running) < RULES.running:
            assert all(lane in self.running for lane, creates in self.open.items() if creates)

    def teardown(self) -> None:
        while self.running:
            self._end(next(iter(self.running)), "completed")
        assert not any(self.open.values())
        assert not self.connection.lanes
        assert {one.target for one, _ in self.held.values()} <= self.called
        if self.is_closing:
            assert not self.held

    def _end(self, lane: str | None, how: str) -> None:
        output, failed, last = ENDS[how]
        start, response_id = self.running.pop(lane), self.ids.pop(lane)
        if output is not None:
            turn = Turn(response_id, start.request.items(), output, "openai|", start.parent)
            self.connection.keep_turn(lane, turn)
        if output:
            self.called.add(response_id)
        if last >= 0:
            for steer in start.steers:
                del self.held[steer.id]
        actions = self.connection.response_ended(start, failed=failed, last=last)
        self._do(actions)
        if last < 0:
            assert not {steer.id for steer in start.steers} & self.held.keys()

    def _begin(self, start: StartResponse) -> None:
        lane = start.lane
        assert lane not in self.running
        for steer in start.steers:
            assert self.held[steer.id] == (steer, lane)
            assert start.request.previous_response_id == steer.target
        steered = [item for steer in start.steers for item in steer.items]
        if start.is_successor:
            assert list(start.request.items()) == steered
            assert steered
            response_id = f"resp_after_{start.request.previous_response_id}"
        else:
            number, is_good = self.open[lane].popleft()
            assert is_good
            own = [{"type": "message", "role": "user", "content": number}]
            assert list(start.request.items()) == [*steered, *own]
            response_id = f"resp_{number}"
        self.running[lane] = start
        self.ids[lane] = response_id
        self.parents.append(response_id)
        self.connection.response_created(lane, response_id)

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, StartResponse):
                self._begin(action)
                continue
            assert isinstance(action, SendFrame)
            if action.frame["type"] == "response.steer.failed":
                steer, lane = self.held.pop(action.frame["steer"]["id"])
                assert action.frame["steer"]["previous_response_id"] == steer.target
            elif action.frame["type"] == "response.steer.pending":
                assert action.frame["steer"]["id"] in self.held
            else:
                lane = action.frame.get("stream_id")
                assert lane not in self.running
                assert self.open[lane].popleft()[1] is False

    @staticmethod
    def _refused_at_once(actions: list[Action]) -> str:
        for action in actions:
            said = action.frame.get("error", {}) if isinstance(action, SendFrame) else {}
            if said.get("code") in ("websocket_stream_limit_reached", "rate_limit_exceeded"):
                return str(said["code"])
        return ""


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(deadline=None, max_examples=80, stateful_step_count=40)
