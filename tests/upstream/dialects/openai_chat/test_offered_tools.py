"""Tools and the choice among them."""

from __future__ import annotations

from typing import Any

import pytest

from ws_bridge.errors import BridgeError
from ws_bridge.protocol.tools import ToolTable
from ws_bridge.upstream.dialects.openai_chat.offered_tools import Offer, offer_of
from ws_bridge.upstream.dialects.openai_chat.table import table_of
from ws_bridge.upstream.dialects.openai_chat.variants import variant_of

SCHEMA = {"type": "object", "properties": {}}


def function(name: str, **more: Any) -> Any:
    return {"type": "function", "name": name, "parameters": SCHEMA, **more}


def shown(name: str, **more: Any) -> Any:
    return {"type": "function", "function": {"name": name, "parameters": SCHEMA, **more}}


F, G = function("f"), function("g")
ALLOWED = {
    "type": "allowed_tools",
    "mode": "required",
    "tools": [{"type": "function", "name": "g"}],
}


def offer(tools: list[Any], choice: Any = None, provider: str = "invented") -> Offer:
    return offer_of(ToolTable.of(tools), choice, variant_of(provider), table_of(provider))


def test_functions_are_offered_under_flat_names() -> None:
    space = {"type": "namespace", "name": "crm", "tools": [function("list", strict=True)]}
    assert offer([function("f", description="d"), space]).fields == {
        "tools": [shown("f", description="d"), shown("crm__list", strict=True)]
    }


@pytest.mark.parametrize("kind", ["apply_patch", "shell", "local_shell"])
def test_the_tools_that_the_client_runs_are_functions(kind: str) -> None:
    found = offer([{"type": kind}], {"type": kind})
    assert found.tools[0]["function"]["name"] == kind
    assert found.fields["tool_choice"] == {"type": "function", "function": {"name": kind}}


def test_strict_is_left_out_where_it_is_not_known() -> None:
    assert offer([function("f", strict=True)], provider="deepseek").tools == [shown("f")]


@pytest.mark.parametrize(
    ("provider", "choice", "word"),
    [
        ("invented", "required", "required"),
        ("mistral", "required", "any"),
        ("mistral", "none", "none"),
        ("zai", "auto", "auto"),
        ("invented", {"type": "function", "name": "f"}, shown_choice := {"name": "f"}),
    ],
)
def test_choices(provider: str, choice: Any, word: Any) -> None:
    expected = {"type": "function", "function": word} if word is shown_choice else word
    assert offer([F], choice, provider).fields["tool_choice"] == expected


def test_no_tools_are_offered_where_none_cannot_be_said() -> None:
    assert offer([F], "none", "zai").fields == {}


def test_allowed_tools_narrow_what_is_offered() -> None:
    found = offer([F, G], ALLOWED, "mistral")
    assert found.fields == {"tools": [shown("g")], "tool_choice": "any"}
    assert list(found.table.tools) == ["g"]


def test_openai_is_told_of_allowed_tools() -> None:
    found = offer([F, G], ALLOWED, "openai")
    names = [{"type": "function", "function": {"name": "g"}}]
    assert found.fields == {
        "tools": [shown("f"), shown("g")],
        "tool_choice": {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "required", "tools": names},
        },
    }


def test_without_tools_nothing_is_said_of_them() -> None:
    assert offer([], "auto").fields == offer([], "none").fields == {}


@pytest.mark.parametrize(
    ("provider", "tools", "choice", "param"),
    [
        ("invented", [], "required", "tool_choice"),
        ("invented", [F], {"type": "function", "name": "x"}, "tool_choice"),
        ("invented", [F], {"type": "custom", "name": "x"}, "tool_choice"),
        ("invented", [F], {"type": "web_search"}, "tool_choice"),
        ("invented", [F], "sometimes", "tool_choice"),
        ("zai", [F], "required", "tool_choice"),
        ("moonshot", [F], "required", "tool_choice"),
        ("openai", [F], ALLOWED, "tool_choice"),
        ("openai", [F], {**ALLOWED, "mode": "maybe", "tools": []}, "tool_choice.mode"),
        ("invented", [F, {"type": "web_search"}], None, "tools[1]"),
        ("mistral", [{"type": "code_interpreter"}], None, "tools[0]"),
        ("openai", [{"type": "image_generation"}], None, "tools[0]"),
        ("openai", [{"type": "mcp", "server_label": "x"}], None, "tools[0]"),
        ("openai", [{"type": "invented"}], None, "tools[0]"),
        ("openai", [{"type": "web_search", "filters": {}}], None, "tools[0].filters"),
        ("groq", [{"type": "web_search", "user_location": {}}], None, "tools[0].user_location"),
        (
            "groq",
            [{"type": "code_interpreter", "container": "cntr_1"}],
            None,
            "tools[0].container",
        ),
    ],
)
def test_what_cannot_be_said_is_refused_by_its_place(
    provider: str, tools: list[Any], choice: Any, param: str
) -> None:
    with pytest.raises(BridgeError) as raised:
        offer(tools, choice, provider)
    assert (raised.value.status, raised.value.param) == (400, param)


def test_searches_are_asked_for_in_the_providers_way() -> None:
    tool = {"type": "web_search", "search_context_size": "medium", "filters": None}
    found = {
        provider: offer([tool], provider=provider).fields
        for provider in ("openai", "groq", "dashscope", "openrouter", "zai")
    }
    search = {"type": "web_search", "web_search": {"enable": True, "search_engine": "search-prime"}}
    assert found == {
        "openai": {"web_search_options": {"search_context_size": "medium"}},
        "groq": {"tools": [{"type": "browser_search"}]},
        "dashscope": {"enable_search": True},
        "openrouter": {"plugins": [{"id": "web"}]},
        "zai": {"tools": [search]},
    }


def test_a_search_knows_the_place() -> None:
    place = {"type": "approximate", "city": "Bern", "country": None}
    assert offer([{"type": "web_search", "user_location": place}], provider="openai").fields == {
        "web_search_options": {
            "user_location": {"type": "approximate", "approximate": {"city": "Bern"}}
        }
    }


def test_a_search_that_is_not_allowed_is_not_offered() -> None:
    choice = {**ALLOWED, "mode": "auto"}
    found = offer([G, {"type": "web_search"}], choice, "groq")
    assert found.fields == {"tools": [shown("g")], "tool_choice": "auto"}
    both = {**choice, "tools": [*ALLOWED["tools"], {"type": "web_search"}]}  # type: ignore[list-item]
    assert offer([G, {"type": "web_search"}], both, "groq").has_hosted


def test_a_function_named_as_a_search_is_the_clients() -> None:
    assert offer([function("web_search")]).tools == [shown("web_search")]
