"""A finish reason is a success, a cut or a failure; figures are the wire's."""

import pytest

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.dialects.gemini.ends import incomplete_reason, usage_of


def reason(word, message="", *, said=True):
    return incomplete_reason(word, message, has_output=said)


@pytest.mark.parametrize("said", [True, False])
def test_known_reasons_mean_the_same_with_and_without_words(said):
    assert reason("STOP", said=said) == ""
    assert reason("MAX_TOKENS", said=said) == "max_output_tokens"
    for word in ("SAFETY", "RECITATION", "LANGUAGE", "SPII", "BLOCKLIST", "IMAGE_SAFETY"):
        assert reason(word, said=said) == "content_filter"


@pytest.mark.parametrize("word", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL"])
def test_a_failure_keeps_the_providers_words(word):
    with pytest.raises(UpstreamError) as failed:
        reason(word, "Malformed function call: f(")
    assert (failed.value.message, failed.value.code) == ("Malformed function call: f(", word)
    with pytest.raises(UpstreamError, match=word):
        reason(word)


@pytest.mark.parametrize("word", ["OTHER", "NO_IMAGE", "SOMETHING_NEW"])
def test_an_unknown_reason_fails_where_nothing_was_said(word):
    assert reason(word) == ""
    with pytest.raises(UpstreamError):
        reason(word, said=False)


def test_figures_count_tools_in_and_thoughts_out():
    usage = {
        "promptTokenCount": 10,
        "toolUsePromptTokenCount": 5,
        "cachedContentTokenCount": 4,
        "candidatesTokenCount": 3,
        "thoughtsTokenCount": 2,
        "totalTokenCount": 20,
    }
    assert usage_of(usage) == {
        "input_tokens": 15,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 20,
    }


def test_thoughts_that_are_counted_among_the_candidates_are_counted_once():
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 7, "thoughtsTokenCount": 5}
    assert usage_of({**usage, "totalTokenCount": 17})["output_tokens"] == 7
    assert usage_of({**usage, "totalTokenCount": 22})["output_tokens"] == 12


def test_no_figures_are_made_up():
    assert usage_of({}) is None
    assert usage_of({"trafficType": "ON_DEMAND"}) is None
    assert usage_of({"promptTokenCount": "7", "totalTokenCount": True}) is None
    assert usage_of({"promptTokenCount": 7})["total_tokens"] == 7
