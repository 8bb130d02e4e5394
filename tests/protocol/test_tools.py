"""One table a request, both ways: what the provider is offered is what its calls are read with."""

import pytest

from ws_bridge.errors import InvalidRequest
from ws_bridge.protocol.tools import (
    LONGEST_NAME,
    ToolTable,
    arguments_of,
    call_of_output,
    fields_of,
    flat_name,
    provider_calls,
)

FUNCTION = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}


def space(*tools, name="crm"):
    return {"type": "namespace", "name": name, "description": "d", "tools": list(tools)}


def test_a_function_keeps_its_name_schema_and_strictness():
    tool = ToolTable.of([{**FUNCTION, "strict": True}]).tools["f"]
    assert (tool.kind, tool.description, tool.parameters, tool.strict) == (
        "function",
        "d",
        {"type": "object"},
        True,
    )


def test_a_tool_in_a_namespace_is_found_by_its_flat_name():
    table = ToolTable.of([FUNCTION, space(FUNCTION)])
    assert list(table.tools) == ["f", "crm__f"]
    assert (table.by_flat_name("crm__f").name, table.by_flat_name("crm__f").namespace) == (
        "f",
        "crm",
    )


def test_what_the_provider_runs_is_not_the_clients():
    table = ToolTable.of([FUNCTION, {"type": "web_search"}, space({"type": "mcp"})])
    assert [(place, tool["type"]) for place, tool in table.hosted] == [
        ("tools[1]", "web_search"),
        ("tools[2].tools[0]", "mcp"),
    ]


def test_two_tools_of_one_flat_name_are_refused_with_the_place():
    with pytest.raises(InvalidRequest) as caught:
        ToolTable.of([{**FUNCTION, "name": "crm__f"}, space(FUNCTION)])
    assert caught.value.param == "tools[1].tools[0]"


def test_the_same_tool_twice_is_refused_too():
    with pytest.raises(InvalidRequest):
        ToolTable.of([FUNCTION, FUNCTION])


def test_a_long_name_is_cut_and_hashed_and_stays_one_of_its_own():
    long, other = "a" * 80, "a" * 79 + "b"
    assert len(flat_name(long)) == LONGEST_NAME
    assert flat_name(long) != flat_name(other)
    table = ToolTable.of([{**FUNCTION, "name": long}])
    assert table.by_flat_name(flat_name(long)).name == long


def test_a_name_with_characters_that_providers_refuse_comes_back_as_it_was():
    table = ToolTable.of([{**FUNCTION, "name": "weather.now"}])
    assert table.by_flat_name("weather_now").name == "weather.now"


def test_a_custom_tools_grammar_is_told_in_its_description():
    tool = {
        "type": "custom",
        "name": "sql",
        "description": "Run SQL.",
        "format": {"type": "grammar", "syntax": "lark", "definition": "start: X"},
    }
    described = ToolTable.of([tool]).tools["sql"].description
    assert "Run SQL." in described
    assert "lark grammar:\nstart: X" in described


def test_a_call_that_is_not_offered_any_more_keeps_its_kind():
    tool = ToolTable.of([]).of_item({"type": "custom_tool_call", "name": "sql", "input": "x"})
    assert (tool.kind, tool.flat) == ("custom", "sql")


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ({"type": "function_call", "arguments": '{"a":1}'}, {"a": 1}),
        ({"type": "function_call", "arguments": ""}, {}),
        ({"type": "function_call", "arguments": '{"a":'}, {"arguments": '{"a":'}),
        ({"type": "function_call", "arguments": "[1]"}, {"arguments": [1]}),
        ({"type": "custom_tool_call", "input": "x"}, {"content": "x"}),
        (
            {"type": "apply_patch_call", "operation": {"type": "delete_file", "path": "a"}},
            {"type": "delete_file", "path": "a"},
        ),
        (
            {"type": "shell_call", "action": {"commands": ["ls"], "timeout_ms": None}},
            {"commands": ["ls"]},
        ),
        (
            {"type": "local_shell_call", "action": {"type": "exec", "command": ["ls"], "env": {}}},
            {"command": ["ls"], "env": {}},
        ),
        ({"type": "shell_call", "action": "nonsense"}, {}),
        (
            {"type": "tool_search_call", "execution": "client", "arguments": {"query": "q"}},
            {"query": "q"},
        ),
    ],
)
def test_every_call_has_its_arguments_as_an_object(call, arguments):
    assert arguments_of(call) == arguments


