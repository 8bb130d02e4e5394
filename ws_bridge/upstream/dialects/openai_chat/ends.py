"""How a chat answer ends: the provider's word → completed, cut short, or failed (pure)."""

from __future__ import annotations

from ws_bridge.upstream.dialects.ends import CUT, FILTERED, GOOD, failed

WORDS = {
    **dict.fromkeys(
        (
            *("stop", "tool_calls", "function_call", "tool_use", "eos", "eos_token", "end_turn"),
            *("stop_sequence", "stop_token", "complete", "completed", "tool_call"),
        ),
        GOOD,
    ),
    **dict.fromkeys(
        (
            *("length", "max_tokens", "model_length", "max_output_tokens", "max_length"),
            *("model_context_window_exceeded", "context_length_exceeded", "max_completion_tokens"),
        ),
        CUT,
    ),
    **dict.fromkeys(
        (
            *("content_filter", "content-filter", "sensitive", "safety", "refusal", "recitation"),
            *("prohibited_content", "blocklist", "spii", "guardrail_intervened"),
        ),
        FILTERED,
    ),
}
FAILURES = frozenset(
    {
        *("error", "network_error", "insufficient_system_resource", "abort", "aborted", "failed"),
        *("cancelled", "canceled", "timeout", "malformed_function_call", "unexpected_tool_call"),
        *("malformed_response", "too_many_tool_calls", "model_error", "internal_error"),
    }
)


def incomplete_reason(word: str, native: str, *, is_whole: bool) -> str:
    """Why the answer is incomplete, "" if it is not. Raises ``UpstreamError`` if it failed.

    ``native``: the word of the provider behind a broker. ``is_whole``: something was said, and the
    wire came to its own end; only then a word that is in no table is taken for a good one.
    """
    for each in (native.lower(), word.lower()):
        if each in FAILURES:
            raise failed(each)
    for each in (word.lower(), native.lower()):
        if each in WORDS:
            return WORDS[each]
    if not is_whole:
        raise failed(word or native)
    return GOOD
