"""The fields of a create: which there are, what is refused, and by which name."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ws_bridge.errors import (
    BridgeError,
    InvalidRequest,
    InvalidStreamId,
    MissingParameter,
)
from ws_bridge.protocol.conversation import conversation_id
from ws_bridge.protocol.request import (
    COMPLETION_WINDOWS,
    OTHER_TIERS,
    PASSED_ON,
    BackgroundOptions,
    CreateResponse,
    parse_create,
    parse_stream_id,
)

Json = dict[str, Any]

BODY: Json = {"model": "m", "input": "hi"}
# A value of every documented field, and values it cannot have.
FIELDS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "model": ("m", (5, ["m"], {})),
    "input": ("hi", (5, True, {}, ["hi"], [5])),
    "previous_response_id": ("resp_1", (5, {}, [])),
    "store": (False, ("false", 0, [])),
    "stream": (True, ("true", 1)),
    "background": (True, ("true", 1)),
    "background_options": ({"completion_window": "soonest"}, ("soonest", [], 5)),
    "generate": (False, ("false", 0)),
    "context_management": ([{"type": "compaction"}], ({}, "x", ["x"])),
    "include": (["reasoning.encrypted_content"], ("x", [5], {})),
    "idempotency_key": ("order-1", (5, {}, "", "k" * 256, "k\n", "\u00fc")),
    "instructions": ("Be brief.", (5, {}, ["x"])),
    "max_output_tokens": (16, ("16", 0, -1, 1.5, True)),
    "max_tool_calls": (1, ("1", 0, 1.5, True)),
    "metadata": (
        {"k": "v"},
        ([], "x", {"k": 5}, {"k" * 65: "v"}, {"k": "v" * 513}, {str(n): "v" for n in range(17)}),
    ),
    "parallel_tool_calls": (False, ("false", 0)),
    "prompt": ({"id": "p"}, ("p", [])),
    "prompt_cache_key": ("k", (5, {})),
    "prompt_cache_options": ({"mode": "x"}, ("x", [])),
    "prompt_cache_retention": ("24h", (24, {})),
    "reasoning": ({"effort": "low"}, ("low", [])),
    "safety_identifier": ("s", (5, {})),
    "service_tier": ("flex", (5, {})),
    "stream_options": ({"include_obfuscation": False}, ("x", [])),
    "temperature": (0.5, ("0.5", -0.1, 2.1, True)),
    "text": ({"format": {"type": "text"}}, ("text", [])),
    "tool_choice": ("auto", (5, [])),
    "tools": ([{"type": "function", "name": "f"}], ({}, "x", ["x"])),
    "top_logprobs": (20, ("1", -1, 21, 1.5, True)),
    "top_p": (1, ("1", -0.1, 1.1, True)),
    "truncation": ("auto", ("never", 5)),
    "user": ("u", (5, {})),
}
WRONG = [(name, value) for name, (_, values) in FIELDS.items() for value in values]


def refused(body: Json, model: str | None = None) -> BridgeError:
    with pytest.raises(InvalidRequest) as refusal:
        parse_create(body, model)
    assert refusal.value.status == 400
    return refusal.value


# Fields


@pytest.mark.parametrize("name", FIELDS)
def test_every_documented_field_is_taken(name):
    value = FIELDS[name][0]
    assert parse_create({**BODY, name: value}).model_dump(exclude_none=True)[name] == value


@pytest.mark.parametrize(("name", "value"), WRONG, ids=[f"{n}={str(v)[:12]}" for n, v in WRONG])
def test_a_wrong_value_is_refused_with_the_name_of_its_field(name, value):
    error = refused({**BODY, name: value})
    assert error.param == name
    assert f"'{name}" in error.message
    assert error.code == "invalid_request_error"


def test_the_table_above_knows_every_field():
    others = {"conversation", "client_metadata"}  # with tests of their own
    assert set(FIELDS) | others == set(CreateResponse.model_fields)


@pytest.mark.parametrize("name", sorted(set(CreateResponse.model_fields) - {"model", "input"}))
def test_null_means_absent(name):
    assert parse_create({**BODY, name: None}) == parse_create(BODY)


def test_unknown_fields_vanish():
    """Among them all that could turn the request elsewhere or show somebody's key."""
    strange = dict.fromkeys(
        """api_base base_url api_key api_version extra_headers extra_body headers mock_response
        organization custom_llm_provider client timeout max_retries num_retries fallbacks
        stream_id type response client_metadata litellm_metadata proxy user_config""".split(),
        "http://elsewhere.example",
    )
    request = parse_create({**BODY, **strange})
    assert request == parse_create(BODY)
    assert b"elsewhere" not in orjson.dumps(request.model_dump())


