"""How Gemini's answers end, and what they cost (pure): its words and figures, as tables."""

from __future__ import annotations

from collections.abc import Mapping

from ws_bridge.types import Json
from ws_bridge.upstream.dialects.ends import CUT, FILTERED, GOOD, failed
from ws_bridge.upstream.errors import redacted

# The reasons that are no failure; the value is that of `incomplete_details`.
ENDS: Mapping[str, str] = {
    "STOP": GOOD,
    "MAX_TOKENS": CUT,
    "CONTINUATION": CUT,  # there is more, which a new request may ask for
    **dict.fromkeys(
        (
            *("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"),
            *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "MODEL_ARMOR"),
        ),
        FILTERED,
    ),
}
# Failures, whatever was said before. A word that no table has fails where nothing was said.
FAILURES = frozenset(
    {
        *("FINISH_REASON_UNSPECIFIED", "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE"),
        *("MISSING_THOUGHT_SIGNATURE", "TOO_MANY_TOOL_CALLS", "UNEXPECTED_TOOL_CALL"),
    }
)


def incomplete_reason(word: str, message: str, *, has_output: bool) -> str:
    """Why the answer is incomplete, "" if it is not. Raises ``UpstreamError`` for a failure."""
    if word in ENDS:
        return ENDS[word]
    if word in FAILURES or not has_output:
        raise failed(redacted(word), redacted(message), code=word[:64])
    return GOOD


def has_figures(usage: Json) -> bool:
    """Whether an event's `usageMetadata` counts anything."""
    return any(type(usage.get(name)) is int for name in _COUNTS)


_COUNTS = ("promptTokenCount", "candidatesTokenCount", "totalTokenCount")


def usage_of(usage: Json) -> Json | None:
    """The figures as a Responses usage; None if there are none."""
    if not has_figures(usage):
        return None

    def count(name: str) -> int:
        value = usage.get(name)
        return value if type(value) is int else 0

    thoughts, candidates = count("thoughtsTokenCount"), count("candidatesTokenCount")
    prompt = count("promptTokenCount") + count("toolUsePromptTokenCount")
    total = count("totalTokenCount")
    # Some models count their thoughts into the candidates: then these make the total alone.
    is_inclusive = bool(candidates) and prompt + candidates == total
    output = candidates if is_inclusive else candidates + thoughts
    return {
        "input_tokens": prompt,
        "input_tokens_details": {
            "cached_tokens": count("cachedContentTokenCount"),
            "cache_write_tokens": 0,
        },
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": thoughts},
        "total_tokens": total or prompt + output,
    }
