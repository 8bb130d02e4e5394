"""Calls that Anthropic runs itself, as items that the official types take."""

import pydantic
import pytest
from openai.types.responses import ResponseOutputItem

from ws_bridge.upstream.dialects.anthropic.hosted import item_of, outcome_of

ITEM = pydantic.TypeAdapter(ResponseOutputItem)


def use(name, given, kind="server_tool_use", **more):
    return {"type": kind, "id": "s", "name": name, "input": given, **more}


def item(block, content, **result):
    """The item of a call and its result, checked."""
    begun = item_of(block, "container_1")
    ITEM.validate_python({"id": "x", "status": "in_progress", **begun}, strict=True)
    made = {"id": "x", **begun, **outcome_of(begun, {"content": content, **result})}
    ITEM.validate_python(made, strict=True)
    return made


def test_a_search_has_its_query_and_its_sources():
    page = {"type": "web_search_result", "url": "https://a", "title": "A"}
    made = item(use("web_search", {"query": "q"}), [page, {"url": 1}, None])
    assert made["type"] == "web_search_call"
    assert made["action"] == {
        "type": "search",
        "query": "q",
        "queries": ["q"],
        "sources": [{"type": "url", "url": "https://a"}],
    }


def test_a_fetch_opens_a_page():
    made = item(use("web_fetch", {"url": "https://a"}), {"type": "web_fetch_result"})
    assert made["action"] == {"type": "open_page", "url": "https://a"}
    assert made["status"] == "completed"


@pytest.mark.parametrize(
    ("name", "given", "content", "code", "logs"),
    [
        ("code_execution", {"code": "1"}, {"stdout": "a\n", "stderr": "b"}, "1", "a\nb"),
        ("bash_code_execution", {"command": "ls"}, {"stdout": "a", "content": []}, "ls", "a"),
        (
            "text_editor_code_execution",
            {"command": "view", "path": "/a"},
            {"content": "text", "file_type": "text"},
            '{"command":"view","path":"/a"}',
            "text",
        ),
        (
            "text_editor_code_execution",
            {"command": "str_replace"},
            {"lines": ["-a", "+b"]},
            '{"command":"str_replace"}',
            "-a\n+b",
        ),
    ],
)
def test_code_has_what_it_wrote(name, given, content, code, logs):
    made = item(use(name, given), {"type": "result", **content})
    assert (made["type"], made["container_id"]) == ("code_interpreter_call", "container_1")
    assert (made["code"], made["outputs"]) == (code, [{"type": "logs", "logs": logs}])


def test_code_that_wrote_nothing_has_no_output():
    assert item(use("code_execution", {}), {"stdout": "", "stderr": ""})["outputs"] == []


def test_a_call_of_an_mcp_server_has_its_server_and_output():
    block = use("echo", {"a": 1}, "mcp_tool_use", server_name="srv")
    made = item(block, [{"type": "text", "text": "hi"}, {"type": "image"}], is_error=False)
    assert (made["name"], made["server_label"]) == ("echo", "srv")
    assert (made["arguments"], made["output"]) == ('{"a":1}', "hi")
    failed = item(block, [{"type": "text", "text": "no"}], is_error=True)
    assert failed["status"] == "failed"
    assert failed["error"]["content"] == [{"type": "text", "text": "no"}]


def test_a_tool_search_is_one():
    found = {"type": "tool_search_tool_search_result", "tool_references": []}
    made = item(use("tool_search_tool_regex", {"pattern": "x"}), found)
    assert (made["type"], made["execution"], made["call_id"]) == (
        "tool_search_call",
        "server",
        None,
    )
    assert made["arguments"] == {"pattern": "x"}


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("web_search", "failed"),
        ("web_fetch", "failed"),
        ("code_execution", "failed"),
        ("tool_search_tool_bm25", "incomplete"),
    ],
)
def test_a_failure_has_the_status_word_of_its_type(name, status):
    error = {"type": "some_tool_result_error", "error_code": "unavailable"}
    assert item(use(name, {}), error)["status"] == status


def test_what_no_table_names_is_shown_as_nothing():
    assert item_of(use("advisor", {}), "") is None
    assert item_of(use(None, None), "") is None
