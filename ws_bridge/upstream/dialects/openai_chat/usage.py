"""A chat provider's token figures → a Responses usage (pure). Nothing is estimated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ws_bridge.types import Json

# Where providers put a figure: paths into the usage, the first that is there counts.
INPUT = ("prompt_tokens", "input_tokens")
OUTPUT = ("completion_tokens", "output_tokens")
TOTAL = ("total_tokens",)
CACHED = (
    "prompt_tokens_details.cached_tokens",
    "input_tokens_details.cached_tokens",
    "prompt_cache_hit_tokens",
    "cached_tokens",
    "cache_read_input_tokens",
)
CACHE_WRITTEN = (
    "prompt_tokens_details.cache_write_tokens",
    "prompt_tokens_details.cache_creation_input_tokens",
    "prompt_tokens_details.cache_creation_tokens",
    "cache_creation_input_tokens",
)
REASONING = (
    "completion_tokens_details.reasoning_tokens",
    "output_tokens_details.reasoning_tokens",
    "reasoning_tokens",
)


def usage_of(given: Any) -> Json | None:
    """The usage, or None where the provider says none.

    Some providers count thoughts, or cached input, beside the two sums: their total tells it.
    """
    if not isinstance(given, dict):
        return None
    found = _figure(given, INPUT), _figure(given, OUTPUT)
    if found == (None, None):
        return None
    read, written = found[0] or 0, found[1] or 0
    cached = _figure(given, CACHED) or 0
    cache_written = _figure(given, CACHE_WRITTEN) or 0
    reasoning = _figure(given, REASONING) or 0
    total = _figure(given, TOTAL) or read + written
    beside = total - read - written
    if beside > 0 and beside == reasoning:
        written += reasoning
    elif beside > 0 and beside == cached + cache_written:
        read += beside
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": cache_written},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": total,
    }


def _figure(usage: Mapping[str, Any], paths: tuple[str, ...]) -> int | None:
    for path in paths:
        outer, _, inner = path.rpartition(".")
        place = usage.get(outer) if outer else usage
        value = place.get(inner) if isinstance(place, dict) else None
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53:
            return int(value)
    return None
