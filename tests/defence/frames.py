"""One valid frame or body of each kind a client may send: what mutations start from."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

MESSAGE: Json = {
    "type": "message",
    "role": "user",
    "content": [
        {"type": "input_text", "text": "hi"},
        {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "auto"},
        {"type": "input_file", "file_id": "file_1", "filename": "a.pdf"},
    ],
}
TOOL: Json = {
    "type": "function",
    "name": "get_weather",
    "description": "d",
    "strict": True,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
# Every documented field of a create, each with a value that is accepted.
FIELDS: Json = {
    "model": "m",
    "input": [
        MESSAGE,
        {"role": "developer", "content": "be brief"},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
    ],
    "store": True,
    "stream": True,
    "background": False,
    "generate": True,
    "context_management": [{"type": "compaction", "compact_threshold": 2000}],
    "include": ["reasoning.encrypted_content"],
    "instructions": "short",
    "max_output_tokens": 100,
    "max_tool_calls": 3,
    "metadata": {"a": "b"},
    "parallel_tool_calls": True,
    "prompt": {"id": "pmpt_1", "version": "2", "variables": {"x": "y"}},
    "prompt_cache_key": "k",
    "prompt_cache_options": {"prewarm": False},
    "prompt_cache_retention": "24h",
    "reasoning": {"effort": "low", "summary": "auto"},
    "safety_identifier": "s",
    "service_tier": "auto",
    "stream_options": {"include_obfuscation": False},
    "temperature": 0.5,
    "text": {"format": {"type": "text"}, "verbosity": "low"},
    "tool_choice": "auto",
    "tools": [TOOL, {"type": "web_search"}],
    "top_logprobs": 2,
    "top_p": 0.5,
    "truncation": "auto",
    "user": "u",
}
# They exclude each other, or others.
LINEAGE: Json = {"previous_response_id": "resp_1", "conversation": "conv_1"}
CREATE: Json = {"type": "response.create", **FIELDS}
STEER: Json = {"type": "response.steer", "previous_response_id": "resp_0", "input": [MESSAGE]}
FRAMES: tuple[Json, ...] = (
    CREATE,
    {"type": "response.create", "model": "m", "input": "hi", "stream_id": "a"},
    {"type": "response.create", "model": "m", "input": "hi", "previous_response_id": "resp_0"},
    {"type": "response.create", "model": "m", "input": [], "conversation": {"id": "conv_1"}},
    {"type": "response.create", "response": {"model": "m", "input": "nested"}},
    STEER,
    {"type": "response.cancel", "stream_id": "a"},
    {"type": "response.cancel", "response_id": "resp_0"},
    {"type": "response.interrupt"},
    {"type": "response.processed", "response_id": "resp_0"},
)
