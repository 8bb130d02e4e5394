"""The Anthropic Messages dialect: the events of one stream, chosen by the model's name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from upstreams.errors import number_after, pieces

Json = dict[str, Any]


def anthropic_events(model: str, body: Json) -> Iterator[Json]:
    """Yield the events of one Messages stream."""
    yield {"type": "message_start", "message": _anthropic_message(model)}
    blocks = [*_scripted(model, body)] or [*_anthropic_blocks(model)]
    for index, block in enumerate(blocks):
        yield from block(index)
    if "miderr" in model:
        yield {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
        return
    stop_reason = _stop_reason("text" if _tool_results(body) else model)
    delta = {"stop_reason": stop_reason, "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 15}}
    yield {"type": "message_stop"}


def _anthropic_message(model: str) -> Json:
    return {
        "id": "msg_01XFD",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 25,
            "cache_creation_input_tokens": 3,
            "cache_read_input_tokens": 4,
            "output_tokens": 1,
        },
    }


Block = Callable[[int], Iterator[Json]]


def _scripted(model: str, body: Json) -> Iterator[Block]:
    """Answers that depend on the request."""
    if "echo" in model:
        echo = json.dumps({"system": body.get("system"), "messages": body["messages"]})
        yield lambda index: _text_block(index, echo, cite=False)
    elif "chosentool" in model:
        name = body["tool_choice"]["name"]
        yield lambda index: _tool_block(index, "toolu_chosen", name, '{"content": "x"}')
    elif "toolloop" in model and (results := _tool_results(body)):
        text = f"The weather: {_text_of(results[-1]['content'])}"
        yield lambda index: _text_block(index, text, cite=False)
    elif "toolloop" in model:
        yield lambda index: _tool_block(index, "toolu_01T1", "get_weather", '{"city":"Paris"}')


def _tool_results(body: Json) -> list[Json]:
    blocks = [
        block
        for message in body.get("messages", [])
        if isinstance(message["content"], list)
        for block in message["content"]
    ]
    return [block for block in blocks if block["type"] == "tool_result"]


def _text_of(content: str | list[Json]) -> str:
    if isinstance(content, str):
        return content
    return "".join(block.get("text", "") for block in content)


def _anthropic_blocks(model: str) -> Iterator[Block]:
    cite = "cite" in model
    if "redacted" in model:
        yield _redacted_block
    if "thinking" in model:
        yield _thinking_block
    if "texttool" in model or "tool" not in model:
        text = "claude" * number_after("big", model) if "big" in model else "Hello from Claude!"
        yield lambda index: _text_block(index, text, cite)
    if "tool" in model:
        parts = ('{"city":', ' "Paris"}')
        yield lambda index: _tool_block(index, "toolu_01T1", "get_weather", *parts)
        yield lambda index: _tool_block(index, "toolu_02", "get_time", '{"tz":"CET"}')
    if "noarg" in model:
        yield lambda index: _tool_block(index, "toolu_03", "ping")
    if "interleave" in model:
        yield _thinking_block
        yield lambda index: _text_block(index, "Second text.", cite)


def _stop_reason(model: str) -> str:
    if "refusal" in model:
        return "refusal"
    if "maxtok" in model:
        return "max_tokens"
    return "tool_use" if "tool" in model or "noarg" in model else "end_turn"


def _block(index: int, block: Json, *deltas: Json, ping: bool = False) -> Iterator[Json]:
    yield {"type": "content_block_start", "index": index, "content_block": block}
    if ping:
        yield {"type": "ping"}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def _redacted_block(index: int) -> Iterator[Json]:
    return _block(index, {"type": "redacted_thinking", "data": "EmwKAhgB"})


def _thinking_block(index: int) -> Iterator[Json]:
    return _block(
        index,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "Let me "},
        {"type": "thinking_delta", "thinking": "think."},
        {"type": "signature_delta", "signature": "EqQBsig=="},
    )


def _text_block(index: int, text: str, cite: bool) -> Iterator[Json]:
    deltas: list[Json] = [{"type": "text_delta", "text": piece} for piece in pieces(text, 6)]
    if cite:
        citation = {
            "type": "char_location",
            "cited_text": "abc",
            "document_index": 0,
            "document_title": "D",
            "start_char_index": 0,
            "end_char_index": 3,
        }
        deltas.append({"type": "citations_delta", "citation": citation})
    return _block(index, {"type": "text", "text": ""}, *deltas, ping=True)


def _tool_block(index: int, tool_id: str, name: str, *parts: str) -> Iterator[Json]:
    deltas = [{"type": "input_json_delta", "partial_json": part} for part in ("", *parts)]
    return _block(index, {"type": "tool_use", "id": tool_id, "name": name, "input": {}}, *deltas)
