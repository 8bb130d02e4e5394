"""Whole requests."""

from __future__ import annotations

from typing import Any

import pytest

from ws_bridge.errors import BridgeError
from ws_bridge.protocol.tools import ToolTable
from ws_bridge.upstream.dialects.base import WriterInput
from ws_bridge.upstream.dialects.openai_chat import FAMILY

HELLO: Any = {"role": "user", "content": "hi"}
USAGE = {"stream": True, "stream_options": {"include_usage": True}}
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}}
SCHEMA = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}


def body(provider: str = "invented", items: Any = None, **options: Any) -> Any:
    more = {
        name: options.pop(name) for name in ("supports_reasoning", "drop_params") if name in options
    }
    tools = ToolTable.of(options.get("tools", ()))
    given = WriterInput("m", provider, items or [HELLO], options, tools, **more)
    return FAMILY.write(given).body


def added(provider: str = "invented", **options: Any) -> Any:
    """What an option adds to the body."""
    plain = body(provider)
    return {
        name: value for name, value in body(provider, **options).items() if plain.get(name) != value
    }


def test_a_plain_request() -> None:
    assert body() == {"model": "m", "messages": [HELLO], **USAGE}


def test_a_request_with_everything() -> None:
    assert body(
        "openai",
        [HELLO],
        instructions="be brief",
        max_output_tokens=9,
        temperature=0.5,
        top_p=0.9,
        reasoning={"effort": "low", "summary": "auto"},
        text={"format": SCHEMA, "verbosity": "low"},
        service_tier="flex",
        top_logprobs=2,
        include=["message.output_text.logprobs", "reasoning.encrypted_content"],
        parallel_tool_calls=False,
        max_tool_calls=3,
        truncation="disabled",
        metadata={"a": "b"},
        user="u",
        tools=[FUNCTION],
        tool_choice="auto",
    ) == {
        "model": "m",
        "messages": [{"role": "system", "content": "be brief"}, HELLO],
        "max_completion_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "reasoning_effort": "low",
        "verbosity": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
        },
        "service_tier": "flex",
        "logprobs": True,
        "top_logprobs": 2,
        "parallel_tool_calls": False,
        "tools": [
            {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
        ],
        "tool_choice": "auto",
        **USAGE,
    }


def test_instructions_may_be_messages() -> None:
    given = [
        {"type": "message", "role": "developer", "content": "a"},
        {"role": "user", "content": "b"},
    ]
    assert body("groq", instructions=given)["messages"] == [
        {"role": "system", "content": "a"},
        {"role": "user", "content": "b"},
        HELLO,
    ]


@pytest.mark.parametrize(
    ("provider", "options", "fields"),
    [
        ("invented", {"max_output_tokens": 5}, {"max_tokens": 5}),
        ("groq", {"max_output_tokens": 5}, {"max_completion_tokens": 5}),
        ("invented", {"text": {"format": {"type": "text"}, "verbosity": "medium"}}, {}),
        (
            "deepseek",
            {"text": {"format": {"type": "json_object"}}},
            {"response_format": {"type": "json_object"}},
        ),
        ("invented", {"service_tier": "flex"}, {}),
        ("openai", {"truncation": "auto"}, {}),
        ("groq", {"service_tier": "flex"}, {"service_tier": "flex"}),
        ("openrouter", {"truncation": "auto"}, {"transforms": ["middle-out"]}),
        ("openrouter", {"reasoning": {"effort": "high"}}, {"reasoning": {"effort": "high"}}),
        ("mistral", {"reasoning": {"effort": "low"}}, {"reasoning_effort": "high"}),
        ("zai", {"reasoning": {"effort": "none"}}, {"thinking": {"type": "disabled"}}),
        ("invented", {"reasoning": {"summary": "auto"}}, {}),
        ("invented", {"reasoning": {"effort": "none"}, "supports_reasoning": False}, {}),
        ("invented", {"include": ["message.output_text.logprobs"]}, {"logprobs": True}),
        ("invented", {"top_logprobs": 0}, {}),
        ("invented", {"parallel_tool_calls": False}, {}),
        ("invented", {"max_tool_calls": 1, "prompt_cache_key": "k", "safety_identifier": "s"}, {}),
    ],
)
def test_options(provider: str, options: Any, fields: Any) -> None:
    assert added(provider, **options) == fields


def test_groq_answers_in_a_format_whole() -> None:
    found = body("groq", text={"format": {"type": "json_object"}})
    assert found["stream"] is False
    assert "stream_options" not in found


def test_a_model_that_cannot_stream_is_not_asked_to() -> None:
    given = WriterInput("m", "openai", [HELLO], {}, streams=False)
    assert FAMILY.write(given).body == {"model": "m", "messages": [HELLO], "stream": False}


