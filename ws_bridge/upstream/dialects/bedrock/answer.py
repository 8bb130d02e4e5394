"""A whole answer of Converse → the events that a stream of it would have (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ws_bridge.types import Json


def events_of(message: Json, answer: Json) -> Iterator[tuple[str, Json]]:
    """The events, by name, of the answer's message, of its end and of its usage."""
    content = message.get("content")
    for place, block in enumerate(content if isinstance(content, list) else ()):
        if not isinstance(block, dict):
            continue
        at = {"contentBlockIndex": place}
        if start := _start(block):
            yield "contentBlockStart", {**at, "start": start}
        for delta in _deltas(block):
            yield "contentBlockDelta", {**at, "delta": delta}
        yield "contentBlockStop", at
    yield "messageStop", answer
    yield "metadata", answer


def _start(block: Json) -> Json:
    return {key: block[key] for key in ("toolUse", "toolResult", "image") if key in block}


def _deltas(block: Json) -> Iterator[Json]:
    if "text" in block:
        yield {"text": block["text"]}
    for text in _objects(block, "citationsContent", "content"):
        yield text
    for citation in _objects(block, "citationsContent", "citations"):
        yield {"citation": citation}
    if "toolUse" in block:
        yield {"toolUse": {"input": _inner(block, "toolUse").get("input") or {}}}
    if "toolResult" in block:
        yield {"toolResult": _inner(block, "toolResult").get("content") or []}
    if "image" in block:
        yield {"image": block["image"]}
    thought = _inner(block, "reasoningContent")
    if text := _inner(thought, "reasoningText"):
        yield {"reasoningContent": text}
    elif thought:
        yield {"reasoningContent": thought}


def _inner(block: Json, key: str) -> Json:
    value: Any = block.get(key)
    return value if isinstance(value, dict) else {}


def _objects(block: Json, key: str, name: str) -> Iterator[Json]:
    values = _inner(block, key).get(name)
    if isinstance(values, list):
        yield from (value for value in values if isinstance(value, dict))
