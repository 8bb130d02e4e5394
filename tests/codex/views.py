"""What each family's provider is to be asked in Codex's last turn, whole.

What Codex makes up itself (instructions, environment, tools) stands in what it asks a provider of
Responses without a bridge: ``direct``. The model's turns are the provider's own words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from upstreams.agent_loop import anthropic_blocks, gemini_parts
from upstreams.stories import Step, story_of

Json = dict[str, Any]

CACHED = {"cache_control": {"type": "ephemeral"}}
SINGLE = {"type": "auto", "disable_parallel_tool_use": True}
# What differs from run to run.
_NAMED = re.compile(r"\b(call|resp)_(?:[0-9a-f]{32}|theirs\d+)")
_CHANCE = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "uuid"),
    (re.compile(r"Wall time(:?) [\d.]+ seconds"), r"Wall time\1 some seconds"),
    (re.compile(r"Chunk ID: [0-9a-f]+"), "Chunk ID: some"),
    (re.compile(r"<current_date>[\d-]+"), "<current_date>some"),
)


def normal(body: Json, folder: str) -> Json:
    """Without chance: ids are numbered as they are mentioned, ``folder`` is where Codex is."""
    text = json.dumps(body).replace(folder, "folder")
    for pattern, name in _CHANCE:
        text = pattern.sub(name, text)
    ids: dict[str, str] = {}
    for found in _NAMED.finditer(text):
        ids.setdefault(found[0], f"{found[1]}_{len(ids) + 1}")
    return json.loads(_NAMED.sub(lambda found: ids[found[0]], text))


def _texts(item: Json) -> list[str]:
    return [part["text"] for part in item["content"]]


def _said(direct: Json, *roles: str) -> list[Json]:
    """The messages that Codex begins with."""
    messages = (item for item in direct["input"] if item["type"] == "message")
    return [item for item in messages if item["role"] in roles]


def _turns(direct: Json) -> Iterator[tuple[int, Step, list[Json]]]:
    """The turns before the last: number, what the model said, the outputs of its calls."""
    outputs = [item for item in direct["input"] if item["type"].endswith("_output")]
    for number, step in enumerate(story_of(direct["model"])[:-1]):
        yield number, step, [outputs.pop(0) for _ in step.calls]
    assert outputs == []


def _result(output: Json) -> tuple[list[str], list[Json]]:
    """The texts of an output, and its images."""
    if output["type"] == "tool_search_output":
        names = [f"{space['name']}__{tool['name']}" for space, tool in _spaced(output["tools"])]
        return [json.dumps({"tools": names}, separators=(",", ":"))], []
    parts = output["output"]
    if isinstance(parts, str):
        return [parts], []
    texts = [part["text"] for part in parts if part["type"] == "input_text"]
    return texts, [part for part in parts if part["type"] == "input_image"]


def _spaced(tools: list[Json]) -> Iterator[tuple[Json, Json]]:
    return ((space, tool) for space in tools for tool in space["tools"])


def _functions(direct: Json) -> Iterator[Json]:
    """All tools of Codex as functions; ``strict`` where it says it."""
    offering = ("tool_search_output", "additional_tools")
    items = [item for item in direct["input"] if item["type"] in offering]
    for tool in [*direct.get("tools", []), *(tool for item in items for tool in item["tools"])]:
        if tool["type"] == "namespace":
            for space, inner in _spaced([tool]):
                yield _function(inner) | {"name": f"{space['name']}__{inner['name']}"}
        elif tool["type"] != "web_search":
            yield _function(tool)


def _searches(direct: Json) -> bool:
    """Whether Codex lets its provider search the web."""
    return any(tool["type"] == "web_search" for tool in direct.get("tools", []))


def _function(tool: Json) -> Json:
    if tool["type"] == "custom":
        rules = f"'content' must match this lark grammar:\n{tool['format']['definition']}"
        schema = {
            "type": "object",
            "properties": {"content": {"type": "string"}},
            "required": ["content"],
            "additionalProperties": False,
        }
        text = f"{tool['description']}\n\n{rules}".strip()
        return {"name": tool["name"], "description": text, "parameters": schema}
    fields = {key: tool[key] for key in ("description", "parameters", "strict") if key in tool}
    return {"name": tool.get("name", tool["type"]), **fields}


def _native(direct: Json, model: str) -> Json:
    """As Codex asks, but for its own data and for what it repeats of a model's answer in vain."""
    kept = {key: value for key, value in direct.items() if key != "client_metadata"}
    return {**kept, "model": model, "input": [_item(item) for item in direct["input"]]}


def _item(item: Json) -> Json:
    if item["type"] == "reasoning":
        return {key: value for key, value in item.items() if value is not None}
    if item.get("role") == "assistant":
        parts = [{key: part[key] for key in part if key != "logprobs"} for part in item["content"]]
        return {**item, "content": parts}
    return item


