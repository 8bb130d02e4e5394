"""A word for the end of an answer is good, a cut, or a failure."""

import pytest

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.dialects.ends import CUT, FAILURE, GOOD, incomplete_reason

ENDS = {"stop": GOOD, "length": CUT, "error": FAILURE}


@pytest.mark.parametrize(
    ("word", "has_output", "reason"),
    [("stop", False, ""), ("length", False, "max_output_tokens"), ("new", True, "")],
)
def test_a_good_word_has_its_reason(word, has_output, reason):
    assert incomplete_reason(word, ENDS, has_output=has_output) == reason


@pytest.mark.parametrize(("word", "has_output"), [("error", True), ("new", False)])
def test_a_failure_has_the_word_in_its_message(word, has_output):
    with pytest.raises(UpstreamError, match=f"'{word}'"):
        incomplete_reason(word, ENDS, has_output=has_output)


def test_without_a_word_the_answer_was_cut_off():
    with pytest.raises(UpstreamError, match="ended"):
        incomplete_reason("", ENDS, has_output=True)
