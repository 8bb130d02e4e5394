"""Random interleavings of everything that can happen on one connection."""

from collections import defaultdict, deque
from typing import Any

import orjson
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ws_bridge.errors import ServerDraining
from ws_bridge.protocol.connection import Action, Connection, Rules, Say, Start, Stop
from ws_bridge.protocol.history import Turn

RULES = Rules(running=2, lanes=3, queued=3, cached_turns=2)
LANES = st.sampled_from([None, "a", "b", "c", "d"])


class Interleavings(RuleBasedStateMachine):
    """Every create is answered once, in order on its lane, and never more run than may."""

    def __init__(self) -> None:
        super().__init__()
        self.connection = Connection(RULES)
        self.sent = 0
        self.lanes: set[str | None] = {None}
        self.open: dict[str | None, deque[tuple[str, bool]]] = defaultdict(deque)
        self.running: dict[str | None, Start] = {}
        self.is_closing = False

    @rule(lane=LANES, good=st.booleans(), parent=st.integers(0, 8))
    def create(self, lane: str | None, good: bool, parent: int) -> None:
        self.sent += 1
        fields: dict[str, Any] = {"model": "m", "input": str(self.sent)}
        fields |= {} if lane is None else {"stream_id": lane}
        fields |= {} if good else {"temperature": "hot"}
        fields |= {"previous_response_id": f"resp_{parent}"} if parent else {}
        text = orjson.dumps({"type": "response.create", **fields})
        waiting = sum(map(len, self.open.values())) - len(self.running)
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
    @rule(data=st.data(), failed=st.booleans())
    def end(self, data: st.DataObject, failed: bool) -> None:
        lane = data.draw(st.sampled_from(sorted(self.running, key=str)))
        self._end(lane, failed=failed)

    @rule(lane=LANES, kind=st.sampled_from(["cancel", "interrupt"]))
    def stop(self, lane: str | None, kind: str) -> None:
        frame = {"type": f"response.{kind}", "stream_id": lane}
        actions = self.connection.receive(orjson.dumps(frame))
        assert actions == ([Stop(lane, kind)] if lane in self.running else [])

    @rule(text=st.sampled_from(["", "[]", "{}", '{"type":"x"}', '{"type":"response.create"']))
    def babble(self, text: str) -> None:
        (say,) = self.connection.receive(text)
        assert isinstance(say, Say)
        assert say.frame["status"] == 400

    @precondition(lambda self: not self.is_closing and self.sent > 20)  # late: there is more before
    @rule()
    def close(self) -> None:
        self.is_closing = True
        for lane, creates in self.open.items():
            for place in range(int(lane in self.running), len(creates)):
                creates[place] = (creates[place][0], False)
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
            self._end(next(iter(self.running)), failed=False)
        assert not any(self.open.values())
        assert self.connection.is_idle

    def _end(self, lane: str | None, *, failed: bool) -> None:
        start = self.running.pop(lane)
        number, _ = self.open[lane].popleft()
        if not failed:
            turn = Turn(f"resp_{number}", start.request.items(), (), "openai|", start.parent)
            self.connection.finished(lane, turn)
        self._do(self.connection.ended(start, failed=failed))

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Start):
                assert action.lane not in self.running
                assert self.open[action.lane][0] == (action.request.input, True)
                self.running[action.lane] = action
            else:
                assert isinstance(action, Say)
                lane = action.frame.get("stream_id")
                assert lane not in self.running
                assert self.open[lane].popleft()[1] is False

    @staticmethod
    def _refused_at_once(actions: list[Action]) -> str:
        for action in actions:
            if isinstance(action, Say) and action.frame["error"]["code"] in (
                "websocket_stream_limit_reached",
                "rate_limit_exceeded",
            ):
                return str(action.frame["error"]["code"])
        return ""


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(deadline=None, max_examples=150, stateful_step_count=40)