def _chat(direct: Json, model: str) -> Json:
    messages: list[Json] = [
        {"role": role, "content": "\n\n".join(_texts(item))}
        for name, role in (("developer", "system"), ("user", "user"))
        for item in _said(direct, name)
    ]
    for number, step, outputs in _turns(direct):
        calls = [
            {
                "id": f"call_{number}_{place}",
                "type": "function",
                "function": {"name": call.flat, "arguments": call.written},
            }
            for place, call in enumerate(step.calls)
        ]
        said = {"role": "assistant", "content": step.text or None, "reasoning": step.thought}
        messages.append({**said, "tool_calls": calls})
        shown = []
        for call, output in zip(calls, outputs, strict=True):
            texts, images = _result(output)
            text = "\n".join(texts)
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": text})
            if images:
                about = f"The output of the tool call {call['id']}:"
                content = [{"type": "text", "text": about}, *map(_shown, images)]
                shown.append({"role": "user", "content": content})
        messages += shown
    effort = direct["reasoning"].get("effort")
    return {
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
        **({"reasoning_effort": effort} if effort else {}),
        "parallel_tool_calls": direct["parallel_tool_calls"],
        "tool_choice": "auto",
        "messages": messages,
        "tools": [
            *({"type": "function", "function": one} for one in _functions(direct)),
            *([{"type": "browser_search"}] if _searches(direct) else []),
        ],
    }


def _shown(image: Json) -> Json:
    """An image as plain chat knows it: in all its detail."""
    assert image["detail"] == "original"
    return {"type": "image_url", "image_url": {"url": image["image_url"], "detail": "high"}}


def _claude(direct: Json, model: str) -> Json:
    system = [
        {"type": "text", "text": text}
        for item in _said(direct, "developer")
        for text in _texts(item)
    ]
    asked = [
        {"type": "text", "text": text} for item in _said(direct, "user") for text in _texts(item)
    ]
    messages: list[Json] = [{"role": "user", "content": asked}]
    for number, step, outputs in _turns(direct):
        blocks = anthropic_blocks(number, step)
        calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
        results = [
            {"type": "tool_result", "tool_use_id": call, "content": _blocks(*_result(output))}
            for call, output in zip(calls, outputs, strict=True)
        ]
        messages.append({"role": "assistant", "content": blocks})
        messages.append({"role": "user", "content": results})
    system[-1] |= CACHED
    for message in messages[-3::2]:
        message["content"][-1] |= CACHED
    effort = direct["reasoning"].get("effort")
    functions = [
        {
            "name": one["name"],
            "description": one["description"],
            "input_schema": {key: value for key, value in one["parameters"].items() if value != []},
        }
        for one in _functions(direct)
    ]
    search = {"name": "web_search", "type": "web_search_20250305"}
    tools = [*functions, search] if _searches(direct) else functions
    tools[-1] |= CACHED
    return {
        "model": model,
        "max_tokens": 4096,
        "stream": True,
        "thinking": {"type": "adaptive", "display": "summarized"},
        **({"output_config": {"effort": effort}} if effort else {}),
        "system": system,
        "messages": messages,
        "tools": tools,
        **({} if direct["parallel_tool_calls"] else {"tool_choice": SINGLE}),
    }


def _blocks(texts: list[str], images: list[Json]) -> list[Json]:
    sources = [
        {"type": "base64", "media_type": kind, "data": data} for kind, data in map(_data, images)
    ]
    return [
        *({"type": "text", "text": text} for text in texts),
        *({"type": "image", "source": source} for source in sources),
    ]


def _data(image: Json) -> list[str]:
    """Its media type, and the data in Base64."""
    return image["image_url"].removeprefix("data:").split(";base64,")


def _gemini(direct: Json, model: str) -> Json:
    assert model  # it stands in the path
    system = [{"text": text} for item in _said(direct, "developer") for text in _texts(item)]
    asked = [{"text": text} for item in _said(direct, "user") for text in _texts(item)]
    contents: list[Json] = [{"role": "user", "parts": asked}]
    ids = (f"call_{count}" for count in range(1, 99))
    for number, step, outputs in _turns(direct):
        parts = [part for part in gemini_parts(number, step) if "thought" not in part]
        calls = [part["functionCall"] for part in parts if "functionCall" in part]
        answers = []
        for call, output in zip(calls, outputs, strict=True):
            call["id"] = next(ids)
            said = {"name": call["name"], "id": call["id"], **_response(*_result(output))}
            answers.append({"functionResponse": said})
        contents += [{"role": "model", "parts": parts}, {"role": "user", "parts": answers}]
    functions = [
        {
            "name": one["name"],
            "description": one["description"],
            "parametersJsonSchema": one["parameters"],
        }
        for one in _functions(direct)
    ]
    effort = direct["reasoning"].get("effort")
    thinking = {"thinkingLevel": effort} if effort else {"includeThoughts": True}
    both = _searches(direct)
    return {
        "systemInstruction": {"parts": system},
        "contents": contents,
        "generationConfig": {"thinkingConfig": thinking},
        "tools": [{"functionDeclarations": functions}, *([{"googleSearch": {}}] if both else [])],
        **({"toolConfig": {"includeServerSideToolInvocations": True}} if both else {}),
    }


def _response(texts: list[str], images: list[Json]) -> Json:
    shown = [{"inlineData": {"mimeType": kind, "data": data}} for kind, data in map(_data, images)]
    return {"response": {"output": "\n".join(texts)}, **({"parts": shown} if shown else {})}


VIEWS: dict[str, Callable[[Json, str], Json]] = {
    "native": _native,
    "chat": _chat,
    "claude": _claude,
    "gemini": _gemini,
}
