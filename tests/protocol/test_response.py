"""The response object: complete in every snapshot, and only that null which may be."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response

from ws_bridge.errors import RESPONSE_ERROR_CODES
from ws_bridge.protocol.response import (
    ECHO_LIMIT,
    OWNED,
    Envelope,
    echo_of,
    no_usage,
    strict_error,
    strict_usage,
    sum_usage,
)

Json = dict[str, Any]

# docs/protocol.md §3.4: the keys of every snapshot; `?` may be null, `user` too (as OpenAI's).
KEYS = """id created_at completed_at? status incomplete_details? model previous_response_id?
    instructions? output error? tools tool_choice truncation parallel_tool_calls text top_p
    presence_penalty frequency_penalty top_logprobs temperature reasoning? usage?
    max_output_tokens? max_tool_calls? store background service_tier safety_identifier?
    prompt_cache_key? object metadata user?""".split()
ALL_KEYS = {key.rstrip("?") for key in KEYS}
NULLS = {key.rstrip("?") for key in KEYS if key.endswith("?")}
STATUSES = ("queued", "in_progress", "completed", "incomplete", "failed", "cancelled")

ENVELOPE = Envelope(
    id="resp_1",
    model="m",
    created_at=1_795_200_000,
    options={
        "instructions": "Be brief.",
        "metadata": {"k": "v"},
        "temperature": 0.5,
        "max_output_tokens": 100,
        "reasoning": {"effort": "low"},
        "text": {"verbosity": "low", "format": None},
        "tools": [{"type": "function", "name": "f"}, {"type": "web_search"}],
        "user": "u",
        "include": ["x"],
        "prompt_cache_options": {"mode": "x"},
    },
    previous_response_id="resp_0",
    store=False,
)
PLAIN = Envelope("resp_1", "m", 1_795_200_000)


def check(response: Json) -> Json:
    """The response as a strict client takes it."""
    assert set(response) >= ALL_KEYS
    assert {key for key, value in response.items() if value is None} <= NULLS
    for key in ("created_at", "top_logprobs"):
        assert type(response[key]) is int
    assert response["text"]["format"]
    Response.model_validate_json(orjson.dumps(response), strict=True)
    return response


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("envelope", [ENVELOPE, PLAIN])
def test_every_snapshot_has_all_keys_and_only_the_nulls_that_may_be(envelope, status):
    for response in (envelope.snapshot(status), envelope.adopt({}, status)):
        assert check(response)["status"] == status


def test_a_snapshot_says_what_was_asked():
    response = ENVELOPE.snapshot("in_progress")
    for key in ("instructions", "metadata", "temperature", "max_output_tokens", "user"):
        assert response[key] == ENVELOPE.options[key]
    assert response["previous_response_id"] == "resp_0"
    assert (response["store"], response["background"]) == (False, False)
    assert response["reasoning"] == {"effort": "low", "summary": None}
    assert response["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert not {"include", "prompt_cache_options"} & set(response)


def test_echoed_function_tools_have_the_keys_that_strict_clients_read():
    (function, hosted) = ENVELOPE.snapshot("in_progress")["tools"]
    assert function == {
        "type": "function",
        "name": "f",
        "description": None,
        "parameters": None,
        "strict": None,
    }
    assert hosted == {"type": "web_search"}


def test_snapshots_share_nothing_that_a_reader_could_change():
    ENVELOPE.snapshot("queued")["tools"][0]["name"] = "changed"
    assert ENVELOPE.snapshot("queued")["tools"][0]["name"] == "f"
    PLAIN.snapshot("queued")["output"].append({})
    assert PLAIN.snapshot("queued")["output"] == []


# What the provider says


def test_what_the_bridge_owns_is_never_the_providers():
    foreign = dict.fromkeys(OWNED, "foreign")
    assert ENVELOPE.adopt(foreign, "completed") == ENVELOPE.adopt({}, "completed")


def test_what_the_provider_knows_better_is_never_the_requests():
    said = {
        "model": "m-2026-11-21",
        "temperature": 1.0,
        "service_tier": "flex",
        "max_output_tokens": 64,
        "reasoning": {"effort": "medium"},
        "text": {"verbosity": "high"},
        "output": [{"id": "msg_1", "type": "message"}],
    }
    response = ENVELOPE.adopt(said, "completed")
    for key in ("model", "temperature", "service_tier", "max_output_tokens", "output"):
        assert response[key] == said[key]
    assert response["reasoning"] == {"effort": "medium", "summary": None}
    assert response["text"] == {"format": {"type": "text"}, "verbosity": "high"}


def test_a_providers_null_says_nothing():
    nulls = dict.fromkeys([*ALL_KEYS, "something_new"])
    assert ENVELOPE.adopt(nulls, "completed") == ENVELOPE.adopt({}, "completed")
    text = {"text": {"format": None}, "reasoning": {"effort": None}}
    assert ENVELOPE.adopt(text, "completed") == ENVELOPE.adopt({}, "completed")


def test_a_providers_additions_are_kept():
    assert ENVELOPE.adopt({"safety": "x"}, "completed")["safety"] == "x"


@pytest.mark.parametrize("output", [None, "x", {}, [None, "x", 5]])
def test_output_is_a_list_of_items_whatever_the_provider_says(output):
    assert PLAIN.adopt({"output": output}, "completed")["output"] == []


@pytest.mark.parametrize("status", STATUSES)
def test_only_a_failed_response_has_an_error_and_only_an_incomplete_one_has_details(status):
    said = {
        "error": {"code": "server_error", "message": "x"},
        "incomplete_details": {"reason": "max_output_tokens"},
        "completed_at": 5,
    }
    response = check(PLAIN.adopt(said, status))
    assert bool(response["error"]) is (status == "failed")
    assert bool(response["incomplete_details"]) is (status == "incomplete")
    assert response["completed_at"] is None


@pytest.mark.parametrize(
    ("said", "code", "message"),
    [
        ({"code": "rate_limit_exceeded", "message": "Slow."}, "rate_limit_exceeded", "Slow."),
        ({"code": "insufficient_quota", "message": "x"}, "insufficient_quota", "x"),
        ({"code": "overloaded", "message": "x", "param": None}, "server_error", "x"),
        ({"code": 529, "message": 5}, "server_error", "The model provider failed."),
        (None, "server_error", "The model provider failed."),
        ("text", "server_error", "The model provider failed."),
    ],
)
def test_a_failed_response_names_a_code_of_the_closed_set_and_a_message(said, code, message):
    assert strict_error(said) == {"code": code, "message": message}
    assert code in RESPONSE_ERROR_CODES


# Usage

COUNTS: Json = {
    "input_tokens": 5,
    "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0},
    "output_tokens": 2,
    "output_tokens_details": {"reasoning_tokens": 1},
    "total_tokens": 7,
}


def test_a_complete_usage_stays_as_it_is():
    assert strict_usage(COUNTS) == COUNTS


def test_two_usages_are_summed_count_by_count_at_any_depth():
    one = {"input_tokens": 3, "output_tokens_details": {"reasoning_tokens": 1}, "tier": "flex"}
    more = {"input_tokens": 4, "cost": 0.5, "output_tokens_details": {"audio": 2}, "tier": "fast"}
    assert sum_usage(one, more) == {
        "input_tokens": 7,
        "cost": 0.5,
        "output_tokens_details": {"reasoning_tokens": 1, "audio": 2},
        "tier": "flex",
    }
    assert sum_usage({"details": None}, {"details": {"a": 1}}) == {"details": {"a": 1}}
    assert one["input_tokens"] == 3


@pytest.mark.parametrize("usage", [None, "x", 5, []])
def test_what_is_no_usage_is_null(usage):
    assert strict_usage(usage) is None


def test_missing_counts_are_zero_and_the_total_is_the_sum():
    usage = strict_usage({"input_tokens": 3, "output_tokens": 2, "input_tokens_details": None})
    assert usage == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 5,
    }


def test_extras_of_the_provider_stay_and_its_nulls_go():
    details = {"cached_tokens": 1, "audio_tokens": 4, "text_tokens": None}
    usage = strict_usage({**COUNTS, "cost": 0.1, "x": None, "input_tokens_details": details})
    assert usage is not None
    assert usage["cost"] == 0.1
    assert "x" not in usage
    assert usage["input_tokens_details"] == {
        "cached_tokens": 1,
        "cache_write_tokens": 0,
        "audio_tokens": 4,
    }


def test_a_response_for_which_nothing_was_sampled_counts_zero():
    counts = no_usage()
    assert (counts["input_tokens"], counts["output_tokens"], counts["total_tokens"]) == (0, 0, 0)


def test_a_count_that_cannot_be_one_is_zero():
    usage = strict_usage({"input_tokens": 1e300, "output_tokens": 2**64 - 1})
    assert usage is not None
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (0, 0, 0)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(COUNTS)), VALUES))
def test_counts_are_integers_whatever_the_provider_says(said):
    usage = strict_usage(said)
    assert usage is not None
    for name, count in COUNTS.items():
        if isinstance(count, int):
            assert isinstance(usage[name], int)
        else:
            assert all(isinstance(usage[name][inner], int) for inner in count)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["output", "error", "usage", "reasoning", "text"]), VALUES))
def test_a_malformed_object_of_the_provider_is_no_failure(said):
    response = PLAIN.adopt(said, "failed")
    assert set(response) >= ALL_KEYS


# Echo


def test_large_instructions_and_tools_are_not_repeated():
    large = "x" * ECHO_LIMIT
    options = {"instructions": large, "tools": [{"name": large}], "user": large}
    assert echo_of(options) == {"user": large}


def test_others_are_repeated():
    options = {"instructions": "x", "tools": [{"type": "function"}], "top_p": 0.5}
    assert echo_of(options) == options
