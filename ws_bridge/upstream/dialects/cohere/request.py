"""A request → the body of Cohere's chat API, version 2 (pure).

Rule 1: a thought goes back as `thinking`, and one that was a plan of tool calls as `tool_plan`: its
seal says so. Thoughts that another maker has sealed are left out.
Rule 2: the API has no choice of one tool: that tool is offered alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import orjson

from ws_bridge.protocol.tools import ToolTable
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.base import ProviderRequest, WriterInput
from ws_bridge.upstream.dialects.cohere.table import TABLE
from ws_bridge.upstream.dialects.entries import (
    SYSTEM,
    AnswerText,
    ContentPart,
    Thought,
    ToolResult,
    ToolUse,
    UserTurn,
    instructions_of,
    plain_entries_of,
)
from ws_bridge.upstream.dialects.options import check_includes, effort_of, text_format_of
from ws_bridge.upstream.dialects.seals import MakerSeals
from ws_bridge.upstream.dialects.table import refused
from ws_bridge.upstream.dialects.tool_choice import ToolChoice, read_choice
from ws_bridge.upstream.dialects.turns import ModelTurn, filled, turns_of

PLAN, THINKING = "tool_plan", "thinking"  # the seal has one of these keys
CHOICES = {"required": "REQUIRED", "none": "NONE"}
# Tokens of thinking; None: as many as the model wants.
BUDGETS: dict[str, int | None] = {
    "minimal": 512,
    "low": 2_000,
    "medium": 8_000,
    "high": None,
    "xhigh": None,
    "max": None,
}
LEAST_P, MOST_P = 0.01, 0.99


def write(given: WriterInput) -> ProviderRequest:
    """See ``Family.write``."""
    options = TABLE.options_to_translate(given.options, drop=given.drop_params)
    choice = read_choice(options.get("tool_choice"), given.tools, TABLE, drop=given.drop_params)
    if choice.one is not None:
        choice = replace(choice, tools=choice.tools.narrowed([choice.one.flat]))
    body: Json = {"model": given.model, "messages": list(_messages(given, options)), "stream": True}
    body |= _tools(choice) | _numbers(options) | _format(options, drop=given.drop_params)
    body |= _thinking(options, given)
    check_includes(options, TABLE)
    if options.get("parallel_tool_calls") is False and choice.tools.tools and not given.drop_params:
        raise refused("parameter", "parallel_tool_calls", "parallel_tool_calls")
    return ProviderRequest(body, tools=choice.tools)


def _messages(given: WriterInput, options: Json) -> Iterator[Json]:
    yield from map(_written, instructions_of(options, TABLE))
    for turn in turns_of(plain_entries_of(given.items, given.tools, TABLE)):
        if isinstance(turn, UserTurn):
            yield _written(turn)
            continue
        message = _answer(turn, given.seals, thinks=given.supports_reasoning is not False)
        if len(message) > 1:
            yield message
        for result in turn.results:
            yield _result(result)


def _written(turn: UserTurn) -> Json:
    if turn.role in SYSTEM:
        return {"role": "system", "content": _plain(turn.parts)}
    if all(part.kind == "text" for part in turn.parts):
        return {"role": "user", "content": _plain(turn.parts)}
    return {"role": "user", "content": [_part(part) for part in turn.parts]}


def _part(part: ContentPart) -> Json:
    if part.kind == "text":
        return {"type": "text", "text": part.text}
    image = {"url": part.data_url}
    if part.detail in ("low", "high", "auto"):
        image["detail"] = part.detail
    return {"type": "image_url", "image_url": image}


def _plain(parts: tuple[ContentPart, ...]) -> str | list[Json]:
    """Content of a role that takes text only. Raises a 400 for an image."""
    if any(part.kind != "text" for part in parts):
        raise refused("content part", "input_image", "input", "Send it as the user's.")
    return parts[0].text if len(parts) == 1 else [_part(part) for part in parts]


def _answer(turn: ModelTurn, seals: MakerSeals, *, thinks: bool) -> Json:
    content: list[Json] = []
    calls: list[Json] = []
    plan = ""
    for entry in turn.entries:
        if isinstance(entry, AnswerText):
            content.append({"type": "text", "text": entry.text})
        elif isinstance(entry, ToolUse):
            calls.append(_call(entry))
        elif isinstance(entry, Thought):
            kind = _kind(entry, seals)
            if kind == PLAN:
                plan += entry.text
            elif kind == THINKING and thinks and entry.text:
                content.append({"type": THINKING, THINKING: entry.text})
    message: Json = {"role": "assistant"}
    if content:
        is_text = len(content) == 1 and content[0]["type"] == "text"
        message["content"] = content[0]["text"] if is_text else content
    if plan and calls:
        message[PLAN] = plan
    if calls:
        message["tool_calls"] = calls
    return message


def _kind(thought: Thought, seals: MakerSeals) -> str:
    """PLAN or THINKING; "" for what another maker has sealed."""
    if not thought.sealed:
        return THINKING
    values = seals.open(thought.sealed) or {}
    return next((kind for kind in (PLAN, THINKING) if kind in values), "")


def _call(call: ToolUse) -> Json:
    arguments = orjson.dumps(call.arguments).decode()
    function = {"name": call.tool.flat, "arguments": arguments}
    return {"id": call.call_id, "type": "function", "function": function}


def _result(result: ToolResult) -> Json:
    content = _plain(filled(result.parts))
    return {"role": "tool", "tool_call_id": result.call_id, "content": content}


def _tools(choice: ToolChoice) -> Json:
    tools: Json = {}
    if choice.tools.tools:
        tools["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.flat,
                    **({"description": tool.description} if tool.description else {}),
                    "parameters": tool.parameters,
                },
            }
            for tool in choice.tools.tools.values()
        ]
        if _are_strict(choice.tools):
            tools["strict_tools"] = True
        if choice.mode in CHOICES:
            tools["tool_choice"] = CHOICES[choice.mode]
    return tools


def _are_strict(tools: ToolTable) -> bool:
    """Cohere is strict about all tools or none, and wants a required parameter in each."""
    return all(tool.strict and tool.parameters.get("required") for tool in tools.tools.values())


def _numbers(options: Json) -> Json:
    numbers: Json = {}
    if (limit := options.get("max_output_tokens")) is not None:
        numbers["max_tokens"] = limit
    if (temperature := options.get("temperature")) is not None:
        numbers["temperature"] = temperature
    if (top_p := options.get("top_p")) is not None:
        numbers["p"] = min(max(top_p, LEAST_P), MOST_P)
    return numbers


def _format(options: Json, *, drop: bool) -> Json:
    wanted = text_format_of(options, drop=drop)
    kind = wanted.get("type")
    if not wanted:
        return {}
    if kind == "json_object":
        return {"response_format": {"type": "json_object"}}
    if kind == "json_schema":
        schema = wanted.get("schema")
        return {"response_format": {"type": "json_object", "json_schema": schema}}
    raise refused("format", str(kind), "text.format")


def _thinking(options: Json, given: WriterInput) -> Json:
    effort = effort_of(options, given)
    if not effort or (effort == "none" and given.supports_reasoning is False):
        return {}
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    if effort not in BUDGETS:
        raise refused("effort", effort, "reasoning.effort")
    budget = BUDGETS[effort]
    return {"thinking": {"type": "enabled", **({"token_budget": budget} if budget else {})}}
