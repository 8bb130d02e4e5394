"""Finish reasons."""

from __future__ import annotations

import pytest

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.dialects.openai_chat.ends import FAILURES, WORDS, incomplete_reason


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", ""),
        ("tool_calls", ""),
        ("EOS", ""),
        ("length", "max_output_tokens"),
        ("model_length", "max_output_tokens"),
        ("content_filter", "content_filter"),
        ("sensitive", "content_filter"),
    ],
)
def test_known_words_need_nothing_said(word: str, reason: str) -> None:
    assert incomplete_reason(word, "", is_whole=False) == reason


@pytest.mark.parametrize("word", sorted(FAILURES))
def test_a_failure_is_none_of_the_ends(word: str) -> None:
    assert word not in WORDS
    with pytest.raises(UpstreamError) as raised:
        incomplete_reason(word, "", is_whole=True)
    assert word in raised.value.message
    assert raised.value.status == 502


def test_the_word_behind_a_broker_tells_a_failure() -> None:
    with pytest.raises(UpstreamError):
        incomplete_reason("stop", "MALFORMED_FUNCTION_CALL", is_whole=True)
    assert incomplete_reason("stop", "odd", is_whole=True) == ""
    assert incomplete_reason("odd", "MAX_TOKENS", is_whole=True) == "max_output_tokens"


def test_an_unknown_word_is_an_end_of_a_whole_answer_only() -> None:
    assert incomplete_reason("ready", "", is_whole=True) == ""
    with pytest.raises(UpstreamError, match="'ready'"):
        incomplete_reason("ready", "", is_whole=False)
    with pytest.raises(UpstreamError, match="another word"):
        incomplete_reason("fertig \u00fc", "", is_whole=False)
