"""The figures of Converse → a Responses usage (pure)."""

from __future__ import annotations

from typing import Any

from ws_bridge.types import Json

MOST = 2**53  # an integer in JSON


def usage_of(usage: Any, thought: int = 0) -> Json | None:
    """The usage; None where the wire has none. ``thought``: the tokens of thinking, 0: not told.

    Converse does not count what the cache had, or took, into `inputTokens`.
    """
    if not isinstance(usage, dict) or "inputTokens" not in usage:
        return None
    cached, kept = _count(usage, "cacheReadInputTokens"), _count(usage, "cacheWriteInputTokens")
    read, written = _count(usage, "inputTokens") + cached + kept, _count(usage, "outputTokens")
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": kept},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": min(thought, written)},
        "total_tokens": _count(usage, "totalTokens") or read + written,
    }


def thought_tokens(fields: Any) -> int:
    """What Claude says of its thinking, in the fields that a request asks for; 0: nothing."""
    for name in ("usage", "output_tokens_details"):
        fields = fields.get(name) if isinstance(fields, dict) else None
    return _count(fields, "thinking_tokens") if isinstance(fields, dict) else 0


def _count(usage: Json, name: str) -> int:
    value = usage.get(name)
    return int(value) if isinstance(value, int | float) and 0 <= value < MOST else 0
