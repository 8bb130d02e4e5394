"""A request in Cohere's words: whole bodies, and 400s for what Cohere cannot be sent."""

import pytest

from ws_bridge.errors import BridgeError
from ws_bridge.protocol.tools import ToolTable
from ws_bridge.upstream.dialects.base import WriterInput
from ws_bridge.upstream.dialects.cohere import FAMILY
from ws_bridge.upstream.dialects.seals import MakerSeals

SEALS = MakerSeals("cohere", lambda: [b"a key"])
OTHERS = MakerSeals("another", lambda: [b"a key"])
FUNCTION = {
    "type": "function",
    "name": "f",
    "description": "It does.",
    "parameters": {"type": "object", "properties": {}, "required": ["a"]},
    "strict": True,
}
SECOND = {"type": "custom", "name": "g"}
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,QUJD", "detail": "low"}


def written(items, model="command-a", more=None, **options):
    tools = ToolTable.of(options.get("tools", ()))
    given = WriterInput(model, "cohere", items, options, tools, SEALS, **(more or {}))
    return FAMILY.write(given)


def body(items=(), **options):
    return written(list(items), **options).body


def user(text="Hi"):
    return {"type": "message", "role": "user", "content": text}


def refusal(items=(), **options):
    with pytest.raises(BridgeError) as refused:
        written(list(items), **options)
    assert refused.value.status == 400
    return refused.value.param


def test_a_plain_request():
    assert body(
        [user()],
        instructions="Be brief.",
        temperature=0.3,
        top_p=1.0,
        max_output_tokens=50,
        metadata={"a": "b"},
        truncation="auto",
        service_tier="flex",
    ) == {
        "model": "command-a",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
        ],
        "stream": True,
        "temperature": 0.3,
        "p": 0.99,
        "max_tokens": 50,
    }


@pytest.mark.parametrize("sealed", [{}, {"encrypted_content": SEALS.seal({"thinking": True})}])
def test_a_history_with_calls_thoughts_and_a_plan(sealed):
    items = [
        user(),
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}], **sealed},
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "I look."}],
            "encrypted_content": SEALS.seal({"tool_plan": True}),
        },
        {"type": "function_call", "call_id": "f_1", "name": "f", "arguments": '{"a":1}'},
        {"type": "function_call_output", "call_id": "f_1", "output": "one"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "1"}]},
        {"type": "message", "role": "developer", "content": "Shorter."},
    ]

    assert body(items)["messages"] == [
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "Hm."}],
            "tool_plan": "I look.",
            "tool_calls": [
                {
                    "id": "f_1",
                    "type": "function",
                    "function": {"name": "f", "arguments": '{"a":1}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "f_1", "content": "one"},
        {"role": "assistant", "content": "1"},
        {"role": "system", "content": "Shorter."},
    ]


@pytest.mark.parametrize("sealed", [OTHERS.seal({"tool_plan": True}), "gAAAA", SEALS.seal({})])
def test_a_thought_that_another_maker_sealed_is_left_out(sealed):
    thought = {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "Hm."}],
        "encrypted_content": sealed,
    }

    assert body([user(), thought])["messages"] == [{"role": "user", "content": "Hi"}]


def test_thoughts_are_not_sent_to_a_model_that_does_not_think():
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}

    sent = written([user(), thought], more={"supports_reasoning": False}).body["messages"]
    assert sent == [{"role": "user", "content": "Hi"}]


def test_images_go_as_data_or_as_links():
    link = {"type": "input_image", "image_url": "https://x.test/a.png"}
    content = [{"type": "input_text", "text": "See"}, IMAGE, link]

    assert body([user(content)])["messages"][0]["content"] == [
        {"type": "text", "text": "See"},
        {
            "type": "image_url",
            "image_url": {"url": "data:image/png;base64,QUJD", "detail": "low"},
        },
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
    ]


def test_an_empty_output_says_so():
    items = [
        {"type": "function_call", "call_id": "f_1", "name": "f", "arguments": ""},
        {"type": "function_call_output", "call_id": "f_1", "output": ""},
    ]

    assert body(items)["messages"][1]["content"] == "(no output)"


