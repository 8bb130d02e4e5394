"""One connection's rules: who is answered when, with what, and what a chain can go on from."""

import json
from typing import Any

import orjson
import pytest

from ws_bridge.errors import ConnectionLimitReached, ServerDraining
from ws_bridge.protocol.connection import Action, Connection, Rules, Say, Start, Stop
from ws_bridge.protocol.history import Turn

Json = dict[str, Any]

HELLO = {"type": "message", "role": "user", "content": "hi"}


def frame(kind: str = "response.create", **fields: Any) -> str:
    if kind == "response.create":
        fields = {"model": "m", "input": "hi", **fields}
    return json.dumps({"type": kind, **fields})


def turn(response_id: str, parent: Turn | None = None) -> Turn:
    return Turn(response_id, (HELLO,), (), "openai|", parent)


class Client:
    """A connection with somebody who does what it says."""

    def __init__(self, **rules: Any) -> None:
        self.connection = Connection(Rules(**rules))
        self.running: dict[str | None, Start] = {}

    def create(self, lane: str | None = None, **fields: Any) -> list[Action]:
        named = {} if lane is None else {"stream_id": lane}
        return self.hear(frame(**named, **fields))

    def hear(self, text: str | bytes) -> list[Action]:
        return self._note(self.connection.receive(text))

    def begin(self, lane: str | None = None, response_id: str = "resp_1") -> None:
        self.connection.began(lane, response_id)

    def end(self, lane: str | None = None, response_id: str = "resp_1") -> list[Action]:
        """The lane's response ends well."""
        self.begin(lane, response_id)
        start = self.running.pop(lane)
        self.connection.finished(lane, turn(response_id, start.parent))
        return self._note(self.connection.ended(start, failed=False))

    def fail(self, lane: str | None = None) -> list[Action]:
        return self._note(self.connection.ended(self.running.pop(lane), failed=True))

    def turn(self, lane: str | None = None, response_id: str = "resp_1", **fields: Any) -> Start:
        """A whole turn."""
        (start,) = self.create(lane, **fields)
        assert isinstance(start, Start)
        self.end(lane, response_id)
        return start

    def parent_of(self, lane: str | None = None, response_id: str = "resp_1") -> Turn | None:
        """What a continuation finds on this connection."""
        (start,) = self.create(lane, previous_response_id=response_id)
        assert isinstance(start, Start)
        return start.parent

    def _note(self, actions: list[Action]) -> list[Action]:
        for action in actions:
            if isinstance(action, Start):
                assert action.lane not in self.running
                self.running[action.lane] = action
        return actions


def starts(actions: list[Action]) -> list[str]:
    """The inputs of what was started."""
    assert all(isinstance(action, Start) for action in actions)
    return [str(action.request.input) for action in actions if isinstance(action, Start)]


def said(actions: list[Action]) -> Json:
    (say,) = actions
    assert isinstance(say, Say)
    return say.frame


def refusal(actions: list[Action]) -> Json:
    refused = said(actions)
    assert refused["type"] == "error"
    assert refused["status"] == 400
    assert "sequence_number" not in refused
    assert refused["error"]["code"]
    return refused


# Lanes


def test_a_lane_is_strictly_first_in_first_out():
    client = Client()
    assert starts(client.create(input="1")) == ["1"]
    assert client.create(input="2") == []
    assert client.create(input="3") == []
    assert starts(client.end()) == ["2"]
    assert starts(client.fail()) == ["3"]
    assert client.end() == []


@pytest.mark.parametrize("lanes", [(None, "a"), ("a", None), ("a", "b")])
def test_lanes_run_side_by_side(lanes):
    client = Client()
    for lane in lanes:
        assert len(client.create(lane)) == 1
    assert client.connection.lanes == 2
    assert set(client.running) == set(lanes)


def test_a_null_stream_id_is_the_default_lane():
    client = Client()
    client.create()
    assert client.hear(frame(stream_id=None)) == []


def test_sixteen_run_and_the_seventeenth_waits_whatever_its_lane():
    client = Client()
    for number in range(16):
        assert len(client.create(f"lane_{number}")) == 1
    assert client.create("lane_16", input="17") == []
    assert client.create(input="18") == []
    assert starts(client.end("lane_3")) == ["17"]
    assert starts(client.end("lane_4")) == ["18"]


