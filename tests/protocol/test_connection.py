"""One connection's rules: who is answered when, with what, and what a chain can go on from."""

import json
from typing import Any

import orjson
import pytest

from ws_bridge.errors import (
    TOO_MANY_BAD_FRAMES,
    ConnectionLimitReached,
    InvalidRequest,
    ServerDraining,
)
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
from ws_bridge.protocol.json_limits import JsonLimits
from ws_bridge.protocol.steering import Steer

Json = dict[str, Any]

HELLO = {"type": "message", "role": "user", "content": "hi"}


def frame(kind: str = "response.create", **fields: Any) -> str:
    if kind == "response.create":
        fields = {"model": "m", "input": "hi", **fields}
    return json.dumps({"type": kind, **fields})


def turn(response_id: str, parent: Turn | None = None, output: tuple[Json, ...] = ()) -> Turn:
    return Turn(response_id, (HELLO,), output, "openai|", parent)


class Client:
    """A connection with somebody who does what it says."""

    def __init__(self, **rules: Any) -> None:
        self.connection = Connection(ConnectionLimits(**rules))
        self.running: dict[str | None, StartResponse] = {}

    def create(self, lane: str | None = None, **fields: Any) -> list[Action]:
        named = {} if lane is None else {"stream_id": lane}
        return self.hear(frame(**named, **fields))

    def hear(self, text: str | bytes) -> list[Action]:
        return self._note(self.connection.receive(text))

    def begin(self, lane: str | None = None, response_id: str = "resp_1") -> None:
        self.connection.response_created(lane, response_id)

    def end(
        self,
        lane: str | None = None,
        response_id: str = "resp_1",
        output: tuple[Json, ...] = (),
        last: int = 9,
    ) -> list[Action]:
        """The lane's response ends well."""
        self.begin(lane, response_id)
        start = self.running.pop(lane)
        self.connection.keep_turn(lane, turn(response_id, start.parent, output))
        return self._note(self.connection.response_ended(start, failed=False, last=last))

    def fail(self, lane: str | None = None, last: int = -1) -> list[Action]:
        """The lane's create fails: before anything was said of it, if there is no last number."""
        return self._note(
            self.connection.response_ended(self.running.pop(lane), failed=True, last=last)
        )

    def turn(
        self, lane: str | None = None, response_id: str = "resp_1", **fields: Any
    ) -> StartResponse:
        """A whole turn."""
        (start,) = self.create(lane, **fields)
        assert isinstance(start, StartResponse)
        self.end(lane, response_id)
        return start

    def parent_of(self, lane: str | None = None, response_id: str = "resp_1") -> Turn | None:
        """What a continuation finds on this connection."""
        (start,) = self.create(lane, previous_response_id=response_id)
        assert isinstance(start, StartResponse)
        return start.parent

    def _note(self, actions: list[Action]) -> list[Action]:
        for action in actions:
            if isinstance(action, StartResponse):
                assert action.lane not in self.running
                self.running[action.lane] = action
        return actions


def starts(actions: list[Action]) -> list[str]:
    """The inputs of what was started."""
    assert all(isinstance(action, StartResponse) for action in actions)
    return [str(action.request.input) for action in actions if isinstance(action, StartResponse)]


def said(actions: list[Action]) -> Json:
    (say,) = actions
    assert isinstance(say, SendFrame)
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
    assert not client.connection.lanes


# How many may wait


@pytest.mark.catalogue("C10")
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


@pytest.mark.catalogue("C10")
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
    assert isinstance(start, StartResponse)
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
    assert isinstance(start, StartResponse)
    assert refusal(client.end("b"))["stream_id"] == "b"


@pytest.mark.parametrize("background", [True, "yes", 1])
def test_background_is_refused_on_a_socket(background):
    refused = refusal(Client().create(background=background))
    assert refused["error"]["param"] == "background"
    assert refused["error"]["code"] == "unsupported_parameter"


@pytest.mark.parametrize(
    "fields",
    [
        {"background": False},
        {"background": None},
        {"stream": True},
        {"background_options": {"completion_window": "8h"}, "stream": True},
        {"background_options": "of whatever kind"},
    ],
)
def test_what_is_implied_on_a_socket_is_no_matter(fields):
    (start,) = Client().create(**fields)
    assert isinstance(start, StartResponse)
    assert start.request.background_options is None