def test_of_client_metadata_the_trace_alone_is_kept_and_it_is_no_part_of_what_is_asked():
    names = ("ws_request_header_traceparent", "ws_request_header_tracestate")
    given_ = {**dict(zip(names, ("00-1-2-01", "a=1"), strict=True)), "session_id": "s", "n": 5}
    request = parse_create({**BODY, "idempotency_key": "k", "client_metadata": given_})
    assert request.client_metadata == {"traceparent": "00-1-2-01", "tracestate": "a=1"}
    assert "client_metadata" not in request.model_dump()
    assert request.digest == parse_create({**BODY, "idempotency_key": "k"}).digest
    assert request.with_input([]).client_metadata == request.client_metadata


@pytest.mark.parametrize("value", [5, "x", [], {}, {"ws_request_header_traceparent": 5}, [{}]])
def test_client_metadata_of_any_shape_is_accepted(value):
    assert parse_create({**BODY, "client_metadata": value}).client_metadata == {}


def test_only_given_options_are_passed_on():
    given_ = {name: value for name, (value, _) in FIELDS.items() if name in PASSED_ON}
    body = {**BODY, **given_, "store": False, "previous_response_id": "resp_1"}
    assert parse_create(body).passed_on() == given_
    assert parse_create(BODY).passed_on() == {}
    assert set(given_) == set(PASSED_ON)


def test_defaults_are_those_of_the_contract():
    request = parse_create(BODY)
    assert (request.store, request.stream, request.background, request.generate) == (
        True,
        False,
        False,
        True,
    )


def test_a_request_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        parse_create(BODY).store = False


def test_prewarming_generates_nothing():
    body = {**BODY, "generate": True, "prompt_cache_options": {"prewarm": True}}
    assert not parse_create(body).generate
    assert parse_create({**BODY, "prompt_cache_options": {"prewarm": False}}).generate


def test_a_refusal_does_not_repeat_what_the_client_sent():
    assert "hunter2" not in refused({**BODY, "metadata": "hunter2"}).message


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(sorted(FIELDS)),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
            ),
            max_leaves=6,
        ),
    )
)
def test_any_body_is_a_request_or_a_refusal(body):
    try:
        request = parse_create(body)
    except InvalidRequest:
        return
    assert all(isinstance(item["type"], str) for item in request.items())


# Rules between fields


@pytest.mark.parametrize("model", [None, ""])
def test_a_create_needs_a_model(model):
    error = refused({"input": "hi", "model": model})
    assert isinstance(error, MissingParameter)
    assert (error.param, error.code) == ("model", "missing_required_parameter")


def test_the_default_model_stands_in_for_a_missing_one_only():
    assert parse_create({"input": "hi"}, "d").model == "d"
    assert parse_create({"input": "hi", "model": None}, "d").model == "d"
    assert parse_create(BODY, "d").model == "m"


@pytest.mark.parametrize("more", [{}, {"input": []}, {"input": None}])
def test_input_may_be_empty_only_where_there_is_history_or_nothing_to_generate(more):
    body = {"model": "m", **more}
    assert refused(body).param == "input"
    assert parse_create({**body, "previous_response_id": "resp_1"}).items() == ()
    assert parse_create({**body, "generate": False}).items() == ()


def test_a_previous_response_and_a_conversation_exclude_each_other():
    body = {**BODY, "previous_response_id": "resp_1", "conversation": "conv_1"}
    assert refused(body).param == "conversation"


@pytest.mark.parametrize("named", ["conv_1", {"id": "conv_1"}])
def test_a_conversation_is_named_by_its_id_or_by_an_object(named):
    request = parse_create({**BODY, "conversation": named})
    assert conversation_id(request.conversation) == "conv_1"


def test_a_background_response_must_be_stored():
    error = refused({**BODY, "background": True, "store": False})
    assert (error.code, error.param) == ("unsupported_parameter", "background")
    assert parse_create({**BODY, "background": True}).background


WINDOW = "background_options.completion_window"
LONG = [window for window, seconds in COMPLETION_WINDOWS.items() if seconds]
IN_BACKGROUND: Json = {**BODY, "background": True}


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"completion_window": "3h"}, WINDOW),
        ({"completion_window": 2}, WINDOW),
        ({"completion_window": ""}, WINDOW),
        ({"continuation_id": 5}, "background_options.continuation_id"),
        ({"completion_window": "8h", "continuation_id": {}}, "background_options.continuation_id"),
    ],
)
def test_a_wrong_background_option_is_refused_with_its_place(options, place):
    error = refused({**IN_BACKGROUND, "background_options": options})
    assert (error.param, error.code) == (place, "invalid_request_error")
    assert f"'{place}'" in error.message


