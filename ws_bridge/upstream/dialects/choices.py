"""Which tools a request offers, and whether the model must call one (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ws_bridge.errors import InvalidRequest
from ws_bridge.protocol.tools import ClientTool, ToolTable
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.table import RequestTable, refused

MODES = ("auto", "none", "required")
PARAM = "tool_choice"


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """What the model may call. ``tools`` are narrowed where the client allows some of them only."""

    mode: str  # "auto", "none", "required"
    tools: ToolTable
    one: ClientTool | None = None  # the tool that must be called, where the client names it


def choice_of(options: Json, tools: ToolTable, table: RequestTable) -> ToolChoice:
    """The choice of a request. Raises a 400 for what the dialect cannot say, or is not offered."""
    choice = _choice("auto" if options.get(PARAM) is None else options[PARAM], tools, table)
    if choice.mode == "required" and not (choice.tools.tools or tools.hosted):
        raise InvalidRequest(f"'{PARAM}' requires a tool, and none is given.", param=PARAM)
    return choice


def _choice(choice: Any, tools: ToolTable, table: RequestTable) -> ToolChoice:
    if isinstance(choice, str):
        table.takes("choices", choice, PARAM)
        return ToolChoice(_mode(choice), tools)
    if not isinstance(choice, dict):
        raise InvalidRequest(f"Invalid value for '{PARAM}'.", param=PARAM)
    kind = str(choice.get("type"))
    table.takes("choices", kind, PARAM)
    if kind in MODES:
        return ToolChoice(kind, tools)
    if kind == "allowed_tools":
        return ToolChoice(_mode(choice.get("mode") or "auto"), _allowed(choice, tools))
    return ToolChoice("required", tools, _named(choice, tools))


def check_hosted(tools: ToolTable, table: RequestTable) -> list[tuple[str, Json]]:
    """The hosted tools that the dialect translates, with their places. Raises a 400 for others."""
    return [
        (place, tool)
        for place, tool in tools.hosted
        if table.takes("tools", str(tool.get("type")), place)
    ]


def _mode(mode: Any) -> str:
    if mode not in MODES:
        raise refused("tool choice", str(mode), PARAM)
    return str(mode)


def _allowed(choice: Json, tools: ToolTable) -> ToolTable:
    allowed: Any = choice.get("tools")
    if not isinstance(allowed, Iterable) or not all(isinstance(one, dict) for one in allowed):
        raise InvalidRequest(f"'{PARAM}.tools' is a list of tools.", param=PARAM)
    return tools.narrowed(_named(one, tools).flat for one in allowed)


def _named(choice: Json, tools: ToolTable) -> ClientTool:
    tool = tools.named(choice)
    if tool is None:
        name = str(choice.get("name") or choice.get("type"))[:64]
        raise InvalidRequest(f"The tool choice '{name}' is not among 'tools'.", param=PARAM)
    return tool