def test_tools_are_functions():
    sent = body([user()], tools=[FUNCTION])

    assert sent["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "f",
                "description": "It does.",
                "parameters": FUNCTION["parameters"],
            },
        }
    ]
    assert sent["strict_tools"] is True
    assert "tool_choice" not in sent


@pytest.mark.parametrize(
    "other", [SECOND, {**FUNCTION, "name": "g", "strict": False}, {"type": "shell"}]
)
def test_tools_are_strict_together_or_not_at_all(other):
    assert "strict_tools" not in body([user()], tools=[FUNCTION, other])


@pytest.mark.parametrize(
    ("choice", "names", "word"),
    [
        ("auto", ["f", "g"], None),
        ("none", ["f", "g"], "NONE"),
        ("required", ["f", "g"], "REQUIRED"),
        ({"type": "function", "name": "f"}, ["f"], "REQUIRED"),
        ({"type": "custom", "name": "g"}, ["g"], "REQUIRED"),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "custom", "name": "g"}]},
            ["g"],
            None,
        ),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [FUNCTION]},
            ["f"],
            "REQUIRED",
        ),
    ],
)
def test_a_choice_narrows_the_tools(choice, names, word):
    request = written([user()], tools=[FUNCTION, SECOND], tool_choice=choice)

    assert [tool["function"]["name"] for tool in request.body["tools"]] == names
    assert request.body.get("tool_choice") == word
    assert list(request.tools.tools) == names


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tools": [FUNCTION, {"type": "invented"}]}, "tools[1]"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"tools": [FUNCTION], "tool_choice": "invented"}, "tool_choice"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "h"}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [FUNCTION], "parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"invented": 1}, "invented"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format"),
        ({"reasoning": {"effort": "invented"}}, "reasoning.effort"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
    ],
)
def test_what_cohere_cannot_be_sent_is_refused(options, param):
    assert refusal([user()], **options) == param


@pytest.mark.parametrize(
    "item",
    [
        {"type": "invented"},
        {"type": "computer_call", "call_id": "c"},
        user([{"type": "invented"}]),
        user([{"type": "input_file", "file_data": "data:text/plain;base64,QQ=="}]),
        user([{"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}}]),
        user([{"type": "input_image", "file_id": "file_1"}]),
        {"type": "message", "role": "system", "content": [IMAGE]},
        {"type": "function_call_output", "call_id": "f_1", "output": [IMAGE]},
    ],
)
def test_items_and_parts_that_cohere_lacks_are_refused(item):
    call = {"type": "function_call", "call_id": "f_1", "name": "f", "arguments": "{}"}

    assert refusal([call, item]).startswith("input")


@pytest.mark.parametrize(
    ("format_", "sent"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "json_object"}),
        (
            {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True},
            {"type": "json_object", "json_schema": {"type": "object"}},
        ),
    ],
)
def test_a_structured_answer(format_, sent):
    assert body([user()], text={"format": format_}).get("response_format") == sent


@pytest.mark.parametrize(
    ("effort", "sent"),
    [
        (None, None),
        ("none", {"type": "disabled"}),
        ("low", {"type": "enabled", "token_budget": 2000}),
        ("high", {"type": "enabled"}),
    ],
)
def test_an_effort_is_a_budget(effort, sent):
    reasoning = {"effort": effort, "summary": "auto"}

    assert body([user()], reasoning=reasoning).get("thinking") == sent


def test_an_effort_for_a_model_that_does_not_think_is_refused_unless_dropped():
    more = {"supports_reasoning": False}

    assert refusal([user()], reasoning={"effort": "low"}, more=more) == "reasoning.effort"
    dropped = written([user()], reasoning={"effort": "low"}, more={**more, "drop_params": True})
    assert "thinking" not in dropped.body


def test_what_would_be_refused_is_left_out_where_the_operator_says_so():
    request = written(
        [user()],
        tools=[FUNCTION],
        parallel_tool_calls=False,
        top_logprobs=2,
        text={"verbosity": "high"},
        more={"drop_params": True},
    )

    assert set(request.body) == {"model", "messages", "stream", "tools", "strict_tools"}