def test_the_oldest_that_may_go_goes_first():
    client = Client(running=1)
    client.create("a")
    for number, lane in enumerate(("a", "b", "a", "b")):
        client.create(lane, input=str(number))
    order = []
    while client.running:
        (lane,) = client.running
        order += starts(client.end(lane))
    assert order == ["0", "1", "2", "3"]


def test_a_full_connection_never_runs_more_than_it_may():
    client = Client(running=2)
    for lane in ("a", "b", "c", "d"):
        client.create(lane)
    assert list(client.running) == ["a", "b"]
    client.end("b")
    assert list(client.running) == ["a", "c"]


def test_thirty_two_lanes_may_be_named_over_a_connections_life():
    client = Client()
    for number in range(32):
        client.turn(f"lane_{number}", f"resp_{number}")
    refused = refusal(client.create("agent_33"))
    assert refused == {
        "type": "error",
        "status": 400,
        "stream_id": "agent_33",
        "error": {
            "type": "invalid_request_error",
            "code": "websocket_stream_limit_reached",
            "message": "This WebSocket connection has reached its maximum number of distinct "
            "stream IDs (32). Reuse an existing stream_id or open a new WebSocket connection.",
            "param": "stream_id",
        },
    }
    assert len(client.create("lane_0")) == 1
    assert len(client.create()) == 1


@pytest.mark.parametrize("name", ["", "x" * 257, "a b", 5, [], {}])
def test_a_bad_lane_is_refused_without_a_lane(name):
    client = Client()
    assert refusal(client.hear(frame(stream_id=name))) == {
        "type": "error",
        "status": 400,
        "error": {
            "type": "invalid_request_error",
            "code": "invalid_stream_id",
            "message": "The 'stream_id' field must be a non-empty string with at most 256 "
            "characters and may only contain letters, numbers, underscores, hyphens, and periods.",
            "param": "stream_id",
        },
    }
    assert client.connection.is_idle


# How many may wait


def test_of_a_hundred_creates_one_runs_sixty_four_wait_and_the_rest_are_refused():
    client = Client()
    answers = [client.create(input=str(number)) for number in range(100)]
    assert starts(answers[0]) == ["0"]
    assert answers[1:65] == [[]] * 64
    for refused in map(said, answers[65:]):
        assert (refused["status"], refused["error"]["code"]) == (429, "rate_limit_exceeded")
        assert refused["error"]["type"] == "rate_limit_error"
        assert refused["headers"] == refused["error"]["headers"] == {"retry-after": "1"}
    order = ["0"]
    while client.running:
        order += starts(client.end())
    assert order == [str(number) for number in range(65)]


def test_what_waits_has_eight_mebibytes():
    client = Client()
    client.create()
    large = "x" * (3 * 2**20)
    assert client.create(input=large) == client.create(input=large) == []
    assert said(client.create(input=large))["status"] == 429
    assert client.create(input="small") == []
    client.end()
    assert client.create(input=large) == []


def test_one_create_may_wait_however_large_it_is():
    client = Client()
    client.create()
    assert client.create(input="x" * (9 * 2**20)) == []


def test_a_create_that_need_not_wait_is_not_refused_because_others_wait():
    client = Client(queued=1)
    client.create("a")
    client.create("a")
    assert said(client.create("a"))["status"] == 429
    assert len(client.create("b")) == 1


# Refusals in their turn


def test_a_malformed_create_is_refused_with_the_name_of_the_field_and_its_lane():
    refused = refusal(Client().create("main", temperature="hot"))
    assert refused["error"]["param"] == "temperature"
    assert refused["stream_id"] == "main"


def test_a_missing_model_is_named():
    refused = refusal(Client().create(model=None))
    assert refused["error"]["code"] == "missing_required_parameter"
    assert refused["error"]["param"] == "model"
    assert "stream_id" not in refused


def test_the_model_of_the_address_is_the_default():
    (start,) = Client(default_model="d").create(model=None)
    assert isinstance(start, Start)
    assert start.request.model == "d"


def test_a_refusal_waits_for_its_turn_on_its_lane():
    client = Client()
    client.create(input="1")
    assert client.create(temperature="hot") == []
    assert client.create(input="3") == []
    refused, third = client.end()
    assert refusal([refused])["error"]["param"] == "temperature"
    assert starts([third]) == ["3"]


def test_a_refusal_on_a_free_lane_is_said_at_once_even_when_the_connection_is_full():
    client = Client(running=1)
    client.create("a")
    assert refusal(client.create("b", temperature="hot"))["stream_id"] == "b"