def test_nested_creates_of_early_clients_are_taken():
    nested = {"model": "m", "input": "nested", "store": False}
    (start,) = Client().hear(orjson.dumps({"type": "response.create", "response": nested}))
    assert isinstance(start, StartResponse)
    assert (start.request.input, start.request.store) == ("nested", False)


def test_a_flat_create_ignores_what_is_nested_in_it():
    (start,) = Client().create(response={"model": "other", "input": "nested"})
    assert isinstance(start, StartResponse)
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


@pytest.mark.catalogue("B12")
def test_so_many_bad_frames_in_a_row_end_the_connection():
    """Each has its error all the same; one good frame among them, and the count begins anew."""
    client = Client(bad_frames=3)
    for _ in range(2):
        for bad in ("{", '{"type": "nope"}'):
            [said] = client.hear(bad)
            assert isinstance(said, SendFrame)
        client.hear('{"type": "response.processed"}')
    assert len(client.hear("{")) == 1
    assert len(client.connection.refuse_frame(InvalidRequest("Binary."))) == 1
    said, end = client.hear('{"type": "response.cancel", "stream_id": ""}')
    assert isinstance(said, SendFrame)
    assert end == CloseConnection(TOO_MANY_BAD_FRAMES)


def test_a_create_is_never_a_bad_frame():
    """Its refusal may have to wait for its turn; until then nobody is sent away for it."""
    client = Client(bad_frames=2)
    client.create()
    for _ in range(5):
        assert client.create(model=5) == []


@pytest.mark.catalogue("B12")
def test_a_create_with_too_many_keys_is_refused_on_its_lane():
    client = Client(json_limits=JsonLimits(keys=20))
    wide = {str(key): "x" for key in range(21)}
    [said] = client.create("main", text=wide)
    assert said.frame["stream_id"] == "main"
    assert said.frame["error"]["message"] == "An object of the request has more than 20 keys."
    assert len(client.create("main", text={"a": "b"})) == 1


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
    assert client.hear(frame(kind)) == [StopResponse(None, how)]
    assert client.hear(frame(kind, stream_id="a")) == [StopResponse("a", how)]
    assert client.hear(frame(kind, response_id="resp_a")) == [StopResponse("a", how)]
    assert client.hear(frame(kind, response_id="resp_a", stream_id="b")) == [StopResponse("a", how)]


def test_a_response_that_has_no_id_yet_is_stopped_by_its_lane_and_by_no_id():
    client = Client()
    client.create("a")
    assert client.hear(frame("response.cancel", stream_id="a")) == [StopResponse("a", "cancel")]
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


# Steering


def steer(target: Any = "resp_1", text: Any = "Keep it short.", **fields: Any) -> str:
    return frame("response.steer", previous_response_id=target, input=text, **fields)


def accepted(actions: list[Action]) -> Steer:
    (accept,) = actions
    assert isinstance(accept, AcceptSteer)
    return accept.steer


def handed_back(actions: list[Action]) -> list[tuple[str, str, int]]:
    """Code, input and number of what came back after it was accepted."""
    frames = [said([action]) for action in actions]
    assert all(one["type"] == "response.steer.failed" for one in frames)
    assert all(one["steer"]["id"].startswith("steer_") for one in frames)
    return [(one["error"]["code"], one["steer"]["input"], one["sequence_number"]) for one in frames]


def texts(start: Action) -> list[str]:
    assert isinstance(start, StartResponse)
    return [str(item.get("content") or item.get("output")) for item in start.request.items()]


def steered(lane: str | None = None, *inputs: str, **rules: Any) -> Client:
    """A client whose response runs on the lane and has taken these steers."""
    client = Client(**rules)
    client.create(lane, instructions="Be nice.", store=False)
    client.begin(lane)
    for text in inputs:
        assert accepted(client.hear(steer(text=text))).input == text
    return client


CALL = {
    "id": "fc_1",
    "type": "function_call",
    "status": "completed",
    "call_id": "call_1",
    "name": "f",
    "arguments": "{}",
}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "22 C"}


@pytest.mark.parametrize("lane", [None, "main"])
def test_a_steer_is_accepted_on_the_lane_of_its_target(lane):
    client = Client()
    for each in (None, "main"):
        client.create(each)
    client.begin(lane)
    (accept,) = client.hear(steer())
    assert isinstance(accept, AcceptSteer)
    assert (accept.lane, accept.steer.target) == (lane, "resp_1")
    assert accept.steer.items == ({"type": "message", "role": "user", "content": "Keep it short."},)


