"""Breakpoints of Anthropic's prompt cache (pure).

Rule 1: what is the same in the next turn is cached: the tools, the instructions and the last two
turns of the user. That is at most four marks, all that Anthropic takes.
Rule 2: a request that is short, or will have no next turn, is not marked: writing the cache costs
a quarter more than reading the input.
"""

from __future__ import annotations

from ws_bridge.types import Json
from ws_bridge.upstream.dialects.anthropic.blocks import json_text

LEAST = 4096  # characters of JSON: about 1,024 tokens, the least that Anthropic caches
MARK = {"type": "ephemeral"}
USER_TURNS = 2
MARKABLE = frozenset({"text", "image", "document", "tool_result"})


def with_cache_marks(body: Json) -> Json:
    """The body with marks, if its prompt is worth it; ``body`` is not changed."""
    messages = body["messages"]
    has_next = bool(body.get("tools")) or any(one["role"] == "assistant" for one in messages)
    prompt = [body.get(name) for name in ("tools", "system", "messages")]
    if not has_next or len(json_text(prompt)) < LEAST:
        return body
    marked = {**body, "messages": list(messages)}
    for name in ("tools", "system"):
        if body.get(name):
            marked[name] = _marked_last(body[name])
    users = [place for place, one in enumerate(messages) if one["role"] == "user"]
    for place in users[-USER_TURNS:]:
        message = messages[place]
        content = _marked_last(message["content"])
        marked["messages"][place] = {**message, "content": content}
    return marked


def _marked_last(blocks: list[Json]) -> list[Json]:
    """The blocks, the last one marked that can be."""
    for place in range(len(blocks) - 1, -1, -1):
        if _can_be_marked(blocks[place]):
            return [*blocks[:place], {**blocks[place], "cache_control": MARK}, *blocks[place + 1 :]]
    return blocks


def _can_be_marked(block: Json) -> bool:
    """Content that is not empty, or a tool; a deferred one is no part of the prompt yet."""
    if block.get("defer_loading"):
        return False
    is_tool = "input_schema" in block or "name" in block or "mcp_server_name" in block
    return is_tool or block.get("type") in MARKABLE
