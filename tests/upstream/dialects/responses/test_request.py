"""What is sent to providers of Responses: the client's words as they are, the model's whole."""

import pytest
from openai.types.responses import ResponseOutputMessage, ResponseReasoningItem
from pydantic import TypeAdapter

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.history import PROVIDER_TURN
from ws_bridge.upstream.dialects.base import WriterInput
from ws_bridge.upstream.dialects.responses.request import (
    ENCRYPTED,
    write,
    write_frame,
    written_items,
)
from ws_bridge.upstream.dialects.seals import MakerSeals

HELLO = {"type": "message", "role": "user", "content": "hi"}
PART = {"type": "output_text", "text": "x", "annotations": []}
ANSWER = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [PART],
}
RAW = [{"type": "reasoning_text", "text": "hm"}]


def written(*items):
    return list(written_items([dict(item) for item in items]))


def given(**more):
    return WriterInput("m", "openai", [dict(HELLO)], **{"options": {}, **more})


def test_a_body_streams_and_stores_nothing():
    options = {"temperature": 0.5, "tools": [{"type": "time_machine"}], "top_logprobs": 2}
    assert write(given(options=options)).body == {
        "model": "m",
        "input": [HELLO],
        "store": False,
        "stream": True,
        **options,
    }


@pytest.mark.parametrize("store", [True, False])
def test_a_frame_is_a_create_without_stream(store):
    assert write_frame(given(options={"truncation": "auto"}), store=store).body == {
        "type": "response.create",
        "model": "m",
        "input": [HELLO],
        "store": store,
        "truncation": "auto",
    }


@pytest.mark.parametrize(
    ("reasons", "options", "include"),
    [
        (True, {}, [ENCRYPTED]),
        (True, {"include": ["a"]}, ["a", ENCRYPTED]),
        (True, {"include": [ENCRYPTED]}, [ENCRYPTED]),
        (False, {"reasoning": {"effort": "low"}}, None),
        (None, {"reasoning": {"effort": "low"}}, [ENCRYPTED]),
        (None, {"reasoning": {}}, None),
        (None, {}, None),
    ],
)
def test_reasoning_is_asked_for_where_the_model_has_it(reasons, options, include):
    body = write(given(options=options, supports_reasoning=reasons)).body
    assert body.get("include") == include
    assert options.get("include") != [ENCRYPTED] or reasons


# The history


def test_what_the_client_wrote_is_not_trimmed():
    items = [
        {**HELLO, "id": "msg_u", "status": "completed"},
        {"type": "message", "role": "assistant", "content": "plain words"},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "odd"}], "id": "fc_9"},
        {"type": "tool_search_output", "execution": "server", "status": "completed", "tools": []},
        {"type": "time_travel_call", "year": 1985},
        {"role": "user", "content": [{"type": "hologram"}]},
    ]
    assert written(*items) == items


def test_a_turn_with_side_data_is_sent_as_its_items():
    """Another dialect of the same maker has made it."""
    made = {"type": PROVIDER_TURN, "side_data": {"blocks": ["b"]}, "items": [ANSWER]}
    assert written(HELLO, made, HELLO) == [HELLO, ANSWER, HELLO]


def test_null_is_absent():
    item = {"type": "tool_search_call", "call_id": None, "arguments": {"a": None}}
    assert written(item) == [{"type": "tool_search_call", "arguments": {"a": None}}]


def test_a_message_of_the_models_goes_back_whole():
    assert written(ANSWER) == [ANSWER]
    with_odds = {"type": "output_text", "text": "x", "annotations": None, "logprobs": []}
    assert written(ANSWER | {"content": [with_odds], "phase": None}) == [ANSWER]


@pytest.mark.parametrize("own", [None, "", "other", "msg_" + "x" * 61, 7])
def test_a_message_without_an_id_of_the_family_gets_one(own):
    lacking = {"role": "assistant", "content": [PART], "id": own}
    [item], [again] = written(lacking), written(lacking)
    assert item == again == {**ANSWER, "id": item["id"]}
    assert item["id"].startswith("msg_")
    assert len(item["id"]) <= 64
    TypeAdapter(ResponseOutputMessage).validate_python(item, strict=True)


def test_two_messages_with_the_same_words_have_two_ids():
    lacking = {"type": "message", "role": "assistant", "content": [PART]}
    first, second = written(lacking, lacking)
    assert first["id"] != second["id"]


def test_a_refusal_and_unknown_parts_stay():
    content = [{"type": "refusal", "refusal": "no"}, {"type": "odd", "logprobs": []}]
    assert written(ANSWER | {"content": content}) == [ANSWER | {"content": content}]


def test_a_sealed_thought_goes_back_as_it_was():
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "e"}
    assert written(thought) == [thought]
    assert "id" not in written(thought | {"id": None})[0]


def test_a_raw_thought_goes_back_without_a_seal():
    [item] = written({"type": "reasoning", "content": RAW, "encrypted_content": None})
    assert item == {"type": "reasoning", "id": item["id"], "summary": [], "content": RAW}
    TypeAdapter(ResponseReasoningItem).validate_python(item, strict=True)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"summary": [{"type": "summary_text", "text": "x"}]},
        {"content": []},
        {"encrypted_content": ""},
        {"encrypted_content": MakerSeals("other").seal({"a": 1}), "content": RAW},
        {"encrypted_content": '[{"type":"thinking","thinking":"x"}]', "content": RAW},
    ],
)
def test_a_thought_that_this_provider_cannot_read_is_not_sent(fields):
    assert written({"type": "reasoning", "id": "rs_1", "summary": [], **fields}) == []


@pytest.mark.parametrize(
    ("own", "is_sent"),
    [("fc_1", True), ("call_1", False), ("fc_" + "x" * 62, False), (None, False)],
)
def test_an_optional_id_is_sent_if_it_is_one_of_the_family(own, is_sent):
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    assert written({**call, "id": own}) == [{**call, "id": own} if is_sent else call]


def test_another_makers_hosted_call_without_an_id_is_left_out():
    action = {"type": "search", "query": "q"}
    whole = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": action}
    assert written(whole, {"type": "web_search_call", "action": action}) == [whole]
    assert written({"type": "code_interpreter_call", "code": "1"}) == []


def test_a_reference_to_what_is_stored_nowhere_is_refused():
    with pytest.raises(UpstreamError) as refused:
        written({"type": "item_reference", "id": "msg_1"})
    assert (refused.value.status, refused.value.code) == (400, "unsupported_parameter")
    assert refused.value.param == "input"