@pytest.mark.parametrize("window", LONG)
def test_a_long_window_needs_background_no_stream_and_the_standard_tier(window):
    """As the documentation of the field says; `soonest` is what is done anyway."""
    asked = {**IN_BACKGROUND, "background_options": {"completion_window": window}}
    given = {"completion_window": window}
    for standard in ({}, {"stream": False}, {"service_tier": "auto"}, {"service_tier": "default"}):
        assert parse_create({**asked, **standard}).background_options_passed_on() == given
    others = [{"service_tier": tier} for tier in sorted(OTHER_TIERS)]
    for change in ({"background": False}, {"background": None}, {"stream": True}, *others):
        assert refused({**asked, **change}).param == WINDOW
        soonest = {**asked, **change, "background_options": {"completion_window": "soonest"}}
        assert parse_create(soonest).background_options == BackgroundOptions(
            completion_window="soonest"
        )


def test_background_options_are_kept_for_a_background_response_only_and_without_strangers():
    options = {"continuation_id": "c", "completion_window": None, "api_base": "http://elsewhere"}
    asked = {**IN_BACKGROUND, "background_options": options}
    assert parse_create(asked).background_options_passed_on() == {"continuation_id": "c"}
    assert parse_create({**asked, "background": False}).background_options_passed_on() == {}
    assert "background_options" not in parse_create(asked).passed_on()


# Items


def test_a_string_is_one_user_message():
    assert parse_create(BODY).items() == ({"type": "message", "role": "user", "content": "hi"},)


@pytest.mark.parametrize("more", [{}, {"type": None}])
def test_an_item_without_a_type_is_a_message(more):
    item = {"role": "user", "content": "hi", **more}
    expected = {"type": "message", "role": "user", "content": "hi"}
    assert parse_create({**BODY, "input": [item]}).items() == (expected,)


def test_items_of_unknown_types_are_taken_as_they_are():
    item = {"type": "brand_new", "x": [1, None]}
    assert parse_create({**BODY, "input": [item]}).items() == (item,)


@pytest.mark.parametrize(
    ("item", "where"),
    [
        ({"type": 5}, "input[1].type"),
        ({"type": "message", "content": "hi"}, "input[1].role"),
        ({"role": 5, "content": "hi"}, "input[1].role"),
        ({"role": "user"}, "input[1].content"),
        ({"role": "user", "content": 5}, "input[1].content"),
        ({"role": "user", "content": ["hi"]}, "input[1].content"),
        ({"type": "function_call_output", "call_id": 5}, "input[1].call_id"),
        ({"type": "function_call_output", "call_id": None}, "input[1].call_id"),
    ],
)
def test_a_malformed_item_is_refused_with_its_place(item, where):
    error = refused({**BODY, "input": [{"role": "user", "content": "hi"}, item]})
    assert error.param == "input"
    assert f"'{where}'" in error.message


# Lanes


@pytest.mark.parametrize("name", ["main", "A.b_c-9", "x" * 256, "0"])
def test_a_lane_has_up_to_256_letters_numbers_underscores_hyphens_and_periods(name):
    assert parse_stream_id({"stream_id": name}) == name


@pytest.mark.parametrize("body", [{}, {"stream_id": None}])
def test_a_frame_without_a_stream_id_is_on_the_default_lane(body):
    assert parse_stream_id(body) is None


@pytest.mark.parametrize(
    "name", ["", "x" * 257, "a b", "a/b", "a\n", "ä", "a:b", 5, True, [], {}, ["a"]]
)
def test_any_other_name_is_refused(name):
    with pytest.raises(InvalidStreamId):
        parse_stream_id({"stream_id": name})


# Idempotency keys


def digest(**fields: Any) -> str:
    return parse_create({**BODY, "idempotency_key": "k", **fields}).digest


def test_a_key_needs_a_stored_response():
    refusal = refused({**BODY, "idempotency_key": "k", "store": False})
    assert (refusal.code, refusal.param) == ("unsupported_parameter", "idempotency_key")


def test_the_same_create_has_the_same_digest_however_it_is_written_and_answered():
    same = [
        {},
        {"stream": True, "stream_options": {"include_obfuscation": False}},
        {"store": True, "background": False, "user": None},  # what is meant anyway
        {"unknown": 1},
    ]
    assert len({digest(**fields) for fields in same}) == 1
    assert digest(text={"a": 1, "b": 2}) == digest(text={"b": 2, "a": 1})


def test_what_is_asked_for_and_the_key_make_the_digest():
    item = {"role": "user", "content": "hi"}
    other = [
        {},
        {"idempotency_key": "l"},
        {"model": "n"},
        {"input": "ho"},
        {"input": [item]},
        {"input": [{**item, "content": "ho"}]},
        {"temperature": 0},
        {"metadata": {"a": "b"}},
        {"background": True},
        {"previous_response_id": "resp_1"},
    ]
    assert len({digest(**fields) for fields in other}) == len(other)


def test_a_create_with_other_input_keeps_the_digest_of_what_the_client_sent():
    create = parse_create({**BODY, "idempotency_key": "k"})
    assert create.with_input([]).digest == create.digest


def test_a_digest_never_changes():
    """Servers of two releases compare theirs, for a day."""
    assert digest() == "ddab1c818605969c4b1c71a6b0663ed93669608cf082c5eabcc1f78f7a464906"
