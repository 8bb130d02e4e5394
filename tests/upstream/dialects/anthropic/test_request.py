"""Whole bodies of Messages."""

import dataclasses

import pytest
from upstreams.claude import SEALS, call, goodbye, hello, read, text, thought

from ws_bridge.errors import InvalidRequest, UpstreamError
from ws_bridge.protocol.tools import ToolTable
from ws_bridge.upstream.dialects.anthropic import FAMILY
from ws_bridge.upstream.dialects.base import WriterInput

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
F = {"type": "function", "name": "f", "parameters": SCHEMA}
HI = {"type": "message", "role": "user", "content": "hi"}
USER = {"role": "user", "content": [{"type": "text", "text": "hi"}]}


def given(*items, model="claude-sonnet-4-5", **options):
    table = ToolTable.of(options.get("tools", ()))
    return WriterInput(model, "anthropic", list(items) or [HI], options, table, SEALS)


def write(*items, more=None, **options):
    return FAMILY.write(dataclasses.replace(given(*items, **options), **(more or {})))


def body(*items, **options):
    return write(*items, **options).body


def added(**options):
    """What the options add to the body of a greeting."""
    written = body(**options)
    assert written.pop("model") == options.get("model", "claude-sonnet-4-5")
    assert (written.pop("stream"), written.pop("messages")) == (True, [USER])
    if "max_output_tokens" not in options and "thinking" not in written:
        assert written.pop("max_tokens") == 4096
    return written


def refused(param, **options):
    with pytest.raises(UpstreamError) as refusal:
        body(**options)
    assert (refusal.value.status, refusal.value.code) == (400, "unsupported_parameter")
    assert refusal.value.param == param


def test_a_request_has_its_version_and_asks_for_a_stream():
    request = write()
    assert request.headers == {"anthropic-version": "2023-06-01"}
    assert request.body == {
        "model": "claude-sonnet-4-5",
        "messages": [USER],
        "stream": True,
        "max_tokens": 4096,
    }


def test_the_betas_of_its_tools_are_named():
    approved = {"require_approval": "never", "server_label": "s", "server_url": "https://s"}
    request = write(tools=[{"type": "code_interpreter"}, {"type": "mcp", **approved}])
    betas = "code-execution-2025-08-25,mcp-client-2025-11-20"
    assert request.headers["anthropic-beta"] == betas


def test_a_whole_turn_goes_back_as_it_came():
    tools = [F]
    told = read(
        hello(),
        thought(0, "Hm"),
        text(1, "a"),
        call(2, "f", '{"a": 1}'),
        goodbye("tool_use"),
        tools=ToolTable.of(tools),
    )
    output = {"type": "function_call_output", "call_id": "toolu_1", "output": "fine"}
    request = write(
        HI, *told.output, output, tools=tools, instructions="Be kind.", reasoning={"effort": "low"}
    )
    assert request.tools.tools.keys() == {"f"}
    assert request.body == {
        "model": "claude-sonnet-4-5",
        "stream": True,
        "max_tokens": 5120,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "system": [{"type": "text", "text": "Be kind."}],
        "tools": [{"name": "f", "input_schema": SCHEMA}],
        "messages": [
            USER,
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm", "signature": "sig"},
                    {"type": "text", "text": "a"},
                    {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_1",
                        "content": [{"type": "text", "text": "fine"}],
                    }
                ],
            },
        ],
    }


@pytest.mark.parametrize(
    ("options", "written"),
    [
        ({"max_output_tokens": 7}, {"max_tokens": 7}),
        ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}),
        ({"temperature": 1, "top_p": 1, "top_logprobs": 0}, {}),
        ({"user": "user_1"}, {"metadata": {"user_id": "user_1"}}),
        ({"user": "b", "safety_identifier": "a"}, {"metadata": {"user_id": "a"}}),
        ({"service_tier": "default"}, {"service_tier": "standard_only"}),
        ({"service_tier": "priority", "truncation": "auto", "metadata": {"a": "b"}}, {}),
        ({"text": {"format": {"type": "text"}, "verbosity": "medium"}}, {}),
        ({"text": {"format": None}, "reasoning": {"effort": None, "summary": None}}, {}),
        ({"include": ["reasoning.encrypted_content"], "prompt_cache_key": "k"}, {}),
    ],
)
def test_an_option_is_said_in_anthropics_words(options, written):
    assert added(**options) == written


@pytest.mark.parametrize("user", ["a@b.example", "+47 123", "12345", "x" * 300])
def test_a_user_who_looks_like_a_person_is_hashed(user):
    [hashed] = added(user=user)["metadata"].values()
    assert len(hashed) == 64
    assert added(user=user) == added(user=user)


