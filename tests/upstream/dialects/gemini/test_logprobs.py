"""Log probabilities have the form of Responses, and nothing breaks them."""

import pytest

from ws_bridge.upstream.dialects.gemini.logprobs import logprobs_of

TOKEN = {"token": "é", "tokenId": 1, "logProbability": -1}
TOLD = {"token": "é", "bytes": [195, 169], "logprob": -1.0}


def test_each_token_has_its_others():
    result = {"chosenCandidates": [TOKEN, TOKEN], "topCandidates": [{"candidates": [TOKEN] * 2}]}
    assert logprobs_of(result) == [
        {**TOLD, "top_logprobs": [TOLD, TOLD]},
        {**TOLD, "top_logprobs": []},
    ]


def test_more_others_than_tokens_are_left_out():
    tops = [{"candidates": [TOKEN]}] * 3
    assert len(logprobs_of({"chosenCandidates": [TOKEN], "topCandidates": tops})) == 1


@pytest.mark.parametrize(
    "result", [None, [], {}, {"chosenCandidates": {}}, {"chosenCandidates": [1]}]
)
def test_another_form_has_none(result):
    assert logprobs_of(result) == []


def test_a_token_without_its_fields_is_one_all_the_same():
    none = {"token": "", "bytes": [], "logprob": 0.0}
    assert logprobs_of({"chosenCandidates": [{}]}) == [{**none, "top_logprobs": []}]