@pytest.mark.parametrize("lane", [None, "main"])
def test_a_successor_goes_on_by_itself_before_what_waits(lane):
    client = steered(lane, "1", "2")
    client.create(lane, input="waits")
    (start,) = client.end(lane)
    assert isinstance(start, StartResponse)
    assert texts(start) == ["1", "2"]
    assert (start.lane, start.is_successor, start.parent) == (lane, True, turn("resp_1"))
    assert start.request.previous_response_id == "resp_1"
    assert (start.request.instructions, start.request.store) == ("Be nice.", False)
    assert starts(client.end(lane, "resp_2")) == ["waits"]
    assert client.connection.cached("resp_2") == turn("resp_2", turn("resp_1"))


def test_a_successor_can_be_steered_too():
    client = steered(None, "1")
    client.end()
    client.begin(None, "resp_2")
    assert accepted(client.hear(steer("resp_2", "2"))).target == "resp_2"
    (start,) = client.end(None, "resp_2")
    assert texts(start) == ["2"]


def test_a_successor_takes_its_lanes_place_among_those_that_run():
    client = steered("a", "1", running=1)
    client.create("b", input="older")
    (start,) = client.end("a")
    assert texts(start) == ["1"]
    assert starts(client.end("a", "resp_2")) == ["older"]


REFUSED = {
    "unknown": ({"target": "resp_x"}, "response_not_found"),
    "ended": ({"target": "resp_0"}, "response_already_completed"),
    "not supported": ({"target": "resp_compacts"}, "steering_not_supported"),
    "bad input": ({"text": []}, "invalid_input"),
    "bad input for what has ended": ({"target": "resp_0", "text": 5}, "invalid_input"),
    "no target": ({"target": None}, "invalid_input"),
    "a number": ({"target": 5}, "invalid_input"),
    "a list": ({"target": []}, "invalid_input"),
    "an object": ({"target": {}}, "invalid_input"),
    "a lane": ({"stream_id": "main"}, "invalid_input"),
}


