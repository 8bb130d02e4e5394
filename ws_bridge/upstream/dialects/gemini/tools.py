"""The tools of a request and the choice among them, as Gemini takes them (pure).

Rule 1: a function's schema goes as it is (`parametersJsonSchema`): Gemini's own form of schemas
knows less.
Rule 2: options of hosted tools that Gemini has no words for are refused, with their place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ws_bridge.protocol.tools import ClientTool, ToolTable
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.base import WriterInput
from ws_bridge.upstream.dialects.gemini.models import ModelTraits
from ws_bridge.upstream.dialects.gemini.table import TABLE
from ws_bridge.upstream.dialects.table import refused
from ws_bridge.upstream.dialects.tool_choice import ToolChoice, read_choice

SEARCH, CODE, IMAGES = "googleSearch", "codeExecution", "image"
HOSTED = {
    "web_search": SEARCH,
    "web_search_2025_08_26": SEARCH,
    "web_search_preview": SEARCH,
    "web_search_preview_2025_03_11": SEARCH,
    "code_interpreter": CODE,
    "image_generation": IMAGES,
}
# The values of options that ask for nothing; an option that is not here is refused.
DEFAULTS: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    SEARCH: {
        "filters": ({},),
        "search_context_size": ("medium",),
        "external_web_access": (True,),
        "user_location": ({"type": "approximate"},),
    },
    CODE: {"container": ("auto", {"type": "auto"}, {"type": "auto", "file_ids": []})},
    IMAGES: {
        "action": ("auto",),
        "background": ("auto",),
        "moderation": ("auto",),
        "partial_images": (0,),
        "quality": ("auto",),
        "size": ("auto",),
    },
}
MIXED = "This model takes functions or the provider's own tools, not both at once."
MODES = {"none": "NONE", "required": "ANY"}


@dataclass(frozen=True, slots=True)
class ToolFields:
    """The fields of a body that are about tools, and the tools that were offered."""

    body: Json
    offered: ToolTable
    has_hosted: bool = False
    wants_images: bool = False


def write_tools(given: WriterInput, choice: Any, traits: ModelTraits) -> ToolFields:
    """The fields. Raises a 400 for what Gemini, or this model, cannot do."""

    def hosted_name(read: ToolChoice, tool: Json, place: str) -> str:
        return _hosted_name(read, tool, place, traits)

    drop = given.drop_params
    read = read_choice(choice, given.tools, TABLE, drop=drop, check=hosted_name)
    table = read.tools
    asked = dict.fromkeys(hosted_name(read, tool, place) for place, tool in table.hosted)
    hosted = [name for name in asked if name != IMAGES and read.mode != "none"]
    functions = [_declaration(tool) for tool in table.tools.values()]
    tools: list[Json] = [{"functionDeclarations": functions}] if functions else []
    tools += [{name: {}} for name in hosted]
    config = _config(read)
    if functions and hosted:
        config["includeServerSideToolInvocations"] = True
    body: Json = {"tools": tools} if tools else {}
    if config:
        body["toolConfig"] = config
    return ToolFields(body, table, bool(hosted), IMAGES in asked)


def _hosted_name(read: ToolChoice, tool: Json, place: str, traits: ModelTraits) -> str:
    """Gemini's name of a tool of its own. Raises a 400 for what this model cannot do."""
    kind = str(tool.get("type"))
    name = HOSTED[kind]
    if name == IMAGES and not traits.makes_images:
        raise refused("tool", kind, place, "The model makes no images.")
    for option, value in tool.items():
        if option == "type" or value is None:
            continue
        if value not in DEFAULTS[name].get(option, ()):
            raise refused("parameter", option, f"{place}.{option}")
    is_mixed = read.tools.tools and name != IMAGES and read.mode != "none"
    if is_mixed and not traits.is_new:
        raise refused("tool", kind, place, MIXED)
    return name


def _declaration(tool: ClientTool) -> Json:
    function: Json = {"name": tool.flat}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters:
        function["parametersJsonSchema"] = tool.parameters
    return function


def _config(choice: ToolChoice) -> Json:
    """The choice; "auto" is what Gemini does unasked."""
    if choice.mode not in MODES or not (choice.tools.tools or choice.mode == "required"):
        return {}
    if not choice.tools.tools:
        raise refused("tool choice", "required", "tool_choice", "No function is offered.")
    calling: Json = {"mode": MODES[choice.mode]}
    if choice.one:
        calling["allowedFunctionNames"] = [choice.one.flat]
    return {"functionCallingConfig": calling}
