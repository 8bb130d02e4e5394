"""A request → the body of Bedrock's ConverseStream (pure).

Rule 1: address, model and signature of the call are not in the body.
Rule 2: a history with calls needs tools in the request: where none may be called, those that the
history calls are named, and said to be unavailable.
Rule 3: cache points stand where the next request begins in the same way: after the tools, the
system text, and the last two messages of the user.
"""

from __future__ import annotations

import orjson

from ws_bridge.protocol.tools import ClientTool
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.base import ProviderRequest, WriterInput
from ws_bridge.upstream.dialects.bedrock.messages import ConverseHistory, history_of
from ws_bridge.upstream.dialects.bedrock.models import (
    is_claude,
    is_nova,
    takes_cache_points,
    takes_strict_tools,
)
from ws_bridge.upstream.dialects.bedrock.table import TABLE
from ws_bridge.upstream.dialects.bedrock.thinking import thinking_of_request
from ws_bridge.upstream.dialects.options import check_includes, text_format_of
from ws_bridge.upstream.dialects.table import refused
from ws_bridge.upstream.dialects.tool_choice import ToolChoice, read_choice

CACHE_POINT: Json = {"cachePoint": {"type": "default"}}
UNAVAILABLE = "It is not available now."
ANY_OBJECT: Json = {"type": "object", "properties": {}}
SYSTEM_TOOLS = {
    "web_search": "nova_grounding",
    "web_search_preview": "nova_grounding",
    "code_interpreter": "nova_code_interpreter",
}
# Of a hosted tool, what Nova does by itself; all else it does not take.
USUAL = (
    ("search_context_size", "medium"),
    ("external_web_access", True),
    ("container", {"type": "auto"}),
)
TIERS = frozenset({"default", "flex", "priority"})
NUMBERS = {"max_output_tokens": "maxTokens", "temperature": "temperature", "top_p": "topP"}


def write(given: WriterInput) -> ProviderRequest:
    """See ``Family.write``."""
    options = TABLE.options_to_translate(given.options, drop=given.drop_params)

    def check(_: ToolChoice, tool: Json, place: str) -> None:
        _system_tool(tool, place, given)

    drop = given.drop_params
    choice = read_choice(options.get("tool_choice"), given.tools, TABLE, drop=drop, check=check)
    check_includes(options, TABLE)
    history = history_of(given, options)
    thinking = thinking_of_request(options, given, history, is_forced=choice.mode == "required")
    numbers = {theirs: options[ours] for ours, theirs in NUMBERS.items() if ours in options}
    numbers |= {"maxTokens": thinking.max_tokens} if thinking.max_tokens else {}
    tools = _tools(choice, given, history)
    fields = thinking.fields | _claude_choice(choice, options, given, has_tools=bool(tools))
    if tools and "type" not in fields.get("tool_choice", {}) and choice.mode != "none":
        tools |= _tool_choice(choice)
    body: Json = {
        "system": history.system,
        "messages": history.messages,
        "toolConfig": tools,
        "inferenceConfig": numbers,
        "additionalModelRequestFields": fields,
        "additionalModelResponseFieldPaths": list(thinking.response_fields),
        "outputConfig": _output(options, given),
        "serviceTier": _tier(options, given),
    }
    if given.prompt_cache and takes_cache_points(given.model):
        _cache(body, given.model)
    offered = choice.tools if choice.mode != "none" else given.tools.narrowed(())
    return ProviderRequest({key: value for key, value in body.items() if value}, tools=offered)


def _tools(choice: ToolChoice, given: WriterInput, history: ConverseHistory) -> Json:
    hosted = [_system_tool(tool, place, given) for place, tool in choice.tools.hosted]
    offered = list(choice.tools.tools.values()) if choice.mode != "none" else []
    is_strict = takes_strict_tools(given.model)
    specs = [_spec(tool, is_strict=is_strict) for tool in offered]
    if choice.mode != "none":
        specs += hosted
    if not specs and history.called:
        specs = [_unavailable(name) for name in history.called]
    return {"tools": specs} if specs else {}


def _spec(tool: ClientTool, *, is_strict: bool) -> Json:
    schema = {"type": "object", **tool.parameters}  # the API wants the type
    spec: Json = {"name": tool.flat, "inputSchema": {"json": schema}}
    if tool.description.strip():
        spec["description"] = tool.description
    if tool.strict and is_strict:
        spec["strict"] = True
    return {"toolSpec": spec}


def _unavailable(name: str) -> Json:
    spec = {"name": name, "description": UNAVAILABLE, "inputSchema": {"json": ANY_OBJECT}}
    return {"toolSpec": spec}


def _system_tool(tool: Json, place: str, given: WriterInput) -> Json:
    """One of Nova's own tools, which take no settings."""
    if not is_nova(given.model):
        raise refused("tool", str(tool["type"]), place)
    for name, value in tool.items():
        is_given = value or value is False
        if is_given and name != "type" and (name, value) not in USUAL:
            raise refused("parameter", name, f"{place}.{name}")
    if "max_tool_calls" in given.options and not given.drop_params:
        raise refused("parameter", "max_tool_calls", "max_tool_calls")
    return {"systemTool": {"name": SYSTEM_TOOLS[tool["type"]]}}


def _tool_choice(choice: ToolChoice) -> Json:
    if choice.one is not None:
        return {"toolChoice": {"tool": {"name": choice.one.flat}}}
    return {"toolChoice": {"any": {}}} if choice.mode == "required" else {}


def _claude_choice(
    choice: ToolChoice, options: Json, given: WriterInput, *, has_tools: bool
) -> Json:
    """What Claude takes of a choice, and Converse has no field for.

    Converse refuses the field's `type` beside a `toolChoice` of its own.
    """
    is_single = options.get("parallel_tool_calls") is False and choice.mode != "none"
    if not has_tools:
        return {}
    if not is_claude(given.model):
        if is_single and not given.drop_params:
            raise refused("parameter", "parallel_tool_calls", "parallel_tool_calls")
        return {}
    fields: Json = {}
    if choice.mode == "none" or not (choice.tools.tools or choice.tools.hosted):
        fields["type"] = "none"
    elif is_single:
        fields = {"type": "auto"} if choice.mode == "auto" else {}
        fields["disable_parallel_tool_use"] = True
    return {"tool_choice": fields} if fields else {}


def _output(options: Json, given: WriterInput) -> Json:
    wanted = text_format_of(options, drop=given.drop_params)
    if not wanted:
        return {}
    if wanted.get("type") != "json_schema":
        name = str(wanted.get("type"))
        raise refused("format", name, "text.format", "Send a schema: 'json_schema'.")
    schema: Json = {"schema": orjson.dumps(wanted.get("schema") or {}).decode()}
    schema |= {key: wanted[key] for key in ("name", "description") if wanted.get(key)}
    return {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}}


def _tier(options: Json, given: WriterInput) -> Json:
    tier = options.get("service_tier") or "auto"
    if tier in ("auto", "default"):
        return {}
    if tier not in TIERS:
        if given.drop_params:
            return {}
        raise refused("service tier", str(tier), "service_tier")
    return {"type": tier}


def _cache(body: Json, model: str) -> None:
    """Add the cache points; Nova has none for tools, and none in messages with results."""
    if body["system"]:
        body["system"].append(CACHE_POINT)
    if body["toolConfig"] and is_claude(model):
        body["toolConfig"]["tools"].append(CACHE_POINT)
    asked = [message["content"] for message in body["messages"] if message["role"] == "user"]
    for content in asked[-2:]:
        if is_claude(model) or not any("toolResult" in block for block in content):
            content.append(CACHE_POINT)
