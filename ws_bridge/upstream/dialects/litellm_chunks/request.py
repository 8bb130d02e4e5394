"""A request in the Responses form that litellm's bridge to chat completions takes (pure).

Rule 1: every tool and call is a function: `protocol.tools` gives its name there and back.
Rule 2: litellm opens links and runs tools by itself where it can: nothing of that kind is in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from ws_bridge.errors import InvalidRequest
from ws_bridge.protocol.tools import ToolTable
from ws_bridge.types import Item, Json
from ws_bridge.upstream.dialects.base import ProviderRequest, WriterInput
from ws_bridge.upstream.dialects.entries import (
    AnswerText,
    ContentPart,
    PlainEntry,
    Thought,
    ToolResult,
    ToolUse,
    UserTurn,
    instructions_of,
    plain_entries_of,
)
from ws_bridge.upstream.dialects.litellm_chunks.table import TABLE
from ws_bridge.upstream.dialects.options import check_includes
from ws_bridge.upstream.dialects.table import SEND_DATA, refused
from ws_bridge.upstream.dialects.tool_choice import read_choice

# These get a link as it is, and open it; for others litellm would open it from inside the
# operator's network.
OPEN_LINKS = frozenset({"azure", "azure_ai", "github", "litellm_proxy"})


def write(given: WriterInput) -> ProviderRequest:
    """The arguments of ``aresponses``, but for the model, address and key."""
    options = TABLE.options_to_translate(given.options, drop=given.drop_params)
    check_includes(options, TABLE)
    options.pop("include", None)
    choice = read_choice(
        options.pop("tool_choice", None), given.tools, TABLE, drop=given.drop_params
    )
    tools = choice.tools
    body: Json = {**options}
    body.pop("tools", None)
    if system := [_message(turn) for turn in instructions_of(options, TABLE)]:
        body["instructions"] = "\n\n".join(part["text"] for m in system for part in m["content"])
    body["input"] = [_item(entry) for entry in plain_entries_of(given.items, given.tools, TABLE)]
    if given.provider not in OPEN_LINKS:
        _check_links(body["input"])
    if not body["input"]:
        raise InvalidRequest("There is no input for the model.", param="input")
    if tools.tools:
        body["tools"] = list(_functions(tools))
        if choice.one:
            body["tool_choice"] = {"type": "function", "name": choice.one.flat}
        elif choice.mode != "auto":
            body["tool_choice"] = choice.mode
    return ProviderRequest(body, tools=tools)


def _check_links(items: Iterable[Item]) -> None:
    for item in items:
        for part in (*(item.get("content") or ()), *_listed(item.get("output"))):
            link = part.get("image_url")
            if link is not None and not link.startswith("data:"):
                raise refused("content part", "input_image", "input", SEND_DATA.hint)


def _listed(output: Any) -> list[Json]:
    return output if isinstance(output, list) else []


def _functions(tools: ToolTable) -> Iterable[Json]:
    for tool in tools.tools.values():
        function: Json = {"type": "function", "name": tool.flat, "parameters": tool.parameters}
        if tool.description:
            function["description"] = tool.description
        if tool.strict is not None:
            function["strict"] = tool.strict
        yield function


def _item(entry: PlainEntry) -> Item:
    if isinstance(entry, UserTurn):
        return _message(entry)
    if isinstance(entry, AnswerText):
        part = {"type": "output_text", "text": entry.text, "annotations": []}
        return {"type": "message", "role": "assistant", "content": [part]}
    if isinstance(entry, Thought):
        summary = [{"type": "summary_text", "text": entry.text}] if entry.text else []
        sealed = {"encrypted_content": entry.sealed} if entry.sealed else {}
        return {"type": "reasoning", "summary": summary, **sealed}
    if isinstance(entry, ToolUse):
        arguments = orjson.dumps(entry.arguments).decode()
        call = {"call_id": entry.call_id, "name": entry.tool.flat, "arguments": arguments}
        return {"type": "function_call", **call}
    if isinstance(entry, ToolResult):
        is_text = all(part.kind == "text" for part in entry.parts)
        output = entry.text if is_text else list(map(_part, entry.parts))
        return {"type": "function_call_output", "call_id": entry.call_id, "output": output}
    raise AssertionError(entry)  # the table lets no other item through


def _message(turn: UserTurn) -> Item:
    return {"type": "message", "role": turn.role, "content": list(map(_part, turn.parts))}


def _part(part: ContentPart) -> Json:
    if part.kind == "image":
        detail = {"detail": part.detail} if part.detail else {}
        return {"type": "input_image", "image_url": part.data_url, **detail}
    if part.kind == "file":
        data = part.data_url if part.media_type else part.data
        return {"type": "input_file", "file_data": data, "filename": part.name or "file"}
    return {"type": "input_text", "text": part.text}
