"""A client's `tool_choice`, in the one form that every dialect writes from (pure).

Rule 1: `allowed_tools` narrows what is offered, where a provider does not know it.
Rule 2: a choice of a tool that is not offered is refused: no provider could follow it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ws_bridge.errors import InvalidRequest
from ws_bridge.protocol.tools import ToolTable
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.table import RequestTable

MODES = ("auto", "none", "required")


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """The choice: a mode, one tool by its flat name, or some tools with a mode."""

    mode: str = "auto"  # "auto", "none" or "required"
    flat: str = ""  # the one tool that must be called
    allowed: tuple[str, ...] | None = None  # flat names, of `allowed_tools`
    hosted: str = ""  # the type of the provider's own tool that must be called


def read_choice(choice: Any, tools: ToolTable, table: RequestTable) -> ToolChoice:
    """The choice. Raises a 400 for one that the dialect cannot say, with its place."""
    if choice is None:
        return ToolChoice()
    kind = choice if isinstance(choice, str) else str(choice.get("type"))
    if not table.takes("choices", kind, "tool_choice"):
        return ToolChoice()
    if isinstance(choice, str):
        return ToolChoice(choice)
    if kind == "allowed_tools":
        return _allowed(choice, tools)
    named = tools.named(choice)
    if named is not None:
        return ToolChoice("required", named.flat)
    if any(tool.get("type") == kind for _, tool in tools.hosted):
        return ToolChoice("required", hosted=kind)
    raise _not_offered(str(choice.get("name") or kind))


def offered(tools: ToolTable, choice: ToolChoice, table: RequestTable) -> ToolTable:
    """The tools to offer. Raises a 400 for one of the provider's that the dialect cannot say."""
    for tool in (*tools.tools.values(), *()):
        table.takes("tools", tool.kind, "tools")
    for place, hosted in tools.hosted:
        table.takes("tools", str(hosted.get("type")), place)
    return tools if choice.allowed is None else tools.narrowed(choice.allowed)


def _allowed(choice: Json, tools: ToolTable) -> ToolChoice:
    mode = str(choice.get("mode") or "auto")
    if mode not in MODES:
        raise InvalidRequest("'mode' must be 'auto' or 'required'.", param="tool_choice.mode")
    return ToolChoice(mode, allowed=tuple(_flats(choice.get("tools"), tools)))


def _flats(allowed: Any, tools: ToolTable) -> Iterator[str]:
    hosted = {str(tool.get("type")) for _, tool in tools.hosted}
    for one in allowed if isinstance(allowed, list) else ():
        named = tools.named(one) if isinstance(one, dict) else None
        if named is not None:
            yield named.flat
        elif not isinstance(one, dict) or str(one.get("type")) not in hosted:
            name = one.get("name") or one.get("type") if isinstance(one, dict) else one
            raise _not_offered(str(name))


def _not_offered(name: str) -> InvalidRequest:
    return InvalidRequest(f"The tool '{name[:64]}' is not among 'tools'.", param="tool_choice")
