"""Calls of the provider's own tools become the items that clients know."""

import pytest

from ws_bridge.upstream.dialects.gemini.hosted import (
    fields_of_response,
    items_of_call,
    search_item,
    written,
)


def items(kind, **args):
    return items_of_call({"toolType": kind, "args": args})


@pytest.mark.parametrize("kind", ["GOOGLE_SEARCH_WEB", "GOOGLE_MAPS"])
def test_searches_have_their_queries(kind):
    assert items(kind, queries=["a", 1, "b"]) == [search_item(["a", "b"])]
    assert items(kind, query="a") == [search_item(["a"])]
    assert items(kind)[0]["action"] == {"type": "search", "query": "", "queries": []}


def test_every_page_is_an_item():
    actions = [item["action"] for item in items("URL_CONTEXT", urls=["https://a", "https://b"])]
    assert actions == [
        {"type": "open_page", "url": "https://a"},
        {"type": "open_page", "url": "https://b"},
    ]


def test_a_file_search_and_code_are_theirs():
    files = {"type": "file_search_call", "queries": ["a"], "results": None}
    assert items("FILE_SEARCH", query="a") == [files]
    assert items("CODE_EXECUTION", code="1+1")[0]["code"] == "1+1"


def test_an_unknown_tool_is_a_call_of_an_mcp_server():
    assert items("NEW_TOOL", a=1) == [
        {
            "type": "mcp_call",
            "name": "NEW_TOOL",
            "server_label": "NEW_TOOL",
            "arguments": '{"a":1}',
            "output": None,
            "error": None,
        }
    ]
    assert items_of_call({})[0]["type"] == "mcp_call"
    assert items_of_call({"toolType": "GOOGLE_SEARCH_WEB", "args": "x"}) == [search_item([])]


def test_a_response_is_the_output_of_its_item():
    assert fields_of_response("mcp_call", "fine") == {"output": "fine"}
    assert fields_of_response("mcp_call", {"a": None}) == {"output": '{"a":null}'}
    logs = [{"type": "logs", "logs": "2"}]
    assert fields_of_response("code_interpreter_call", {"output": "2"}) == {"outputs": logs}
    assert fields_of_response("web_search_call", {"html": "<b>"}) == {}


def test_half_of_a_character_can_be_written():
    assert written({"a": "\ud83d", "b": [1]}) == '{"a":"?","b":[1]}'
