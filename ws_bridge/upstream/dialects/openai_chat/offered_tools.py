"""The client's tools and its choice among them, as Chat Completions say them (pure).

Rule 1: a tool that the provider runs is offered only where the provider has it, else refused.
Rule 2: `allowed_tools` narrows the tools where the provider has no word for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ws_bridge.protocol.tools import ClientTool, ToolTable
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.openai_chat.variants import SEARCH, Variant
from ws_bridge.upstream.dialects.table import RequestTable, refused
from ws_bridge.upstream.dialects.tool_choice import ToolChoice, read_choice

# What a web search tool of the client may say, by the provider's way to search.
SEARCH_FIELDS = {"web_search_options": frozenset({"search_context_size", "user_location"})}
# What a tool does that is not told otherwise.
USUAL: Json = {
    "search_context_size": "medium",
    "external_web_access": True,
    "container": {"type": "auto"},
}
LOCATION = ("city", "country", "region", "timezone")


@dataclass(slots=True)
class Offer:
    """What a request says of tools. ``table`` has those that the model may call."""

    table: ToolTable
    tools: list[Json] = field(default_factory=list)
    fields: Json = field(default_factory=dict)  # of the body
    has_hosted: bool = False


def offer_of(
    tools: ToolTable, given: Any, variant: Variant, table: RequestTable, *, drop: bool = False
) -> Offer:
    """The offer for the choice ``given``. Raises ``UpstreamError`` or ``InvalidRequest`` (400).

    ``drop``: what would be refused is left out, because the operator says so.
    """

    def check(_: ToolChoice, tool: Json, place: str) -> None:
        _add_hosted(Offer(tools), tool, place, variant)

    choice = read_choice(given, tools, table, drop=drop, check=check)
    if choice.mode == "none" and not variant.knows_none:
        return Offer(tools.narrowed(()))
    is_native = choice.is_narrowed and variant.knows_allowed_tools
    offer = Offer(choice.tools)
    shown = tools if is_native else choice.tools
    offer.tools += [_function(tool, variant) for tool in shown.tools.values()]
    for place, tool in choice.tools.hosted:
        _add_hosted(offer, tool, place, variant)
    if offer.tools:
        offer.fields["tools"] = offer.tools
        if given is not None:
            mode = variant.required if choice.mode == "required" else choice.mode
            named = _named(choice.one.flat) if choice.one else mode
            offer.fields["tool_choice"] = _native(mode, choice.tools) if is_native else named
    return offer


def _function(tool: ClientTool, variant: Variant) -> Json:
    function: Json = {"name": tool.flat, "parameters": tool.parameters}
    if tool.description:
        function["description"] = tool.description
    if tool.strict is not None and variant.takes_strict:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _named(flat: str) -> Json:
    return {"type": "function", "function": {"name": flat}}


def _native(mode: str, tools: ToolTable) -> Json:
    names = [_named(flat) for flat in tools.tools]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": names}}


def _add_hosted(offer: Offer, tool: Json, place: str, variant: Variant) -> None:
    """Offer a tool that the provider runs. Raises for a setting that it does not know."""
    offer.has_hosted = True
    is_search = tool["type"] in SEARCH
    known = SEARCH_FIELDS.get(variant.search, frozenset()) if is_search else frozenset()
    for name, value in tool.items():
        if name not in ("type", *known) and value is not None and value != USUAL.get(name):
            raise refused("parameter", name, f"{place}.{name}")
    if not is_search:
        offer.tools.append({"type": str(tool["type"])})
        return
    search = SEARCHES[variant.search]
    offer.fields |= search.get("fields", {})
    offer.tools += search.get("tools", [])
    if variant.search == "web_search_options":
        offer.fields["web_search_options"] = _search_options(tool)


SEARCHES: Mapping[str, Json] = {
    "web_search_options": {},
    "browser_search": {"tools": [{"type": "browser_search"}]},
    "enable_search": {"fields": {"enable_search": True}},
    "plugin": {"fields": {"plugins": [{"id": "web"}]}},
    "zai": {
        "tools": [
            {
                "type": "web_search",
                "web_search": {"enable": True, "search_engine": "search-prime"},
            }
        ]
    },
}


def _search_options(tool: Json) -> Json:
    options: Json = {}
    if size := tool.get("search_context_size"):
        options["search_context_size"] = size
    given = tool.get("user_location")
    if isinstance(given, dict):
        place = {name: given[name] for name in LOCATION if given.get(name)}
        options["user_location"] = {"type": "approximate", "approximate": place}
    return options