def test_a_refusal_does_not_overtake_what_waits_before_it_on_its_lane():
    client = Client(running=1)
    client.create("a")
    assert client.create("b") == client.create("b", temperature="hot") == []
    (start,) = client.end("a")
    assert isinstance(start, Start)
    assert refusal(client.end("b"))["stream_id"] == "b"


@pytest.mark.parametrize("background", [True, "yes", 1])
def test_background_is_refused_on_a_socket(background):
    refused = refusal(Client().create(background=background))
    assert refused["error"]["param"] == "background"
    assert refused["error"]["code"] == "unsupported_parameter"


@pytest.mark.parametrize("fields", [{"background": False}, {"background": None}, {"stream": True}])
def test_what_is_implied_on_a_socket_is_no_matter(fields):
    assert len(Client().create(**fields)) == 1


def test_nested_creates_of_early_clients_are_taken():
    nested = {"model": "m", "input": "nested", "store": False}
    (start,) = Client().hear(orjson.dumps({"type": "response.create", "response": nested}))
    assert isinstance(start, Start)
    assert (start.request.input, start.request.store) == ("nested", False)


def test_a_flat_create_ignores_what_is_nested_in_it():
    (start,) = Client().create(response={"model": "other", "input": "nested"})
    assert isinstance(start, Start)
    assert (start.request.model, start.request.input) == ("m", "hi")


# What is no frame at all


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "{",
        "[" * 20_000,
        '{"a":' * 20_000,
        b"\x00\xff\xfe",
        "\x00\x01\x02",
        "[]",
        "[{}]",
        "5",
        "null",
        '"response.create"',
        "NaN",
        '{"type":"response.create","model":"m","input":"hi","temperature":NaN}',
        '{"type":"response.create","model":"m","input":"hi","temperature":Infinity}',
        '{"type":"response.create","model":"m","input":"hi","temperature":1e999}',
        '{"type":"response.create","model":"m","input":"\\ud800"}',
        "\ufeff{}",
        "{}",
        '{"type":null}',
        '{"type":5}',
        '{"type":["response.create"]}',
        '{"type":"response.append"}',
        '{"type":"response.cancel","response_id":5}',
        '{"type":"response.cancel","stream_id":""}',
        '{"model":"m","input":"hi"}',
        '{"type":"' + "x" * 100_000 + '"}',
    ],
    ids=lambda text: str(text)[:30].replace("\x00", "0"),
)
def test_a_bad_frame_is_answered_once_and_changes_nothing(text):
    client = Client()
    client.create("busy")
    refused = refusal(client.hear(text))
    assert "stream_id" not in refused
    assert len(orjson.dumps(refused)) < 1000
    assert list(client.running) == ["busy"]
    assert len(client.create()) == 1


def test_a_create_that_is_nested_too_deep_is_refused_in_its_turn():
    client = Client()
    deep: Any = "x"
    for _ in range(500):
        deep = [deep]
    client.create()
    assert client.create(tools=[{"x": deep}]) == []
    assert "nested" in refusal(client.end())["error"]["message"]


# Control frames


@pytest.mark.parametrize("how", ["cancel", "interrupt"])
def test_a_running_response_is_stopped_by_id_by_lane_or_on_the_default_lane(how):
    client = Client()
    client.create()
    client.create("a")
    client.begin(None, "resp_default")
    client.begin("a", "resp_a")
    kind = f"response.{how}"
    assert client.hear(frame(kind)) == [Stop(None, how)]
    assert client.hear(frame(kind, stream_id="a")) == [Stop("a", how)]
    assert client.hear(frame(kind, response_id="resp_a")) == [Stop("a", how)]
    assert client.hear(frame(kind, response_id="resp_a", stream_id="b")) == [Stop("a", how)]


def test_a_response_that_has_no_id_yet_is_stopped_by_its_lane_and_by_no_id():
    client = Client()
    client.create("a")
    assert client.hear(frame("response.cancel", stream_id="a")) == [Stop("a", "cancel")]
    assert client.hear(frame("response.cancel", response_id="")) == []


@pytest.mark.parametrize("kind", ["response.cancel", "response.interrupt"])
@pytest.mark.parametrize(
    "target", [{}, {"stream_id": "new"}, {"response_id": "resp_x"}, {"response_id": None}]
)
def test_stopping_what_does_not_run_is_silent(kind, target):
    client = Client()
    client.turn()
    assert client.hear(frame(kind, **target)) == []


