"""The client's tools and its choice among them, as Chat Completions say them (pure).

Rule 1: a tool that the provider runs is offered only where the provider has it, else refused.
Rule 2: `allowed_tools` narrows the tools where the provider has no word for it.
Rule 3: a choice that names no offered tool is a 400.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ws_bridge.errors import InvalidRequest
from ws_bridge.protocol.tools import ClientTool, ToolTable
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.openai_chat.variants import SEARCH, Variant
from ws_bridge.upstream.dialects.table import RequestTable, refused

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


def offer_of(tools: ToolTable, choice: Any, variant: Variant, table: RequestTable) -> Offer:
    """The offer. Raises ``UpstreamError`` or ``InvalidRequest`` (400)."""
    mode, allowed = choice, None
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        table.takes("choices", "allowed_tools", "tool_choice")
        mode, allowed = choice.get("mode", "auto"), _allowed(choice, tools)
    if mode == "none" and not variant.knows_none:
        mode, allowed = None, set()
    narrowed = tools if allowed is None else tools.narrowed(allowed)
    is_native = allowed is not None and variant.knows_allowed_tools
    offer = Offer(narrowed)
    shown = tools if is_native else narrowed
    offer.tools += [_function(tool, variant) for tool in shown.tools.values()]
    for place, tool in tools.hosted:
        kind = str(tool.get("type"))
        if table.takes("tools", kind, place) and (allowed is None or kind in allowed):
            _add_hosted(offer, tool, place, variant)
    word = _choice(mode, narrowed, variant, table)
    if is_native and allowed is not None:
        word = _native(str(word), narrowed)
    if offer.tools:
        offer.fields["tools"] = offer.tools
        offer.fields |= {"tool_choice": word} if word is not None else {}
    elif word not in (None, "auto", "none") and not offer.has_hosted:
        raise InvalidRequest("'tool_choice' needs 'tools'.", param="tool_choice")
    return offer


def _function(tool: ClientTool, variant: Variant) -> Json:
    function: Json = {"name": tool.flat, "parameters": tool.parameters}
    if tool.description:
        function["description"] = tool.description
    if tool.strict is not None and variant.takes_strict:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _choice(mode: Any, tools: ToolTable, variant: Variant, table: RequestTable) -> Any:
    """The choice in the provider's form; None: it has to be said nothing."""
    if mode is None:
        return None
    kind = str(mode.get("type")) if isinstance(mode, dict) else str(mode)
    table.takes("choices", kind, "tool_choice")
    if not isinstance(mode, dict):
        return variant.required if kind == "required" else kind
    tool = tools.named(mode)
    if tool is None:
        raise InvalidRequest(
            f"The tool choice '{str(mode.get('name') or kind)[:64]}' is not among 'tools'.",
            param="tool_choice",
        )
    return {"type": "function", "function": {"name": tool.flat}}


def _allowed(choice: Json, tools: ToolTable) -> set[str]:
    """The flat names of the allowed tools, and the types of those that the provider runs."""
    allowed = set()
    hosted = {str(tool.get("type")) for _, tool in tools.hosted}
    given = choice.get("tools")
    for one in given if isinstance(given, list) else ():
        tool = tools.named(one) if isinstance(one, dict) else None
        kind = str(one.get("type")) if isinstance(one, dict) else ""
        if tool is None and kind not in hosted:
            raise InvalidRequest("An allowed tool is not among 'tools'.", param="tool_choice.tools")
        allowed.add(kind if tool is None else tool.flat)
    return allowed


def _native(mode: str, tools: ToolTable) -> Json:
    names = [{"type": "function", "function": {"name": flat}} for flat in tools.tools]
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
