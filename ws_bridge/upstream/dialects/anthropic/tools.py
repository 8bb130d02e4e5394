"""The tools of a request and the choice among them → Messages (pure).

Rule 1: the client's tools are functions under their flat names; a tool that Anthropic runs is named
by its own type. Two tools of one name are refused.
Rule 2: Anthropic runs MCP tools without asking: a server is offered only where the client wants no
approval.
Rule 3: `allowed_tools` leaves the other tools out: the dialect has no such choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ws_bridge.errors import InvalidRequest
from ws_bridge.protocol.tools import NO_TOOLS, ClientTool, ToolTable
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.anthropic.schemas import input_schema
from ws_bridge.upstream.dialects.anthropic.table import SEARCHES, TABLE
from ws_bridge.upstream.dialects.table import refused
from ws_bridge.upstream.dialects.tool_choice import ToolChoice, read_choice

CODE_EXECUTION, MCP_CLIENT = "code-execution-2025-08-25", "mcp-client-2025-11-20"
TOOL_SEARCH = "advanced-tool-use-2025-11-20"
# The name at Anthropic of the tools that it runs.
NAMES = {**dict.fromkeys(SEARCHES, "web_search"), "code_interpreter": "code_execution"}
CONTAINER = "container_"  # how the ids of Anthropic's containers begin
CHOICES = {"auto": "auto", "required": "any", "none": "none"}


@dataclass(slots=True)
class OfferedTools:
    """What a request says of tools."""

    table: ToolTable
    tools: list[Json] = field(default_factory=list)
    servers: list[Json] = field(default_factory=list)
    betas: list[str] = field(default_factory=list)
    container: str = ""
    choice: Json | None = None

    @property
    def is_forced(self) -> bool:
        """Whether the model must call a tool."""
        return self.choice is not None and self.choice["type"] in ("any", "tool")

    def fields(self) -> Json:
        """The body's fields."""
        fields = {
            "tools": self.tools,
            "tool_choice": self.choice,
            "mcp_servers": self.servers,
            "container": self.container,
        }
        return {name: value for name, value in fields.items() if value}


def tools_of(
    table: ToolTable, options: Json, called: Iterable[ClientTool], *, drop: bool = False
) -> OfferedTools:
    """What is offered. ``called``: the tools of the calls in the history. Raises a 400.

    ``drop``: what would be refused is left out, because the operator says so.
    """
    choice = read_choice(options.get("tool_choice"), table, TABLE, drop=drop, check=_check)
    table = choice.tools
    offered = OfferedTools(table)
    searches = any(tool.get("type") == "tool_search" for _, tool in table.hosted)
    offered.tools = [_function(tool, may_wait=searches) for tool in table.tools.values()]
    for place, tool in table.hosted:
        _add_hosted(offered, tool, place)
    _check_names(offered.tools)
    _limit(offered, options.get("max_tool_calls"), drop=drop)
    if offered.tools:
        offered.choice = _choice(choice, is_single=options.get("parallel_tool_calls") is False)
    else:
        # Calls in a history need tools that are described, which may not be called now.
        offered.tools = [_function(tool) for tool in {one.flat: one for one in called}.values()]
        offered.choice = {"type": "none"} if offered.tools else None
    return offered


def _function(tool: ClientTool, *, may_wait: bool = False) -> Json:
    function: Json = {"name": tool.flat, "input_schema": input_schema(tool.parameters)}
    if tool.description:
        function["description"] = tool.description
    if tool.is_deferred and may_wait:
        function["defer_loading"] = True
    return function


def _check_names(tools: Iterable[Json]) -> None:
    seen: set[str] = set()
    for tool in tools:
        name = tool.get("name")
        if name in seen:
            raise InvalidRequest(f"Two tools have the name '{name}' for the model.", param="tools")
        if name is not None:
            seen.add(name)


def _limit(offered: OfferedTools, most: Any, *, drop: bool) -> None:
    """`max_tool_calls`: of the calls that the provider runs, only searches can be counted."""
    hosted = [tool for tool in offered.tools if "input_schema" not in tool]
    if most is None or not hosted:
        return
    if len(hosted) > 1 or hosted[0].get("name") != "web_search":
        if drop:
            return
        hint = "Only the uses of the web search can be limited."
        raise refused("parameter", "max_tool_calls", "max_tool_calls", hint)
    hosted[0]["max_uses"] = most


# Tools that Anthropic runs


# What is read of each; all else is refused.
OPTIONS: Mapping[str, frozenset[str]] = {
    "web_search": frozenset(
        {"external_web_access", "filters", "search_context_size", "user_location"}
    ),
    "code_interpreter": frozenset({"container"}),
    "mcp": frozenset(
        {
            *("allowed_tools", "authorization", "headers", "require_approval"),
            *("server_description", "server_label", "server_url"),
        }
    ),
    "tool_search": frozenset({"execution", "description", "parameters"}),
}


