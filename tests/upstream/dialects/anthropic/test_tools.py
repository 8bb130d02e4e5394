"""The tools of a request and the choice among them."""

import pytest

from ws_bridge.errors import InvalidRequest, UpstreamError
from ws_bridge.protocol.tools import ClientTool, ToolTable
from ws_bridge.upstream.dialects.anthropic.tools import tools_of

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
F = {"type": "function", "name": "f", "description": "Does f.", "parameters": SCHEMA}
G = {"type": "function", "name": "g", "parameters": SCHEMA}
MCP = {
    "type": "mcp",
    "server_label": "srv",
    "server_url": "https://mcp.example",
    "require_approval": "never",
}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
CODE = {"type": "code_execution_20250825", "name": "code_execution"}


def offered(*tools, called=(), **options):
    return tools_of(ToolTable.of(tools), options, called)


def test_the_clients_tools_are_functions():
    made = offered(F, {"type": "custom", "name": "w"})
    assert made.fields()["tools"][0] == {
        "name": "f",
        "description": "Does f.",
        "input_schema": SCHEMA,
    }
    assert made.fields()["tools"][1]["input_schema"]["required"] == ["content"]


def test_nothing_is_said_of_no_tools():
    assert offered().fields() == {}


@pytest.mark.parametrize(
    ("tool", "written"),
    [
        ({"type": "web_search"}, SEARCH),
        ({"type": "web_search_preview", "search_context_size": "low"}, SEARCH),
        (
            {
                "type": "web_search",
                "filters": {"allowed_domains": ["a.example"]},
                "user_location": {"type": "approximate", "city": "Oslo", "region": None},
            },
            {
                **SEARCH,
                "allowed_domains": ["a.example"],
                "user_location": {"type": "approximate", "city": "Oslo"},
            },
        ),
    ],
)
def test_a_web_search_is_anthropics(tool, written):
    assert offered(tool).fields() == {"tools": [written]}


def test_the_most_calls_are_the_most_searches():
    assert offered({"type": "web_search"}, F, max_tool_calls=3).tools[1]["max_uses"] == 3
    assert offered(F, max_tool_calls=3).tools == offered(F).tools  # it counts no client's calls


def test_code_runs_in_anthropics_container():
    made = offered({"type": "code_interpreter", "container": {"type": "auto"}})
    assert (made.fields(), made.betas) == ({"tools": [CODE]}, ["code-execution-2025-08-25"])
    named = offered({"type": "code_interpreter", "container": "container_1"})
    assert named.fields() == {"tools": [CODE], "container": "container_1"}


def test_an_mcp_server_is_asked_by_anthropic():
    made = offered({**MCP, "headers": {"Authorization": "Bearer T"}, "allowed_tools": ["a"]})
    server = {"type": "url", "url": "https://mcp.example", "name": "srv"}
    assert made.fields() == {
        "mcp_servers": [{**server, "authorization_token": "T"}],
        "tools": [
            {
                "type": "mcp_toolset",
                "mcp_server_name": "srv",
                "default_config": {"enabled": False},
                "configs": {"a": {"enabled": True}},
            }
        ],
    }
    assert made.betas == ["mcp-client-2025-11-20"]
    plain = offered({**MCP, "authorization": "T", "allowed_tools": {"tool_names": ["a"]}})
    assert plain.fields() == made.fields()
    assert offered(MCP).fields()["mcp_servers"] == [server]


