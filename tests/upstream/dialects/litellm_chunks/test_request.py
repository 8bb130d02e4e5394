"""What litellm's bridge is given: functions only, data only, nothing that it would run or fetch."""

import pytest

from ws_bridge.errors import BridgeError
from ws_bridge.protocol.request import PASSED_ON
from ws_bridge.protocol.tools import ToolTable
from ws_bridge.upstream.dialects.base import WriterInput
from ws_bridge.upstream.dialects.litellm_chunks.request import write
from ws_bridge.upstream.dialects.litellm_chunks.table import TABLE

HELLO = {"type": "message", "role": "user", "content": "hi"}
ASKED = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
F = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}


def body(*items, **options):
    tools = ToolTable.of(options.get("tools") or ())
    given = WriterInput("m", "some", list(items) or [HELLO], options, tools)
    return write(given).body


def test_a_plain_request_is_the_input_alone():
    assert body() == {"input": [ASKED]}


def test_hints_are_left_out_and_the_rest_is_told():
    given = body(metadata={"a": "b"}, user="u", temperature=0.5, truncation="auto", include=[])
    assert given == {"input": [ASKED], "temperature": 0.5}


def test_every_documented_option_has_a_cell():
    assert set(PASSED_ON) == set(TABLE.options)


def test_instructions_in_a_list_are_text():
    listed = [{"type": "message", "role": "system", "content": "a"}]
    assert body(instructions=listed)["instructions"] == "a"


def test_every_tool_of_the_client_is_a_function():
    tools = [F, {"type": "custom", "name": "sql"}, {"type": "shell"}]
    offered = body(tools=tools)["tools"]
    assert [tool["name"] for tool in offered] == ["f", "sql", "shell"]
    assert {tool["type"] for tool in offered} == {"function"}
    assert offered[0]["strict"] is True


def test_a_history_of_every_kind_is_functions_and_text():
    items = [
        HELLO,
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "why"}]},
        {"type": "custom_tool_call", "call_id": "c", "name": "sql", "input": "x"},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "y"},
        {"type": "web_search_call", "id": "ws", "status": "completed"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
    ]
    assert body(*items)["input"] == [
        ASKED,
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "why"}]},
        {"type": "function_call", "call_id": "c", "name": "sql", "arguments": '{"content":"x"}'},
        {"type": "function_call_output", "call_id": "c", "output": "y"},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "no", "annotations": []}],
        },
    ]


@pytest.mark.parametrize(
    ("choice", "told", "offered"),
    [
        ("auto", None, ["f", "shell"]),
        ("none", "none", ["f", "shell"]),
        ({"type": "function", "name": "f"}, {"type": "function", "name": "f"}, ["f", "shell"]),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "shell"}]},
            "required",
            ["shell"],
        ),
    ],
)
def test_a_choice_is_told_and_allowed_tools_narrow(choice, told, offered):
    given = body(tools=[F, {"type": "shell"}], tool_choice=choice)
    assert given.get("tool_choice") == told
    assert [tool["name"] for tool in given["tools"]] == offered


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"tools": [F, {"type": "web_search"}]}, "tools[1]"),
        ({"tools": [{"type": "file_search"}]}, "tools[0]"),
        ({"tools": [{"type": "invented"}]}, "tools[0]"),
        ({"tools": [F], "tool_choice": {"type": "invented"}}, "tool_choice"),
        ({"tools": [F], "tool_choice": {"type": "function", "name": "g"}}, "tool_choice"),
        (
            {"tools": [F], "tool_choice": {"type": "allowed_tools", "tools": [{"name": "g"}]}},
            "tool_choice",
        ),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"invented": 1}, "invented"),
        ({"include": ["invented"]}, "include"),
    ],
)
def test_what_it_cannot_carry_is_refused_with_its_place(options, param):
    with pytest.raises(BridgeError) as caught:
        body(**options)
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_image", "image_url": "https://x.org/a.png"},
        {"type": "input_file", "file_url": "http://10.0.0.1/x"},
        {"type": "input_file", "file_id": "file-1"},
        {"type": "invented"},
    ],
)
def test_no_link_and_no_unknown_part_goes_out(part):
    with pytest.raises(BridgeError) as caught:
        body({"role": "user", "content": [part]})
    assert caught.value.status == 400


def test_nothing_to_say_is_refused():
    with pytest.raises(BridgeError) as caught:
        body({"role": "user", "content": ""})
    assert (caught.value.status, caught.value.param) == (400, "input")


def test_a_link_goes_to_those_who_open_it_themselves():
    part = {"type": "input_image", "image_url": "https://x.org/a.png"}
    item = {"role": "user", "content": [part]}
    asked = write(WriterInput("m", "azure", [item], {})).body
    assert asked["input"][0]["content"] == [part]
