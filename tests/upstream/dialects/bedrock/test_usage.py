"""Converse's figures as a Responses usage."""

import pytest

from ws_bridge.upstream.dialects.bedrock.usage import thought_tokens, usage_of


def test_what_the_cache_had_or_took_is_input():
    figures = {"inputTokens": 5, "outputTokens": 4, "cacheReadInputTokens": 3}

    assert usage_of({**figures, "cacheWriteInputTokens": 2}, 9) == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 14,
    }


def test_the_wires_total_counts():
    assert usage_of({"inputTokens": 5, "outputTokens": 4, "totalTokens": 11})["total_tokens"] == 11


@pytest.mark.parametrize("usage", [None, [], {}, {"outputTokens": 3}])
def test_what_the_wire_does_not_have_is_none(usage):
    assert usage_of(usage) is None


@pytest.mark.parametrize("figure", [None, "5", -1, float("inf"), float("nan"), {}])
def test_a_figure_that_is_no_count_is_0(figure):
    assert usage_of({"inputTokens": figure})["input_tokens"] == 0


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"usage": {"output_tokens_details": {"thinking_tokens": 8}}}, 8),
        ({"usage": {"output_tokens_details": 8}}, 0),
        ({"usage": None}, 0),
        (None, 0),
    ],
)
def test_the_tokens_of_thinking(fields, tokens):
    assert thought_tokens(fields) == tokens