def test_deferred_tools_wait_where_they_can_be_searched():
    late = {**F, "defer_loading": True}
    made = offered(late, G, {"type": "tool_search"})
    assert [tool.get("defer_loading") for tool in made.tools] == [True, None, None]
    assert made.tools[2]["name"] == "tool_search_tool_bm25"
    assert [tool.get("defer_loading") for tool in offered(late, G).tools] == [None, None]


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({"type": "computer_use_preview"}, "tools[1]"),
        ({"type": "file_search"}, "tools[1]"),
        ({"type": "of_later_days"}, "tools[1]"),
        ({"type": "web_search", "external_web_access": False}, "tools[1].external_web_access"),
        ({"type": "web_search", "new": 1}, "tools[1].new"),
        ({"type": "code_interpreter", "container": "cntr_1"}, "tools[1].container"),
        (
            {"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["f"]}},
            "tools[1].container",
        ),
        ({**MCP, "server_url": None}, "tools[1]"),
        ({**MCP, "connector_id": "connector_gmail"}, "tools[1].connector_id"),
        ({**MCP, "require_approval": None}, "tools[1].require_approval"),
        ({**MCP, "require_approval": "always"}, "tools[1].require_approval"),
        ({**MCP, "headers": {"X-Other": "1"}}, "tools[1].headers"),
        ({**MCP, "headers": {"Authorization": "Basic x"}}, "tools[1].headers"),
        ({**MCP, "allowed_tools": {"read_only": True}}, "tools[1].allowed_tools"),
        (
            {"type": "web_search", "search_content_types": ["image"]},
            "tools[1].search_content_types",
        ),
    ],
)
def test_what_anthropic_has_not_is_refused_at_its_place(tool, param):
    with pytest.raises(UpstreamError) as refusal:
        offered(F, tool)
    assert (refusal.value.status, refusal.value.param) == (400, param)


def test_calls_that_cannot_be_counted_are_not_limited_in_silence():
    for tools in ([MCP], [{"type": "web_search"}, MCP]):
        with pytest.raises(UpstreamError) as refusal:
            offered(*tools, max_tool_calls=2)
        assert refusal.value.param == "max_tool_calls"


def test_two_tools_of_one_name_are_refused():
    with pytest.raises(InvalidRequest, match="web_search"):
        offered({"type": "function", "name": "web_search"}, {"type": "web_search"})


def test_calls_in_a_history_describe_their_tools_but_may_not_be_made():
    made = offered(called=[ClientTool("f", "function", "f"), ClientTool("f", "function", "f")])
    assert made.fields() == {
        "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}],
        "tool_choice": {"type": "none"},
    }
    assert made.table.tools == {}


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        ("auto", None),
        ("required", {"type": "any"}),
        ("none", {"type": "none"}),
        ({"type": "function", "name": "f"}, {"type": "tool", "name": "f"}),
        ({"type": "web_search"}, {"type": "tool", "name": "web_search"}),
        ({"type": "web_search_preview"}, {"type": "tool", "name": "web_search"}),
        (None, None),
    ],
)
def test_a_choice_is_said_in_anthropics_words(choice, written):
    made = offered(F, G, {"type": "web_search"}, tool_choice=choice)
    assert made.choice == written
    assert made.is_forced is (written is not None and written["type"] in ("any", "tool"))


def test_one_call_at_a_time():
    made = offered(F, parallel_tool_calls=False)
    assert made.choice == {"type": "auto", "disable_parallel_tool_use": True}
    named = offered(F, parallel_tool_calls=False, tool_choice="required")
    assert named.choice == {"type": "any", "disable_parallel_tool_use": True}
    none = offered(F, parallel_tool_calls=False, tool_choice="none")
    assert none.choice == {"type": "none"}
    assert offered(F, parallel_tool_calls=True).choice is None
    assert offered(parallel_tool_calls=False).choice is None


def test_allowed_tools_are_all_that_is_offered():
    tools = (F, G, {"type": "web_search"}, MCP)
    allowed = [{"type": "function", "name": "g"}, {"type": "mcp", "server_label": "srv"}]
    choice = {"type": "allowed_tools", "mode": "required", "tools": allowed}
    made = offered(*tools, tool_choice=choice)
    assert [tool.get("name") for tool in made.tools] == ["g", None]
    assert made.choice == {"type": "any"}
    assert set(made.table.tools) == {"g"}


@pytest.mark.parametrize(
    "choice",
    [
        "required",
        {"type": "function", "name": "h"},
        {"type": "code_interpreter"},
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "h"}]},
    ],
)
def test_a_choice_of_what_is_not_offered_is_refused(choice):
    with pytest.raises(InvalidRequest) as refusal:
        offered(*([] if choice == "required" else [F]), tool_choice=choice)
    assert refusal.value.param == "tool_choice"


@pytest.mark.parametrize("choice", ["of_later_days", {"type": "mcp", "server_label": "srv"}])
def test_an_unknown_choice_is_refused(choice):
    with pytest.raises(UpstreamError) as refusal:
        offered(MCP, tool_choice=choice)
    assert refusal.value.param == "tool_choice"