@pytest.mark.parametrize("provider", ["mistral", "perplexity"])
def test_usage_is_not_asked_for_where_it_comes_by_itself(provider: str) -> None:
    assert body(provider) == {"model": "m", "messages": [HELLO], "stream": True}


REFUSED: list[tuple[str, Any, str]] = [
    ("invented", {"invented": 1}, "invented"),
    ("openai", {"prompt": {"id": "p"}}, "prompt"),
    ("groq", {"text": {"verbosity": "low"}}, "text.verbosity"),
    ("deepseek", {"text": {"format": SCHEMA}}, "text.format.type"),
    ("openai", {"text": {"format": {"type": "grammar"}}}, "text.format.type"),
    ("openai", {"reasoning": {"budget": 5}}, "reasoning.budget"),
    ("groq", {"top_logprobs": 2}, "top_logprobs"),
    ("groq", {"include": ["message.output_text.logprobs"]}, "include"),
    ("openai", {"include": ["invented"]}, "include"),
    (
        "openai",
        {"reasoning": {"effort": "low"}, "supports_reasoning": False},
        "reasoning.effort",
    ),
    ("openai", {"tools": [{"type": "web_search"}], "max_tool_calls": 1}, "max_tool_calls"),
]


@pytest.mark.parametrize(("provider", "options", "param"), REFUSED)
def test_what_cannot_be_said_is_refused(provider: str, options: Any, param: str) -> None:
    with pytest.raises(BridgeError) as raised:
        body(provider, **options)
    assert (raised.value.status, raised.value.param) == (400, param)


@pytest.mark.parametrize(
    ("provider", "options"),
    [
        ("groq", {"text": {"verbosity": "low"}}),
        ("groq", {"top_logprobs": 2, "include": ["message.output_text.logprobs"]}),
        ("openai", {"reasoning": {"effort": "low"}, "supports_reasoning": False}),
    ],
)
def test_the_operator_may_have_it_left_out(provider: str, options: Any) -> None:
    assert added(provider, **options, drop_params=True) == {}


@pytest.mark.parametrize(
    ("provider", "item", "param"),
    [
        ("openai", {"type": "computer_call", "call_id": "c"}, "input"),
        ("openai", {"type": "invented"}, "input"),
        ("openai", {"role": "critic", "content": "x"}, "input"),
        *(
            (provider, {"role": "user", "content": [part]}, "input.content[0]")
            for provider, part in (
                ("openai", {"type": "input_image", "file_id": "f"}),
                ("openai", {"type": "input_file", "file_url": "https://a/b"}),
                ("openai", {"type": "input_video"}),
                ("groq", {"type": "input_file", "file_data": "QQ=="}),
                ("groq", {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}),
                ("deepseek", {"type": "input_image", "image_url": "https://a/b.png"}),
                ("cerebras", {"type": "input_image", "image_url": "data:image/png;base64,QQ=="}),
            )
        ),
    ],
)
def test_items_and_parts_that_cannot_be_said_are_refused(
    provider: str, item: Any, param: str
) -> None:
    with pytest.raises(BridgeError) as raised:
        body(provider, [item])
    assert (raised.value.status, raised.value.param) == (400, param)


def test_there_must_be_input() -> None:
    with pytest.raises(BridgeError, match="no input"):
        body(items=[{"role": "user", "content": ""}])


def test_a_link_goes_as_it_is_where_the_provider_opens_it() -> None:
    image = {"type": "input_image", "image_url": "https://a/b.png"}
    (message,) = body("mistral", [{"role": "user", "content": [image]}])["messages"]
    shown = {"type": "image_url", "image_url": {"url": "https://a/b.png"}}
    assert message["content"] == [shown]


def test_calls_of_the_clients_own_tools_are_told() -> None:
    action = {"type": "exec", "command": ["ls"], "env": {}}
    items = [
        {"type": "local_shell_call", "id": "l", "call_id": "s1", "action": action},
        {"type": "local_shell_call_output", "id": "l", "call_id": "s1", "output": "nothing"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{broken"},
        {"type": "function_call_output", "call_id": "c1", "output": "no"},
    ]
    shell, shell_result, call, call_result = body("openai", items)["messages"]
    assert shell["tool_calls"][0]["function"] == {
        "name": "local_shell",
        "arguments": '{"command":["ls"],"env":{}}',
    }
    assert shell_result == {"role": "tool", "tool_call_id": "s1", "content": "nothing"}
    assert call["tool_calls"][0]["function"]["arguments"] == '{"arguments":"{broken"}'
    assert call_result["content"] == "no"