def test_a_control_frame_names_no_new_lane():
    client = Client(lanes=1)
    client.hear(frame("response.cancel", stream_id="never_created"))
    assert len(client.create("a")) == 1


def test_a_stop_leaves_what_waits_on_the_lane():
    client = Client()
    client.create(input="1")
    client.create(input="2")
    client.hear(frame("response.cancel"))
    assert starts(client.fail()) == ["2"]


def test_processed_is_answered_with_silence():
    assert Client().hear(frame("response.processed", response_id="resp_1")) == []


@pytest.mark.parametrize("lane", [None, "main"])
@pytest.mark.parametrize("state", ["running", "finished"])
def test_every_steer_is_told_that_steering_is_not_supported_on_its_targets_lane(lane, state):
    client = Client()
    client.create(lane)
    client.begin(lane, "resp_1")
    if state == "finished":
        client.end(lane, "resp_1")
    steer = {"previous_response_id": "resp_1", "input": "Keep it short."}
    answer = said(client.hear(frame("response.steer", **steer)))
    assert answer["type"] == "response.steer.failed"
    assert answer["error"]["code"] == "steering_not_supported"
    assert answer["error"]["type"] == "invalid_request_error"
    assert answer["error"]["message"]
    assert answer["steer"] == steer
    assert isinstance(answer["sequence_number"], int)
    assert answer.get("stream_id", "absent") == (lane or "absent")


@pytest.mark.parametrize("target", [None, "", 5, [], {}, "resp_unknown"])
def test_a_steer_to_nothing_is_told_the_same(target):
    client = Client()
    client.create("a")
    answer = said(client.hear(frame("response.steer", previous_response_id=target)))
    assert answer["error"]["code"] == "steering_not_supported"
    assert "stream_id" not in answer


def test_a_steer_that_cannot_be_handed_back_is_refused():
    deep: Any = "x"
    for _ in range(500):
        deep = [deep]
    assert (
        "nested" in refusal(Client().hear(frame("response.steer", input=deep)))["error"]["message"]
    )


# What a chain can go on from


def test_a_finished_turn_can_be_continued_on_its_connection():
    client = Client()
    client.turn()
    parent = client.parent_of()
    assert parent == turn("resp_1")


def test_older_turns_can_be_continued_too():
    client = Client()
    client.turn(response_id="resp_1")
    client.turn(response_id="resp_2", previous_response_id="resp_1")
    client.turn(response_id="resp_3", previous_response_id="resp_2")
    assert client.parent_of(response_id="resp_1") == turn("resp_1")


def test_a_turn_can_be_continued_before_the_socket_has_said_that_it_ended():
    """`finished` comes before the terminal event is sent, `ended` after it."""
    client = Client()
    client.create()
    client.begin()
    client.connection.finished(None, turn("resp_1"))
    assert client.connection.cached("resp_1") == turn("resp_1")


def test_a_waiting_continuation_finds_what_its_lane_has_finished_meanwhile():
    client = Client()
    client.create()
    client.begin(None, "resp_1")
    client.create(previous_response_id="resp_1")
    (start,) = client.end(None, "resp_1")
    assert isinstance(start, Start)
    assert start.parent == turn("resp_1")


def test_an_unknown_parent_is_nobodys_business_here():
    """The store may know it."""
    assert Client().parent_of(response_id="resp_elsewhere") is None


def test_other_connections_do_not_see_a_turn():
    client, other = Client(), Client()
    client.turn()
    assert other.parent_of() is None


def test_a_response_that_failed_is_no_parent():
    client = Client()
    client.create()
    client.begin(None, "resp_1")
    client.connection.finished(None, None)
    client.fail()
    assert client.parent_of() is None


def test_a_failed_continuation_takes_its_parent_with_it():
    """The public suite's case: turn 1, a turn 2 that fails, turn 3 from turn 1 is not found."""
    client = Client()
    client.turn()
    item = {"type": "function_call_output", "call_id": "call_unknown", "output": "x"}
    (start,) = client.create(previous_response_id="resp_1", input=[item])
    assert isinstance(start, Start)
    assert start.parent is not None
    client.fail()
    assert client.parent_of() is None