def test_an_answer_by_a_schema():
    form = {"type": "json_schema", "name": "n", "strict": True, "schema": SCHEMA}
    closed = {**SCHEMA, "additionalProperties": False}
    config = {"format": {"type": "json_schema", "schema": closed}}
    assert added(text={"format": form}) == {"output_config": config}
    thinking = {"type": "adaptive", "display": "summarized"}
    assert added(text={"format": form}, model="claude-opus-4-6", reasoning={"effort": "high"}) == {
        "max_tokens": 4096,
        "thinking": thinking,
        "output_config": {"effort": "high", **config},
    }


def test_json_without_a_schema_is_asked_for_in_words():
    [block] = added(text={"format": {"type": "json_object"}})["system"]
    assert "JSON" in block["text"]


@pytest.mark.parametrize(
    ("param", "options"),
    [
        ("prompt", {"prompt": {"id": "p"}}),
        ("top_logprobs", {"top_logprobs": 1}),
        ("temperature", {"temperature": 1.5}),
        ("temperature", {"temperature": 0.5, "reasoning": {"effort": "low"}}),
        ("top_p", {"top_p": 0.5, "reasoning": {"effort": "low"}}),
        ("top_p", {"top_p": 0.5, "model": "claude-opus-4-7"}),
        ("text.verbosity", {"text": {"verbosity": "low"}}),
        ("text.format", {"text": {"format": {"type": "grammar"}}}),
        ("text.format", {"text": {"format": {"type": "json_schema"}}}),
        (
            "text.format",
            {
                "text": {"format": {"type": "json_schema", "schema": SCHEMA}},
                "model": "claude-3-haiku",
            },
        ),
        ("include", {"include": ["message.output_text.logprobs"]}),
        ("tool_choice", {"tools": [F], "tool_choice": "required", "reasoning": {"effort": "low"}}),
        ("tool_choice", {"tools": [F], "tool_choice": "required", "model": "claude-opus-5-5"}),
        ("reasoning", {"reasoning": {"effort": "low"}, "model": "claude-3-haiku"}),
        ("reasoning.mode", {"reasoning": {"mode": "pro"}}),
        ("reasoning.effort", {"reasoning": {"effort": ["low"]}}),
    ],
)
def test_what_cannot_be_said_is_refused_at_its_place(param, options):
    refused(param, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"prompt": {"id": "p"}, "top_logprobs": 1, "temperature": 1.5},
        {"text": {"verbosity": "low"}},
        {"reasoning": {"effort": "low"}, "model": "claude-3-haiku"},
    ],
)
def test_an_operator_may_have_it_left_out(options):
    written = write(more={"drop_params": True}, **options).body
    assert written == body(model=options.get("model", "claude-sonnet-4-5"))


def test_a_model_that_must_call_a_tool_does_not_think():
    forced = {"tools": [F], "tool_choice": "required"}
    assert body(**forced, model="claude-sonnet-5")["thinking"] == {"type": "disabled"}
    assert "thinking" not in body(**forced, model="claude-fable-5")
    dropped = write(more={"drop_params": True}, **forced, reasoning={"effort": "low"}).body
    assert "thinking" not in dropped


def test_a_turn_that_began_at_another_maker_ends_without_a_thought():
    """Anthropic takes no such history from a model that thinks by budget."""
    turn = [
        HI,
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "ok"},
    ]
    options = {"tools": [F], "reasoning": {"effort": "low"}}
    assert "thinking" not in body(*turn, **options)
    assert "thinking" in body(*turn, **options, model="claude-opus-4-6")


def test_a_model_that_is_known_not_to_think_is_not_asked_to():
    options = {"reasoning": {"effort": "low"}, "model": "other"}
    with pytest.raises(InvalidRequest) as refusal:
        write(more={"supports_reasoning": False}, **options)
    assert refusal.value.param == "reasoning.effort"
    left_out = write(more={"supports_reasoning": False, "drop_params": True}, **options)
    assert "thinking" not in left_out.body


def test_the_prompt_is_cached_unless_the_operator_says_no():
    long = {"type": "message", "role": "user", "content": "x" * 5000}
    marked = body(long, tools=[F])
    assert marked["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral"}
    plain = write(long, tools=[F], more={"prompt_cache": False}).body
    assert "cache_control" not in plain["messages"][0]["content"][0]


def test_items_and_parts_that_are_unknown_are_refused():
    for item in (
        {"type": "computer_call", "call_id": "c"},
        {"type": "of_later_days"},
        {**HI, "content": [{"type": "input_image", "file_id": "file_1"}]},
        {**HI, "content": [{"type": "of_later_days"}]},
    ):
        with pytest.raises(UpstreamError) as refusal:
            body(item)
        assert refusal.value.param.startswith("input")


def test_what_another_provider_ran_itself_is_left_out():
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    assert body(HI, search)["messages"] == [USER]
