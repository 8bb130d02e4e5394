"""Fitting: what a dialect cannot read is said differently, left out, or refused."""

import pytest

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.dialects.request_adapter import ENCRYPTED, Dialect, fit_input, fit_options


def native(item):
    return fit_input([item], Dialect.NATIVE)


def test_native_reasoning_goes_back_with_its_content_or_not_at_all():
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "status": "completed"}
    assert native(dict(item)) == []
    assert native(item | {"encrypted_content": None}) == []
    kept = native(item | {"encrypted_content": "e"})
    assert kept == [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "e"}]


def test_ids_and_states_are_kept_only_where_they_are_needed():
    message = {
        "type": "message",
        "id": "msg_1",
        "role": "user",
        "content": "x",
        "status": "completed",
    }
    assert native(message) == [{"type": "message", "role": "user", "content": "x"}]
    run = {"type": "code_interpreter_call", "id": "ci_1", "status": "completed", "outputs": None}
    assert native(run) == [{"type": "code_interpreter_call", "id": "ci_1", "status": "completed"}]


@pytest.mark.parametrize("dialect", Dialect)
def test_another_makers_search_is_left_out(dialect):
    action = {"type": "search", "query": "q"}
    assert fit_input([{"type": "web_search_call", "action": action}], dialect) == []
    whole = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": action}
    assert fit_input([dict(whole)], dialect) == [whole]


def test_log_probabilities_are_no_input():
    part = {"type": "output_text", "text": "x", "annotations": [], "logprobs": []}
    [item] = native({"type": "message", "role": "assistant", "content": [part]})
    assert item["content"] == [{"type": "output_text", "text": "x", "annotations": []}]


@pytest.mark.parametrize("dialect", [Dialect.CHAT, Dialect.ANTHROPIC])
def test_a_refusal_becomes_text_for_those_who_have_none(dialect):
    part = {"type": "refusal", "refusal": "no"}
    [item] = fit_input([{"type": "message", "role": "assistant", "content": [part]}], dialect)
    assert item["content"][0]["text"] == "no"


def test_a_file_by_address_is_refused_where_the_bridge_would_fetch_it():
    part = {"type": "input_file", "file_url": "http://10.0.0.1/x"}
    item = {"type": "message", "role": "user", "content": [part]}
    with pytest.raises(UpstreamError) as refused:
        fit_input([item], Dialect.CHAT)
    assert (refused.value.status, refused.value.param) == (400, "input")
    assert fit_input([item], Dialect.ANTHROPIC) == [item]


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
def test_reasoning_is_asked_for_where_the_model_has_it(supports_reasoning, options, include):
    assert (
        fit_options(options, Dialect.NATIVE, supports_reasoning=supports_reasoning).get("include")
        == include
    )


def test_options_are_copies():
    options = {"tools": [{"type": "function", "name": "f"}]}
    fitted = fit_options(options, Dialect.NATIVE, supports_reasoning=None)
    fitted["tools"][0]["name"] = "g"
    assert options["tools"][0]["name"] == "f"


def test_a_prompt_template_is_refused_where_nobody_keeps_it():
    with pytest.raises(UpstreamError):
        fit_options({"prompt": {"id": "p"}}, Dialect.CHAT, supports_reasoning=None)