def test_a_refused_continuation_takes_its_parent_with_it_too():
    client = Client()
    client.turn()
    refusal(client.create(previous_response_id="resp_1", temperature="hot"))
    assert client.parent_of() is None


def test_a_refused_continuation_takes_its_parent_in_its_turn_and_not_before():
    client = Client()
    client.turn()
    client.create()
    client.create(previous_response_id="resp_1", temperature="hot")
    assert client.connection.cached("resp_1") is not None
    client.end(None, "resp_2")
    assert client.connection.cached("resp_1") is None


def test_a_refused_continuation_of_a_running_response_takes_it_when_it_has_ended():
    client = Client()
    client.create()
    client.begin(None, "resp_1")
    client.create(previous_response_id="resp_1", temperature="hot")
    client.end(None, "resp_1")
    assert client.parent_of() is None


def test_a_continuation_behind_one_that_failed_does_not_find_the_parent():
    client = Client()
    client.turn()
    client.create(previous_response_id="resp_1")
    client.create(previous_response_id="resp_1")
    (start,) = client.fail()
    assert isinstance(start, Start)
    assert start.parent is None


def test_a_failed_create_without_a_parent_takes_nothing():
    client = Client()
    client.turn()
    client.create()
    client.fail()
    assert client.parent_of() is not None


def test_a_failed_fork_from_another_lane_leaves_the_parent():
    client = Client()
    client.turn("a")
    client.create("b", previous_response_id="resp_1")
    client.fail("b")
    refusal(client.create("b", previous_response_id="resp_1", temperature="hot"))
    assert client.parent_of("a") == turn("resp_1")


def test_a_fork_keeps_its_parent_whatever_the_parents_lane_does_next():
    client = Client()
    client.turn("a")
    client.create("b")
    client.create("b", previous_response_id="resp_1", input="fork")
    client.create("a", previous_response_id="resp_1")
    client.fail("a")
    assert client.connection.cached("resp_1") is None
    (fork,) = client.end("b", "resp_b")
    assert isinstance(fork, Start)
    assert fork.parent == turn("resp_1")


def test_a_fork_belongs_to_its_own_lane():
    client = Client()
    client.turn("a", "resp_1")
    client.turn("b", "resp_2", previous_response_id="resp_1")
    client.create("b", previous_response_id="resp_2")
    client.fail("b")
    assert client.connection.cached("resp_2") is None
    assert client.connection.cached("resp_1") is not None


def test_so_many_turns_are_kept_and_the_latest_of_each_lane_always():
    client = Client(cached_turns=3)
    client.turn("quiet", "resp_quiet")
    for number in range(10):
        client.turn("busy", f"resp_{number}")
    known = [number for number in range(10) if client.connection.cached(f"resp_{number}")]
    assert known == [8, 9]
    assert client.connection.cached("resp_quiet") is not None


# The end of a connection


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (ConnectionLimitReached(60), "websocket_connection_limit_reached", 400),
        (ServerDraining(), "server_draining", 503),
    ],
)
def test_a_closing_connection_refuses_what_waits_and_what_comes_and_lets_finish_what_runs(
    error, code, status
):
    client = Client(running=2)
    for lane in ("a", "b", "a", "c", "a"):
        client.create(lane)
    at_once = [*client.connection.refuse(error), *client.create("d"), *client.create()]
    assert client.create("b") == []  # its lane is busy: refused after what runs there
    in_turn = [*client.end("a"), *client.end("b")]
    lanes = [said([action]).get("stream_id") for action in (*at_once, *in_turn)]
    assert lanes == ["c", "d", None, "a", "a", "b"]
    for refused in (said([action]) for action in (*at_once, *in_turn)):
        assert (refused["error"]["code"], refused["status"]) == (code, status)
    assert client.connection.is_idle


def test_the_connection_limit_is_told_in_openais_words():
    assert ConnectionLimitReached(60).frame() == {
        "type": "error",
        "error": {
            "type": "invalid_request_error",
            "code": "websocket_connection_limit_reached",
            "message": "Responses websocket connection limit reached (60 minutes). "
            "Create a new websocket connection to continue.",
        },
        "status": 400,
    }


def test_a_connection_is_idle_when_nothing_runs_and_nothing_waits():
    client = Client()
    assert client.connection.is_idle
    client.create()
    client.create()
    assert not client.connection.is_idle
    client.end()
    assert not client.connection.is_idle
    client.end()
    assert client.connection.is_idle
    assert client.connection.lanes == 0
