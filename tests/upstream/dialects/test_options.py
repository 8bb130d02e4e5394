"""Options that several dialects read in one way."""

import pytest

from ws_bridge.errors import BridgeError
from ws_bridge.upstream.dialects.base import WriterInput
from ws_bridge.upstream.dialects.options import check_includes, effort_of, text_format_of
from ws_bridge.upstream.dialects.table import INCLUDES, RequestTable

TABLE = RequestTable({}, {}, {}, {}, {}, INCLUDES)


def effort(reasoning, **more):
    options = {} if reasoning is None else {"reasoning": reasoning}
    return effort_of(options, WriterInput("m", "p", [], options, **more))


@pytest.mark.parametrize(
    ("reasoning", "expected"),
    [
        (None, ""),
        ({"summary": "auto"}, ""),
        ({"effort": "none"}, "none"),
        ({"effort": "low", "context": "all_turns", "mode": "standard"}, "low"),
    ],
)
def test_the_effort_is_what_the_client_asks_for(reasoning, expected):
    assert effort(reasoning) == expected


@pytest.mark.parametrize("reasoning", [{"mode": "pro"}, {"invented": 1}])
def test_more_than_an_effort_is_refused_unless_the_operator_drops_it(reasoning):
    with pytest.raises(BridgeError) as refused:
        effort(reasoning)
    assert refused.value.param == f"reasoning.{next(iter(reasoning))}"
    assert effort(reasoning, drop_params=True) == ""


def test_a_model_that_does_not_reason_takes_no_effort():
    with pytest.raises(BridgeError, match="does not support 'reasoning'"):
        effort({"effort": "low"}, supports_reasoning=False)
    assert effort({"effort": "none"}, supports_reasoning=False) == "none"
    assert effort({"effort": "low"}, supports_reasoning=False, drop_params=True) == ""


@pytest.mark.parametrize("text", [None, {}, {"format": None}, {"format": {"type": "text"}}])
def test_plain_text_has_no_format(text):
    assert text_format_of({"text": text}, drop=False) == {}


def test_a_format_is_given_back_and_a_verbosity_refused():
    wanted = {"type": "json_object"}

    assert text_format_of({"text": {"format": wanted, "verbosity": "medium"}}, drop=False) == wanted
    assert text_format_of({"text": {"verbosity": "low"}}, drop=True) == {}
    for text in ({"verbosity": "low"}, {"format": "json"}):
        with pytest.raises(BridgeError) as refused:
            text_format_of({"text": text}, drop=False)
        assert refused.value.status == 400


def test_an_include_that_cannot_be_given_is_refused():
    check_includes({"include": ["reasoning.encrypted_content"]}, TABLE)
    with pytest.raises(BridgeError) as refused:
        check_includes({"include": ["invented"]}, TABLE)
    assert refused.value.param == "include"
