"""Calls that the provider ran."""

from __future__ import annotations

from typing import Any

import pytest

from ws_bridge.upstream.dialects.openai_chat.hosted_calls import begun, ended, of_step

SEARCH = {"type": "web_search_call", "action": {"type": "search", "query": "cats"}}


def test_a_search_has_its_query_and_its_sources() -> None:
    item = begun("search", '{"query": "cats"}', "groq")
    assert item == SEARCH
    results = {"results": [{"url": "https://a"}, {"title": "no address"}]}
    assert ended(item, {"output": "…", "search_results": results}) == {
        "action": SEARCH["action"] | {"sources": [{"type": "url", "url": "https://a"}]}  # type: ignore[operator]
    }
    assert ended(item, {"output": "…"}) == {"action": SEARCH["action"]}


def test_a_page_is_opened() -> None:
    item = begun("visit", {"url": "https://a"}, "groq")
    assert item == {"type": "web_search_call", "action": {"type": "open_page", "url": "https://a"}}
    assert ended(item, {"output": "text"}) == {}


@pytest.mark.parametrize("arguments", ['{"code": "1+1"}', "1+1"])
def test_code_has_its_logs(arguments: str) -> None:
    item = begun("python", arguments, "groq")
    assert item["code"] == "1+1"
    assert ended(item, {"output": "2"}) == {"outputs": [{"type": "logs", "logs": "2"}]}


@pytest.mark.parametrize(("output", "text"), [("x", "x"), ({"a": 1}, '{"a":1}'), (None, None)])
def test_any_other_tool_is_a_call_of_the_providers_server(output: Any, text: Any) -> None:
    item = begun("wolfram", {"q": 1}, "groq")
    expected = {"type": "mcp_call", "name": "wolfram", "server_label": "groq"}
    assert item == expected | {"arguments": '{"q":1}'}
    assert ended(item, {"output": output}) == {"output": text}


def test_a_step_of_a_search() -> None:
    results = [{"url": "https://a", "title": "A"}]
    told = {"search_keywords": ["a", "b"], "search_results": results}
    found = of_step({"type": "web_search", "thought": "hm", "web_search": told})
    assert found is not None
    action = {"type": "search", "query": "a, b"}
    assert found[0] == {"type": "web_search_call", "action": action}
    assert found[1] == {"action": action | {"sources": [{"type": "url", "url": "https://a"}]}}


def test_steps_that_open_pages_and_run_code() -> None:
    page = of_step({"type": "fetch_url_content", "fetch_url_content": {"contents": [{"url": "u"}]}})
    assert page == (
        {"type": "web_search_call", "action": {"type": "open_page", "url": "u"}},
        {},
    )
    code = of_step({"type": "execute_python", "execute_python": {"code": "1", "result": "2"}})
    assert code is not None
    assert (code[0]["code"], code[1]) == ("1", {"outputs": [{"type": "logs", "logs": "2"}]})


@pytest.mark.parametrize("step", [{}, {"type": "web_search"}, {"type": "think", "think": {}}])
def test_a_thought_is_no_call(step: Any) -> None:
    assert of_step(step) is None