@pytest.mark.parametrize("lane", [None, "main"])
@pytest.mark.parametrize(("fields", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_a_steer_that_cannot_be_taken_comes_back_with_the_reason_and_without_an_id(
    lane, fields, code
):
    client = Client()
    client.create(lane)
    client.end(lane, "resp_0", last=7)
    client.create(lane)
    client.begin(lane, "resp_1")
    client.create("compacts", context_management=[{"type": "compaction"}])
    client.begin("compacts", "resp_compacts")
    (action,) = client.hear(steer(**fields))
    target = fields.get("target", "resp_1")
    if target in ("resp_1", "resp_compacts"):  # it runs: its own log says it
        assert isinstance(action, PublishDraft)
        assert action.lane == (lane if target == "resp_1" else "compacts")
        failed = action.draft.fields
    else:
        failed = said([action])
        assert failed["type"] == "response.steer.failed"
        assert failed["sequence_number"] == (8 if target == "resp_0" else 0)
        named = (lane or "absent") if target == "resp_0" else "absent"
        assert failed.get("stream_id", "absent") == named
    assert failed["error"]["code"] == code
    assert failed["error"]["type"] == "invalid_request_error"
    assert failed["error"]["message"]
    aimed = target if isinstance(target, str) else ""
    given = fields.get("text", "Keep it short.")
    assert failed["steer"] == {"previous_response_id": aimed, "input": given}
    assert client.end(lane) == []


def test_a_steer_that_comes_as_the_end_is_told_is_refused_and_nothing_goes_on():
    """The client may have heard the end before the lane knows of it."""
    client = Client()
    client.create()
    client.begin()
    client.connection.keep_turn(None, turn("resp_1", None))
    (action,) = client.hear(steer())
    assert isinstance(action, PublishDraft)
    assert action.draft.fields["error"]["code"] == "response_already_completed"
    assert client.end() == []


def test_a_steer_without_a_target_does_not_mean_a_response_that_has_no_id_yet():
    client = Client()
    client.create()
    answer = said(client.hear(steer(None)))
    assert answer["error"]["code"] == "invalid_input"


def test_a_steer_that_cannot_be_handed_back_is_refused_without_its_input():
    deep: Any = "x"
    for _ in range(500):
        deep = [deep]
    for fields in ({"text": deep}, {"target": deep}, {"other": deep}):
        answer = said(Client().hear(steer(**fields)))
        assert answer["error"]["code"] == "invalid_input"
        assert "nested" in answer["error"]["message"]
        assert orjson.dumps(answer)


def test_sixteen_steers_may_wait_for_a_response():
    client = steered(None, *map(str, range(16)))
    (refused,) = client.hear(steer())
    assert isinstance(refused, PublishDraft)
    assert refused.draft.fields["error"]["code"] == "too_many_pending_steers"
    (start,) = client.end()
    assert texts(start) == list(map(str, range(16)))


def test_the_numbers_after_an_end_go_on_from_its_last():
    client = steered()
    client.end(last=7)
    numbers = [said(client.hear(steer()))["sequence_number"] for _ in range(3)]
    assert numbers == [8, 9, 10]


# Steers and the client's calls


@pytest.mark.parametrize("lane", [None, "main"])
def test_after_a_call_the_steers_wait_and_their_client_is_told_what_it_owes(lane):
    client = steered(lane, "1", "2")
    pending = [said([action]) for action in client.end(lane, output=(CALL,), last=7)]
    assert [one["type"] for one in pending] == ["response.steer.pending"] * 2
    assert [one["sequence_number"] for one in pending] == [8, 9]
    assert [one.get("stream_id", "absent") for one in pending] == [lane or "absent"] * 2
    assert len({one["steer"]["id"] for one in pending}) == 2
    for one in pending:
        assert one["reason"] == "waiting_for_required_input"
        stub = {"type": "function_call_output", "call_id": "call_1", "name": "f"}
        assert one["required_input"] == [stub]
    client.create(lane, input="something else")
    client.end(lane, "resp_2")
    follow = {"role": "user", "content": "And?"}
    (start,) = client.create(
        lane, input=[follow, OUTPUT], previous_response_id="resp_1", instructions="New."
    )
    assert isinstance(start, StartResponse)
    assert texts(start) == ["22 C", "1", "2", "And?"]
    assert start.request.instructions == "New."
    assert not start.is_successor
    assert client.end(lane, "resp_3") == []
    (again,) = client.create(lane, input=[OUTPUT], previous_response_id="resp_1")
    assert texts(again) == ["22 C"]


def test_nothing_is_pending_if_the_create_that_goes_on_is_here_already():
    client = steered(None, "1")
    client.create(input=[OUTPUT], previous_response_id="resp_1")
    (start,) = client.end(output=(CALL,))
    assert texts(start) == ["22 C", "1"]


def test_a_fork_on_another_lane_leaves_the_steers_where_they_are():
    client = steered("a", "1")
    client.create("b", input="from the store", previous_response_id="resp_1")
    assert client.begin("b", "resp_b") is None
    client.fail("b", last=5)
    (start,) = client.create("b", input="again", previous_response_id="resp_1")
    assert texts(start) == ["again"]
    assert client.fail("b") == []
    client.hear(frame("response.create", stream_id="b", previous_response_id="resp_1", model=5))
    (pending,) = client.end("a", output=(CALL,))
    assert said([pending])["type"] == "response.steer.pending"
    (fork,) = client.create("b", input=[OUTPUT], previous_response_id="resp_1")
    assert texts(fork) == ["22 C"]
    client.end("b", "resp_b2")
    (own,) = client.create("a", input=[OUTPUT], previous_response_id="resp_1")
    assert texts(own) == ["22 C", "1"]


def test_a_refused_continuation_hands_back_what_waited_for_it():
    client = steered("a", "1", "2")
    client.end("a", output=(CALL,), last=7)
    refused, *back = client.create("a", previous_response_id="resp_1", temperature="hot")
    assert refusal([refused])["stream_id"] == "a"
    code = "successor_creation_failed"
    assert handed_back(back) == [(code, "1", 10), (code, "2", 11)]
    assert {said([one])["stream_id"] for one in back} == {"a"}
    assert client.parent_of("a") is None


def test_a_continuation_that_never_began_hands_back_what_it_brought():
    client = steered("a", "1")
    client.end("a", output=(CALL,), last=7)
    client.create("a", input=[OUTPUT], previous_response_id="resp_1")
    client.begin("a", "resp_2")
    assert handed_back(client.fail("a")) == [("successor_creation_failed", "1", 9)]


def test_what_was_committed_never_comes_back():
    client = steered(None, "1")
    client.end()
    client.begin(None, "resp_2")
    assert client.fail(last=3) == []


def test_turns_for_which_steers_wait_are_kept():
    client = steered("a", "1", cached_turns=2)
    client.end("a", output=(CALL,))
    for number in range(5):
        client.turn("a", f"resp_a{number}")
    (start,) = client.create("a", input=[OUTPUT], previous_response_id="resp_1")
    assert texts(start) == ["22 C", "1"]


# Steers that come back


@pytest.mark.parametrize("lane", [None, "main"])
def test_a_target_that_failed_hands_its_steers_back_and_what_waits_goes_on(lane):
    client = steered(lane, "1", "2")
    client.create(lane, input="waits")
    *back, start = client.fail(lane, last=7)
    code = "response_not_active"
    assert handed_back(back) == [(code, "1", 8), (code, "2", 9)]
    assert {said([one]).get("stream_id", "absent") for one in back} == {lane or "absent"}
    assert starts([start]) == ["waits"]


@pytest.mark.parametrize("has_id", [True, False])
def test_a_successor_that_never_began_hands_its_steers_back_and_its_parent_stays(has_id):
    client = steered("a", "1", "2")
    client.create("a", input="waits")
    client.end("a", last=7)
    if has_id:
        client.begin("a", "resp_2")  # refused before `response.created`
    *back, start = client.fail("a")
    code = "successor_creation_failed"
    assert handed_back(back) == [(code, "1", 8), (code, "2", 9)]
    assert starts([start]) == ["waits"]
    client.end("a", "resp_3")
    assert client.parent_of("a") == turn("resp_1")


def test_a_closing_connection_takes_no_steers_and_hands_back_those_it_has():
    client = steered("a", "1")
    client.create("b")
    client.begin("b", "resp_b")
    client.hear(steer("resp_b", "2"))
    client.end("b", "resp_b", output=(CALL,), last=7)
    code = "successor_creation_failed"
    assert handed_back(client.connection.refuse(ServerDraining())) == [(code, "2", 9)]
    (refused,) = client.hear(steer())
    assert isinstance(refused, PublishDraft)
    assert refused.draft.fields["error"]["code"] == code
    assert handed_back(client.end("a", last=4)) == [(code, "1", 5)]
    assert not client.connection.lanes


def test_a_closing_connection_hands_back_what_a_waiting_continuation_would_have_brought():
    client = steered("a", "1")
    client.create("a", input="first")
    client.create("a", input=[OUTPUT], previous_response_id="resp_1")
    client.end("a", output=(CALL,), last=7)
    back = client.connection.refuse(ServerDraining())
    assert handed_back(back) == [("successor_creation_failed", "1", 8)]
    assert said(client.end("a", "resp_2"))["error"]["code"] == "server_draining"


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
    """`keep_turn` comes before the terminal event is sent, `response_ended` after it."""
    client = Client()
    client.create()
    client.begin()
    client.connection.keep_turn(None, turn("resp_1"))
    assert client.connection.cached("resp_1") == turn("resp_1")


def test_a_waiting_continuation_finds_what_its_lane_has_finished_meanwhile():
    client = Client()
    client.create()
    client.begin(None, "resp_1")
    client.create(previous_response_id="resp_1")
    (start,) = client.end(None, "resp_1")
    assert isinstance(start, StartResponse)
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
    client.connection.keep_turn(None, None)
    client.fail()
    assert client.parent_of() is None


def test_a_failed_continuation_takes_its_parent_with_it():
    """The public suite's case: turn 1, a turn 2 that fails, turn 3 from turn 1 is not found."""
    client = Client()
    client.turn()
    item = {"type": "function_call_output", "call_id": "call_unknown", "output": "x"}
    (start,) = client.create(previous_response_id="resp_1", input=[item])
    assert isinstance(start, StartResponse)
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
    assert isinstance(start, StartResponse)
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
    assert isinstance(fork, StartResponse)
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
    assert not client.connection.lanes


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


def test_a_connection_has_no_lanes_when_nothing_runs_and_nothing_waits():
    client = Client()
    assert not client.connection.lanes
    client.create()
    client.create()
    assert client.connection.lanes
    client.end()
    assert client.connection.lanes
    client.end()
    assert not client.connection.lanes
    assert client.connection.lanes == 0
