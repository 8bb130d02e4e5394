"""Calls that the provider ran."""

from __future__ import annotations

from typing import Any

import pytest

from ws_bridge.upstream.dialects.openai_chat.hosted_calls import begun, ended

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
