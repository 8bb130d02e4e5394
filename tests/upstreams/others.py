"""The Gemini and Ollama dialects, as little of them as the tests need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]


def gemini_events(model: str) -> Iterator[Json]:
    """Yield the chunks of one Gemini stream."""
    if "think" in model:
        yield _gemini_chunk(model, {"text": "thinking it", "thought": True})
    if "tool" in model:
        call = {"name": "get_weather", "args": {"city": "Paris"}}
        yield _gemini_chunk(model, {"functionCall": call, "thoughtSignature": "c2ln"})
    else:
        yield _gemini_chunk(model, {"text": "Hello "})
        yield _gemini_chunk(model, {"text": "Gemini"})
    yield _gemini_chunk(model, {"text": ""}, "SAFETY" if "safety" in model else "STOP")


def _gemini_chunk(model: str, part: Json, finish_reason: str | None = None) -> Json:
    candidate: Json = {"content": {"parts": [part], "role": "model"}, "index": 0}
    if finish_reason:
        candidate["finishReason"] = finish_reason
    return {
        "candidates": [candidate],
        "usageMetadata": {
            "promptTokenCount": 4,
            "candidatesTokenCount": 5,
            "totalTokenCount": 12,
            "thoughtsTokenCount": 3,
        },
        "modelVersion": model,
        "responseId": "gem-1",
    }


def ollama_events(model: str) -> Iterator[Json]:
    """Yield the lines of one Ollama stream."""
    if "think" in model:
        yield _ollama_line(model, {"thinking": "hmm"})
    if "tool" in model:
        call = {"function": {"name": "get_weather", "arguments": {"city": "Paris"}}}
        yield _ollama_line(model, {"tool_calls": [call]})
    else:
        yield _ollama_line(model, {"content": "Hi "})
        yield _ollama_line(model, {"content": "ollama"})
    counts = {"done_reason": "stop", "prompt_eval_count": 3, "eval_count": 4}
    yield {**_ollama_line(model, {}), "done": True, **counts}


def _ollama_line(model: str, message: Json) -> Json:
    return {
        "model": model,
        "created_at": "2025-01-01T00:00:00Z",
        "message": {"role": "assistant", "content": "", **message},
        "done": False,
    }