def _add_hosted(offered: OfferedTools, tool: Json, place: str) -> None:
    """Offer a tool that the provider runs. Raises for what it cannot be told of it."""
    kind = "web_search" if tool["type"] in SEARCHES else tool["type"]
    _check_options(tool, OPTIONS[kind], place)
    HOSTED[kind](offered, tool, place)


def _check(_: ToolChoice, tool: Json, place: str) -> None:
    _add_hosted(OfferedTools(NO_TOOLS), tool, place)


def _check_options(tool: Json, known: frozenset[str], place: str) -> None:
    for name, value in tool.items():
        if value is not None and name not in known and name not in ("type", "namespace"):
            raise refused("option", name, f"{place}.{name}")


def _web_search(offered: OfferedTools, tool: Json, place: str) -> None:
    if tool.get("external_web_access") is False:
        raise refused("option", "external_web_access", f"{place}.external_web_access")
    search: Json = {"type": "web_search_20250305", "name": "web_search"}
    filters = _object(tool.get("filters"))
    for name in ("allowed_domains", "blocked_domains"):
        if filters.get(name):
            search[name] = filters[name]
    location = {key: value for key, value in _object(tool.get("user_location")).items() if value}
    if location:
        search["user_location"] = {"type": "approximate", **location}
    offered.tools.append(search)


def _code(offered: OfferedTools, tool: Json, place: str) -> None:
    container = tool.get("container")
    if isinstance(container, str):
        if not container.startswith(CONTAINER):
            raise refused("container", container, f"{place}.container", "It is not Anthropic's.")
        offered.container = container
    elif isinstance(container, dict):
        network = _object(container.get("network_policy")).get("type")
        if container.get("file_ids") or network == "allowlist":
            raise refused("container", "auto", f"{place}.container", "It has no files or network.")
    offered.tools.append({"type": "code_execution_20250825", "name": "code_execution"})
    offered.betas.append(CODE_EXECUTION)


def _mcp(offered: OfferedTools, tool: Json, place: str) -> None:
    label = str(tool.get("server_label") or "")
    if not tool.get("server_url"):
        raise refused("tool", "mcp", place, "It needs a 'server_url'.")
    if tool.get("require_approval") != "never":
        hint = "The provider asks for no approval: send 'require_approval': 'never'."
        raise refused("option", "require_approval", f"{place}.require_approval", hint)
    server = {"type": "url", "url": tool["server_url"], "name": label}
    if token := _token(tool, place):
        server["authorization_token"] = token
    toolset: Json = {"type": "mcp_toolset", "mcp_server_name": label}
    allowed = tool.get("allowed_tools")
    if isinstance(allowed, dict):
        if allowed.get("read_only") is not None:
            raise refused("option", "read_only", f"{place}.allowed_tools", "Name the tools.")
        allowed = allowed.get("tool_names")
    if isinstance(allowed, list):
        toolset["default_config"] = {"enabled": False}
        toolset["configs"] = {str(name): {"enabled": True} for name in allowed}
    offered.servers.append(server)
    offered.tools.append(toolset)
    offered.betas.append(MCP_CLIENT)


def _token(tool: Json, place: str) -> str:
    """The bearer token for a server; other headers cannot be sent."""
    headers = {str(key).lower(): str(value) for key, value in _object(tool.get("headers")).items()}
    token = headers.pop("authorization", "")
    if headers or (token and not token.startswith("Bearer ")):
        raise refused(
            "option", "headers", f"{place}.headers", "Only 'Authorization: Bearer …' can be sent."
        )
    return str(tool.get("authorization") or token.removeprefix("Bearer "))


def _tool_search(offered: OfferedTools, _: Json, __: str) -> None:
    search = {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}
    offered.tools.append(search)
    offered.betas.append(TOOL_SEARCH)


HOSTED: Mapping[str, Callable[[OfferedTools, Json, str], None]] = {
    "web_search": _web_search,
    "code_interpreter": _code,
    "mcp": _mcp,
    "tool_search": _tool_search,
}

# The choice


def _choice(choice: ToolChoice, *, is_single: bool) -> Json | None:
    """The body's `tool_choice`; None for what it is by itself."""
    written: Json = {"type": CHOICES[choice.mode]}
    if choice.one or choice.hosted:
        name = choice.one.flat if choice.one else NAMES[choice.hosted]
        written = {"type": "tool", "name": name}
    if is_single and choice.mode != "none":
        return {**written, "disable_parallel_tool_use": True}
    return None if written == {"type": "auto"} else written


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}
