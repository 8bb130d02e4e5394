"""What a request lets the model call, in the one form that every dialect writes from (pure).

Rule 1: `allowed_tools` narrows what is offered, the provider's own tools too.
Rule 2: a choice of what is not offered is refused: no provider could follow it.
Rule 3: a hosted tool that the dialect may leave out is left out here; one that it does not know is
refused, also where the model may not call it.
Rule 4: where the operator has parameters dropped, what would be refused of a hosted tool is left
out: a tuning alone, for all else the tool whole. An option may bound what the tool reaches or does,
so no tool goes without one. A tool that the choice names is refused still, and the client's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ws_bridge.errors import InvalidRequest, UpstreamError
from ws_bridge.protocol.tools import WITH_OWN_ITEMS, ClientTool, ToolTable, form_of
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.table import RequestTable, refused

Hosted = tuple[tuple[str, Json], ...]

MODES = ("auto", "none", "required")
PARAM = "tool_choice"
HOSTED_TOOLS = WITH_OWN_ITEMS - {"computer", "computer_use_preview"}  # those the client runs
# Options that bound nothing: how much context, for whom, and how an image looks.
TUNINGS = frozenset(
    {
        *("search_context_size", "user_location"),
        *("background", "input_fidelity", "output_compression", "output_format"),
        *("partial_images", "quality", "size"),
    }
)


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """A mode over the tools that may be called. At most one of ``one`` and ``hosted`` is given."""

    mode: str  # "auto", "none" or "required"
    tools: ToolTable  # narrowed, where the client allows some tools only
    one: ClientTool | None = None  # the tool that must be called
    hosted: str = ""  # the type of the provider's own tool that must be called
    is_narrowed: bool = False


# Raises ``UpstreamError`` for a hosted tool, at its place, that the dialect cannot offer as asked.
Check = Callable[[ToolChoice, Json, str], object]


def read_choice(
    choice: Any,
    tools: ToolTable,
    table: RequestTable,
    *,
    drop: bool = False,
    check: Check | None = None,
) -> ToolChoice:
    """A client's `tool_choice` over its tools. Raises a 400 for what the dialect cannot say.

    ``drop``: what the table or ``check`` refuses of a hosted tool is left out (rule 4).
    """
    named = _named_by(choice)

    def may_go(tool: Json) -> bool:
        return drop and is_hosted(tool) and not any(_is_meant(one, tool) for one in named)

    offered = replace(tools, hosted=tuple(_translated(tools, table, may_go)))
    read = _read(choice, offered, table, tools.hosted)
    if drop and check is not None:
        kept = tuple(_as_can_be_offered(read, check, may_go))
        read = replace(read, tools=replace(read.tools, hosted=kept))
    if read.mode == "required" and not (read.tools.tools or read.tools.hosted):
        raise InvalidRequest(f"'{PARAM}' requires a tool, and none is given.", param=PARAM)
    return read


def is_hosted(tool: Json) -> bool:
    """Whether it is known as a tool that a provider runs."""
    return form_of(tool) in HOSTED_TOOLS


def _named_by(choice: Any) -> list[Json]:
    """The tools that a choice names: one, or those allowed."""
    named = [choice]
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        allowed = choice.get("tools")
        named = allowed if isinstance(allowed, list) else []
    return [one for one in named if isinstance(one, dict)]


def _as_can_be_offered(
    read: ToolChoice, check: Check, may_go: Callable[[Json], bool]
) -> Iterator[tuple[str, Json]]:
    """The hosted tools without what ``check`` refuses. Raises a 400 for one that may not go."""
    for place, given in read.tools.hosted:
        tool = given
        while True:
            try:
                check(read, tool, place)
            except UpstreamError as refusal:
                option = str(refusal.param).removeprefix(f"{place}.")
                if option in TUNINGS and option in tool:
                    tool = {name: value for name, value in tool.items() if name != option}
                    continue
                if not may_go(tool):
                    raise
            else:
                yield place, tool
            break


def _read(choice: Any, tools: ToolTable, table: RequestTable, hosted: Hosted) -> ToolChoice:
    if choice is None:
        return ToolChoice("auto", tools)
    if not isinstance(choice, str | dict):
        raise InvalidRequest(f"Invalid value for '{PARAM}'.", param=PARAM)
    kind = choice if isinstance(choice, str) else str(choice.get("type"))
    if not table.takes("choices", kind, PARAM):
        return ToolChoice("auto", tools)
    if isinstance(choice, str) or kind in MODES:
        return ToolChoice(_mode(kind, PARAM), tools)
    if kind == "allowed_tools":
        mode = _mode(choice.get("mode") or "auto", f"{PARAM}.mode")
        return ToolChoice(mode, _narrowed(choice.get("tools"), tools, hosted), is_narrowed=True)
    if one := tools.named(choice):
        return ToolChoice("required", tools, one)
    if meant := [tool for _, tool in tools.hosted if _is_meant(choice, tool)]:
        return ToolChoice("required", tools, hosted=str(meant[0].get("type")))
    raise _not_offered(choice)


def _translated(
    tools: ToolTable, table: RequestTable, may_go: Callable[[Json], bool]
) -> Iterator[tuple[str, Json]]:
    """The hosted tools that the dialect translates. Raises a 400 for one that it does not know."""
    for place, tool in tools.hosted:
        kind = str(tool.get("type"))
        if may_go(tool) and table.refuses("tools", kind):
            continue
        if table.takes("tools", kind, place):
            yield place, _as_usual(tool)


def _as_usual(tool: Json) -> Json:
    """The tool without what every search keeps to: it may find images beside texts."""
    allowed = tool.get("search_content_types")
    if isinstance(allowed, list) and "text" in allowed:
        return {name: value for name, value in tool.items() if name != "search_content_types"}
    return tool


def _mode(mode: Any, place: str) -> str:
    if mode not in MODES:
        raise refused("tool choice", str(mode), place)
    return str(mode)


def _narrowed(allowed: Any, tools: ToolTable, hosted: Hosted) -> ToolTable:
    """The tools that are allowed; ``hosted``: those of the request, also those left out."""
    if not isinstance(allowed, list) or not all(isinstance(one, dict) for one in allowed):
        raise InvalidRequest(f"'{PARAM}.tools' is a list of tools.", param=PARAM)
    kept = [
        (place, tool)
        for place, tool in tools.hosted
        if any(_is_meant(one, tool) for one in allowed)
    ]
    return replace(tools.narrowed(_flats(allowed, tools, hosted)), hosted=tuple(kept))


def _flats(allowed: Sequence[Json], tools: ToolTable, hosted: Hosted) -> list[str]:
    """The flat names of the client's tools among those allowed."""
    flats = []
    for one in allowed:
        if tool := tools.named(one):
            flats.append(tool.flat)
        elif not any(_is_meant(one, tool) for _, tool in hosted):
            raise _not_offered(one)
    return flats


def _is_meant(choice: Json, tool: Json) -> bool:
    label = choice.get("server_label")
    is_kind = _hosted_kind(choice) == _hosted_kind(tool)
    return is_kind and label in (None, tool.get("server_label"))


def _hosted_kind(tool: Json) -> str:
    """The type without a version: all web searches are one tool."""
    kind = str(tool.get("type"))
    return "web_search" if kind.startswith("web_search") else kind


def _not_offered(choice: Json) -> InvalidRequest:
    name = str(choice.get("name") or choice.get("type"))[:64]
    return InvalidRequest(f"The tool '{name}' of '{PARAM}' is not among 'tools'.", param=PARAM)
