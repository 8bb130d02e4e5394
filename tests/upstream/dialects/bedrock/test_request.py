"""A request in Converse's words: whole bodies, and 400s for what it cannot be sent."""

import json

import pytest

from ws_bridge.errors import BridgeError
from ws_bridge.protocol.tools import ToolTable
from ws_bridge.upstream.dialects.base import WriterInput
from ws_bridge.upstream.dialects.bedrock import FAMILY

CLAUDE, NOVA = "us.anthropic.claude-sonnet-4-20250514-v1:0", "us.amazon.nova-premier-v1:0"
STRICT_CLAUDE, LLAMA = "anthropic.claude-sonnet-4-5-20250929-v1:0", "meta.llama4-scout"
POINT = {"cachePoint": {"type": "default"}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
FUNCTION = {
    "type": "function",
    "name": "f",
    "description": "It does.",
    "parameters": SCHEMA,
    "strict": True,
}
SPEC = {"toolSpec": {"name": "f", "description": "It does.", "inputSchema": {"json": SCHEMA}}}
SHELL = {"type": "shell"}


def user(text="Hi"):
    return {"type": "message", "role": "user", "content": text}


CALLED = [
    user(),
    {"type": "function_call", "call_id": "c_1", "name": "f", "arguments": '{"a":1}'},
    {"type": "function_call_output", "call_id": "c_1", "output": "one"},
]


def written(items=(), model=LLAMA, more=None, **options):
    tools = ToolTable.of(options.get("tools", ()))
    given = WriterInput(model, "bedrock", list(items or [user()]), options, tools, **(more or {}))
    return FAMILY.write(given)


def body(items=(), **options):
    return written(items, **options).body


def refusal(items=(), **options):
    with pytest.raises(BridgeError) as refused:
        written(items, **options)
    assert refused.value.status == 400
    return refused.value.param


def test_a_plain_request():
    assert body(
        instructions="Be brief.",
        temperature=0.3,
        top_p=0.9,
        max_output_tokens=50,
        max_tool_calls=3,
        metadata={"a": "b"},
        service_tier="priority",
    ) == {
        "system": [{"text": "Be brief."}],
        "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
        "inferenceConfig": {"maxTokens": 50, "temperature": 0.3, "topP": 0.9},
        "serviceTier": {"type": "priority"},
    }


def test_a_loop_of_calls_at_claude():
    assert body(CALLED, model=CLAUDE, instructions="Be brief.", tools=[FUNCTION]) == {
        "system": [{"text": "Be brief."}, POINT],
        "messages": [
            {"role": "user", "content": [{"text": "Hi"}, POINT]},
            {
                "role": "assistant",
                "content": [{"toolUse": {"toolUseId": "c_1", "name": "f", "input": {"a": 1}}}],
            },
            {
                "role": "user",
                "content": [
                    {"toolResult": {"toolUseId": "c_1", "content": [{"text": "one"}]}},
                    POINT,
                ],
            },
        ],
        "toolConfig": {"tools": [SPEC, POINT]},
    }


def test_nova_has_cache_points_in_system_text_and_messages_without_results():
    sent = body(CALLED, model=NOVA, instructions="Be brief.", tools=[FUNCTION])

    assert sent["system"][-1] == POINT
    assert sent["toolConfig"] == {"tools": [SPEC]}
    assert [POINT in message["content"] for message in sent["messages"]] == [True, False, False]


def test_cache_points_can_be_switched_off_and_other_models_get_none():
    off = body(CALLED, model=CLAUDE, tools=[FUNCTION], more={"prompt_cache": False})

    assert "cachePoint" not in json.dumps(off)
    assert "cachePoint" not in json.dumps(body(CALLED, tools=[FUNCTION]))


def test_a_function_without_parameters_or_description_is_one_all_the_same():
    function = {"type": "function", "name": "g", "parameters": {}, "description": " "}

    assert body(tools=[function])["toolConfig"]["tools"] == [
        {"toolSpec": {"name": "g", "inputSchema": {"json": {"type": "object"}}}}
    ]


def test_strict_tools_are_strict_where_the_model_can_be():
    (spec,) = body(model=STRICT_CLAUDE, tools=[FUNCTION], more={"prompt_cache": False})[
        "toolConfig"
    ]["tools"]

    assert spec["toolSpec"]["strict"] is True


@pytest.mark.parametrize(
    ("choice", "names", "sent"),
    [
        ("auto", ["f", "shell"], None),
        ("required", ["f", "shell"], {"any": {}}),
        ({"type": "function", "name": "f"}, ["f", "shell"], {"tool": {"name": "f"}}),
        ({"type": "allowed_tools", "mode": "required", "tools": [SHELL]}, ["shell"], {"any": {}}),
    ],
)
def test_a_choice(choice, names, sent):
    request = written(tools=[FUNCTION, SHELL], tool_choice=choice)
    config = request.body["toolConfig"]

    assert [spec["toolSpec"]["name"] for spec in config["tools"]] == names
    assert config.get("toolChoice") == sent
    assert list(request.tools.tools) == names


UNAVAILABLE = {
    "toolSpec": {
        "name": "f",
        "description": "It is not available now.",
        "inputSchema": {"json": {"type": "object", "properties": {}}},
    }
}


@pytest.mark.parametrize("options", [{}, {"tools": [FUNCTION, SHELL], "tool_choice": "none"}])
def test_a_history_with_calls_names_its_tools_where_none_may_be_called(options):
    more = {"prompt_cache": False}
    request = written(CALLED, model=CLAUDE, more=more, **options)

    assert request.body["toolConfig"] == {"tools": [UNAVAILABLE]}
    assert request.body["additionalModelRequestFields"] == {"tool_choice": {"type": "none"}}
    assert not request.tools.tools
    other = body(CALLED, **options)
    assert other["toolConfig"] == {"tools": [UNAVAILABLE]}
    assert "additionalModelRequestFields" not in other


def test_without_calls_none_needs_no_tools():
    assert "toolConfig" not in body(tools=[FUNCTION], tool_choice="none")


@pytest.mark.parametrize(
    ("choice", "fields", "sent"),
    [
        ("auto", {"type": "auto", "disable_parallel_tool_use": True}, None),
        ("required", {"disable_parallel_tool_use": True}, {"any": {}}),
    ],
)
def test_claude_can_be_held_to_one_call_at_a_time(choice, fields, sent):
    sent_body = body(model=CLAUDE, tools=[FUNCTION], tool_choice=choice, parallel_tool_calls=False)

    assert sent_body["additionalModelRequestFields"] == {"tool_choice": fields}
    assert sent_body["toolConfig"].get("toolChoice") == sent


def test_thinking_has_its_fields_and_a_limit():
    sent = body(model=CLAUDE, reasoning={"effort": "low"})

    assert sent["additionalModelRequestFields"] == {
        "thinking": {"type": "enabled", "budget_tokens": 2048}
    }
    assert sent["inferenceConfig"] == {"maxTokens": 10_240}
    assert sent["additionalModelResponseFieldPaths"] == ["/usage/output_tokens_details"]


def test_a_structured_answer():
    wanted = {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}
    output = body(text={"format": wanted})["outputConfig"]["textFormat"]

    assert output["type"] == "json_schema"
    definition = output["structure"]["jsonSchema"]
    assert (definition["name"], json.loads(definition["schema"])) == ("n", SCHEMA)


@pytest.mark.parametrize(
    ("tool", "name"),
    [
        ({"type": "web_search"}, "nova_grounding"),
        ({"type": "web_search", "search_context_size": "medium"}, "nova_grounding"),
        ({"type": "code_interpreter", "container": {"type": "auto"}}, "nova_code_interpreter"),
    ],
)
def test_nova_has_tools_of_its_own(tool, name):
    sent = body(model=NOVA, tools=[FUNCTION, tool])

    assert sent["toolConfig"]["tools"] == [SPEC, {"systemTool": {"name": name}}]


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tools": [FUNCTION, {"type": "invented"}]}, "tools[1]"),
        (
            {"model": NOVA, "tools": [{"type": "web_search", "filters": {"a": 1}}]},
            "tools[0].filters",
        ),
        (
            {"model": NOVA, "tools": [{"type": "code_interpreter", "container": "c_1"}]},
            "tools[0].container",
        ),
        (
            {"model": NOVA, "tools": [{"type": "web_search"}], "max_tool_calls": 1},
            "max_tool_calls",
        ),
        ({"tools": [FUNCTION], "tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"tools": [FUNCTION], "parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"invented": 1}, "invented"),
        ({"service_tier": "scale"}, "service_tier"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"text": {"format": {"type": "json_object"}}}, "text.format"),
        ({"reasoning": {"effort": "low"}}, "reasoning.effort"),
    ],
)
def test_what_converse_cannot_be_sent_is_refused(options, param):
    assert refusal(**options) == param


def test_what_would_be_refused_is_left_out_where_the_operator_says_so():
    request = written(
        tools=[FUNCTION],
        parallel_tool_calls=False,
        top_logprobs=2,
        service_tier="scale",
        text={"verbosity": "high"},
        reasoning={"effort": "low"},
        more={"drop_params": True},
    )

    assert set(request.body) == {"messages", "toolConfig"}