@pytest.mark.parametrize("kind", ["apply_patch", "shell", "local_shell"])
@pytest.mark.parametrize("arguments", ["", "{", "[]", "{}", '{"commands":"ls"}', '{"command":[1]}'])
def test_arguments_that_do_not_fit_have_no_fields(kind, arguments):
    assert fields_of(kind, arguments) is None


def test_a_deleted_file_has_no_diff():
    given = '{"type":"delete_file","path":"a","diff":"x"}'
    assert fields_of("apply_patch", given) == {"operation": {"type": "delete_file", "path": "a"}}


def test_a_search_of_the_clients_is_a_function_and_one_of_the_providers_is_not():
    theirs, ours = {"type": "tool_search"}, {"type": "tool_search", "execution": "client"}
    asked = {"type": "object", "properties": {"query": {"type": "string"}}}
    table = ToolTable.of([theirs, {**ours, "description": "Finds.", "parameters": asked}])
    (tool,) = table.tools.values()
    assert (tool.flat, tool.description, tool.parameters) == ("tool_search", "Finds.", asked)
    assert (tool.call, tool.is_text) == ("tool_search_call", False)
    assert table.hosted == (("tools[0]", theirs),)
    assert table.named({"type": "tool_search"}) is tool
    assert table.of_item({"type": "tool_search_call", "execution": "client"}) is tool
    assert ToolTable.of([ours]).tools["tool_search"].parameters["required"] == ["query"]


def test_what_a_search_of_the_clients_is_asked_is_an_object():
    asked = {"execution": "client", "arguments": {"query": "q", "limit": 2}}
    assert fields_of("tool_search.client", '{"query":"q","limit":2}') == asked
    assert fields_of("tool_search.client", "q") is None


def test_a_local_shells_output_names_its_call_by_id():
    assert call_of_output({"type": "local_shell_call_output", "id": "c1", "output": ""}) == "c1"
    assert call_of_output({"type": "function_call_output", "call_id": "c2", "id": "x"}) == "c2"


def test_a_choice_names_a_tool_also_in_its_namespace():
    table = ToolTable.of([FUNCTION, space(FUNCTION), {"type": "shell"}])
    assert table.named({"type": "function", "name": "f"}).flat == "f"
    assert table.named({"type": "function", "name": "f", "namespace": "crm"}).flat == "crm__f"
    assert table.named({"type": "shell"}).flat == "shell"
    assert table.named({"type": "function", "name": "unknown"}) is None
    assert table.named({"type": "web_search"}) is None


def test_a_narrowed_table_offers_the_named_tools_only():
    table = ToolTable.of([FUNCTION, {"type": "shell"}]).narrowed(["shell", "unknown"])
    assert list(table.tools) == ["shell"]


FOUND = {"type": "tool_search_output", "call_id": None}


def test_what_the_history_offers_is_offered_once_and_waits_no_longer():
    late = {**FUNCTION, "name": "late", "defer_loading": True}
    items = [
        {**FOUND, "tools": [late, space(FUNCTION), 7]},
        {"type": "additional_tools", "role": "developer", "tools": [{"type": "web_search"}]},
        {"type": "provider_turn", "side_data": {}, "items": [{**FOUND, "tools": [FUNCTION]}]},
        {**FOUND, "tools": None},
    ]
    table = ToolTable.of([late, {"type": "web_search"}], items)
    assert list(table.tools) == ["late", "crm__f", "f"]
    assert not table.tools["late"].is_deferred
    assert [place for place, _ in table.hosted] == ["tools[1]"]
    assert ToolTable.of([late]).tools["late"].is_deferred


def made(name, kind="custom_tool_call", call_id="c"):
    return {"type": kind, "name": name, "call_id": call_id}


def test_a_call_under_a_name_that_was_not_offered_is_the_providers_where_it_runs_such_tools():
    tools = [FUNCTION, space({**FUNCTION, "name": "g"}), {"type": "x_search"}]
    calls = [made("x_keyword_search"), made("f", call_id="d"), made("g", call_id="e")]
    calls += [made("crm__g", call_id="h"), made("late", call_id="l")]
    calls += [{**FOUND, "tools": [{**FUNCTION, "name": "late"}]}]
    assert provider_calls(calls, tools) == {"c"}


@pytest.mark.parametrize("tools", [[], [FUNCTION], [FUNCTION, {"type": "web_search"}]])
def test_else_a_call_of_an_unknown_tool_is_the_clients(tools):
    assert provider_calls([made("unheard_of")], tools) == frozenset()
