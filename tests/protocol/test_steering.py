"""What a steer is, what is said of it, and what becomes of its input."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_bridge.protocol import steering
from ws_bridge.protocol.events import Draft, Event
from ws_bridge.protocol.request import parse_create
from ws_bridge.protocol.steering import Steer, SteerQueue, SteerRefused, read_steer

Json = dict[str, Any]

TEXT = {"type": "message", "role": "user", "content": "Keep it short."}


def frame(**fields: Any) -> Json:
    given = {"previous_response_id": "resp_1", "input": "Keep it short."}
    return {"type": "response.steer", **given, **fields}


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


def steer(*texts: str, target: str = "resp_1", size: int = 0) -> Steer:
    items = tuple({"type": "message", "role": "user", "content": text} for text in texts)
    return Steer("steer_1", target, list(items), items, size)


def sent(draft: Draft) -> Json:
    """What a client reads."""
    return Event.of(draft, 4, None).json()


# Reading


def test_a_text_is_one_message_of_the_user():
    read = read_steer(frame(), 77)
    assert read.items == (TEXT,)
    assert (read.target, read.input, read.size) == ("resp_1", "Keep it short.", 77)


def test_messages_keep_their_parts_and_get_their_type():
    parts = [
        {"type": "input_text", "text": "Like this:"},
        {"type": "input_image", "image_url": "data:,"},
        {"type": "input_file", "file_id": "file_1"},
    ]
    given = [{"role": "user", "content": parts}, {"type": None, "role": "user", "content": "Now."}]
    read = read_steer(frame(input=given))
    assert read.items == (
        {"type": "message", "role": "user", "content": parts},
        {"type": "message", "role": "user", "content": "Now."},
    )
    assert read.input == given


def test_every_steer_has_an_id_of_its_own():
    ids = {read_steer(frame()).id for _ in range(100)}
    assert len(ids) == 100
    assert all(len(one) == 38 and one.startswith("steer_") for one in ids)
    assert all(int(one.removeprefix("steer_"), 16) >= 0 for one in ids)


def test_null_is_absent():
    assert read_steer(frame(stream_id=None)).items == (TEXT,)


BAD = {
    "no target": {"previous_response_id": None},
    "an empty target": {"previous_response_id": ""},
    "a number as target": {"previous_response_id": 5},
    "a list as target": {"previous_response_id": []},
    "a lane": {"stream_id": "main"},
    "a model": {"model": "m"},
    "no input": {"input": None},
    "empty text": {"input": ""},
    "no messages": {"input": []},
    "an object": {"input": {"role": "user"}},
    "a number": {"input": 5},
    "numbers": {"input": [5]},
    "texts": {"input": ["hi"]},
    "another role": {"input": [{"role": "system", "content": "hi"}]},
    "no role": {"input": [{"content": "hi"}]},
    "a list as role": {"input": [{"role": [], "content": "hi"}]},
    "a tool output": {"input": [{"type": "function_call_output", "call_id": "c", "output": ""}]},
    "a type that is no text": {"input": [{"type": [], "role": "user", "content": "hi"}]},
    "a message with an id": {"input": [{"role": "user", "content": "hi", "id": "msg_1"}]},
    "no content": {"input": [{"role": "user"}]},
    "no parts": {"input": [{"role": "user", "content": []}]},
    "an output part": {"input": [{"role": "user", "content": [{"type": "output_text"}]}]},
    "a part without type": {"input": [{"role": "user", "content": [{"text": "hi"}]}]},
    "a part with a list as type": {"input": [{"role": "user", "content": [{"type": []}]}]},
    "a part with a bottomless type": {
        "input": [{"role": "user", "content": [{"type": nested(950)}]}]
    },
    "a part that is text": {"input": [{"role": "user", "content": ["hi"]}]},
    "a text part without text": {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
    "one bad message of two": {"input": [TEXT, {"role": "assistant", "content": "hi"}]},
    "a bottomless input": {"input": nested(950)},
    "a bottomless part": {
        "input": [{"role": "user", "content": [{"type": "input_file", "x": nested(950)}]}]
    },
    "a bottomless target": {"previous_response_id": nested(950)},
    "a bottomless field": {"other": nested(950)},
}


@pytest.mark.parametrize("fields", BAD.values(), ids=BAD.keys())
def test_all_else_is_invalid_and_can_be_handed_back(fields):
    bad = frame(**fields)
    with pytest.raises(SteerRefused) as refused:
        read_steer(bad)
    assert refused.value.code == "invalid_input"
    target, given = bad["previous_response_id"], bad["input"]
    said = sent(steering.failed("invalid_input", target, given, message=str(refused.value)))
    assert said["error"]["message"]
    assert isinstance(said["steer"]["previous_response_id"], str)
    assert said["steer"]["input"] is not None
    assert "id" not in said["steer"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "user", "message"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "role", "content", "text"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(target=JSON, given_=JSON)
def test_whatever_comes_is_a_steer_or_a_refusal_that_can_be_said(target, given_):
    odd = frame(previous_response_id=target, input=given_)
    try:
        read = read_steer(odd)
    except SteerRefused as refused:
        orjson.dumps(steering.failed(refused.code, target, given_).fields)
    else:
        assert all(item["role"] == "user" for item in read.items)


# Waiting


def test_steers_wait_in_order_until_they_are_taken_once():
    steers = SteerQueue(16, 100)
    one, two, other = steer("1"), steer("2"), steer("3", target="resp_2")
    for each in (one, two, other):
        steers.add(each)
    assert steers.waiting_for("resp_1") == (one, two)
    assert steers.targets() == ["resp_1", "resp_2"]
    assert steers.take("resp_1") == (one, two)
    assert (steers.take("resp_1"), steers.waiting_for("resp_1")) == ((), ())
    assert steers.targets() == ["resp_2"]


def test_so_many_may_wait_for_one_response():
    steers = SteerQueue(2, 100)
    steers.add(steer("1"))
    steers.add(steer("2"))
    with pytest.raises(SteerRefused) as refused:
        steers.add(steer("3"))
    assert refused.value.code == "too_many_pending_steers"
    steers.add(steer("other", target="resp_2"))
    assert len(steers.waiting_for("resp_1")) == 2


def test_so_many_bytes_may_wait_on_a_connection_and_one_steer_however_large():
    steers = SteerQueue(16, 100)
    steers.add(steer("large", size=500))
    with pytest.raises(SteerRefused) as refused:
        steers.add(steer("small", target="resp_2", size=1))
    assert refused.value.code == "too_many_pending_steers"
    steers.take("resp_1")
    steers.add(steer("small", size=60))
    steers.add(steer("small", size=40))


# Saying


def test_what_is_said_of_a_steer_has_the_documented_form():
    one = read_steer(frame())
    named = {"id": one.id, "previous_response_id": "resp_1"}
    stub = {"type": "function_call_output", "call_id": "call_1", "name": "f"}
    assert sent(steering.accepted(one)) == {
        "type": "response.steer.accepted",
        "sequence_number": 4,
        "steer": named,
    }
    assert sent(steering.pending(one, [stub])) == {
        "type": "response.steer.pending",
        "sequence_number": 4,
        "steer": named,
        "reason": "waiting_for_required_input",
        "required_input": [stub],
    }
    assert sent(steering.returned(one, "response_not_active")) == {
        "type": "response.steer.failed",
        "sequence_number": 4,
        "error": {
            "type": "invalid_request_error",
            "code": "response_not_active",
            "message": "The response takes no more steering input.",
        },
        "steer": {**named, "input": "Keep it short."},
    }


# What a client owes


STUBS = {
    "function_call": (
        {"call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "name": "f"},
    ),
    "custom_tool_call": (
        {"call_id": "c", "name": "f", "input": ""},
        {"type": "custom_tool_call_output", "call_id": "c"},
    ),
    "computer_call": ({"call_id": "c"}, {"type": "computer_call_output", "call_id": "c"}),
    "shell_call": ({"call_id": "c"}, {"type": "shell_call_output", "call_id": "c"}),
    "apply_patch_call": ({"call_id": "c"}, {"type": "apply_patch_call_output", "call_id": "c"}),
    "tool_search_call": (
        {"call_id": "c", "execution": "client"},
        {"type": "tool_search_output", "call_id": "c", "execution": "client"},
    ),
    "mcp_approval_request": (
        {"server_label": "s"},
        {"type": "mcp_approval_response", "approval_request_id": "x_1"},
    ),
}


@pytest.mark.parametrize("kind", STUBS)
def test_each_call_of_the_client_is_owed_as_its_stub(kind):
    fields, stub = STUBS[kind]
    message = {"type": "message", "role": "assistant", "content": []}
    call = {"id": "x_1", "type": kind, "status": "completed", **fields}
    assert list(steering.required_outputs([message, call])) == [stub]


def test_an_unfinished_call_and_a_hosted_one_are_not_owed():
    hosted = {"type": "shell_call", "call_id": "c", "status": "completed"}
    output = {"type": "shell_call_output", "call_id": "c", "output": []}
    search = {"type": "tool_search_call", "call_id": "d", "execution": "server"}
    web = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    cut = {"type": "function_call", "call_id": "e", "name": "f", "status": "incomplete"}
    odd = {"type": ["function_call"]}
    assert list(steering.required_outputs([hosted, output, search, web, cut, odd])) == []
    assert list(steering.required_outputs([hosted])) == [
        {"type": "shell_call_output", "call_id": "c"}
    ]


# What goes on


def test_a_successor_keeps_the_settings_and_says_the_steers_in_order():
    asked = parse_create(
        {
            "model": "m",
            "input": "hi",
            "previous_response_id": "resp_0",
            "instructions": "Be nice.",
            "temperature": 0.5,
            "store": False,
            "tools": [{"type": "function", "name": "f"}],
        }
    )
    request = steering.successor(asked, "resp_1", [steer("1", "2"), steer("3")])
    assert [item["content"] for item in request.items()] == ["1", "2", "3"]
    assert request.previous_response_id == "resp_1"
    changed = {"input", "previous_response_id"}
    assert request.model_dump(exclude=changed) == asked.model_dump(exclude=changed)


def test_a_joined_create_says_its_outputs_then_the_steers_then_the_rest():
    text = {"type": "message", "role": "user", "content": "And?"}
    outputs = [
        {"type": "function_call_output", "call_id": "a", "output": "1"},
        {"type": "mcp_approval_response", "approval_request_id": "b", "approve": True},
        {"type": "tool_search_output", "call_id": "c", "execution": "client", "tools": []},
    ]
    asked = parse_create(
        {"model": "m", "previous_response_id": "resp_1", "input": [text, *outputs]}
    )
    request = steering.joined(asked, [steer("steered")])
    assert list(request.items()) == [*outputs, *steer("steered").items, text]


def test_a_call_that_a_joined_create_brings_itself_keeps_its_output_behind_it():
    call = {"type": "function_call", "call_id": "own", "name": "f", "arguments": "{}"}
    own = {"type": "function_call_output", "call_id": "own", "output": "2"}
    required_outputs = {"type": "function_call_output", "call_id": "a", "output": "1"}
    asked = parse_create(
        {"model": "m", "previous_response_id": "resp_1", "input": [required_outputs, call, own]}
    )
    request = steering.joined(asked, [steer("steered")])
    assert list(request.items()) == [required_outputs, *steer("steered").items, call, own]


@pytest.mark.parametrize(
    ("fields", "may"),
    [
        ({}, True),
        ({"context_management": []}, True),
        ({"generate": False}, False),
        ({"conversation": "conv_1"}, False),
        ({"context_management": [{"type": "compaction"}]}, False),
    ],
)
def test_conversations_compaction_and_warm_ups_are_not_steered(fields, may):
    asked = parse_create({"model": "m", "input": "hi", **fields})
    assert steering.can_steer(asked) is may
