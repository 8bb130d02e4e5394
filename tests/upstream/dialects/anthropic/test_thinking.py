"""How a Claude is told to think."""

import pytest

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.dialects.anthropic.features import features_of
from ws_bridge.upstream.dialects.anthropic.thinking import (
    SHOWN,
    ThinkingMode,
    no_thinking,
    thinking_mode,
)

BUDGET, EFFORT, DEFAULT, ALWAYS, NONE = map(
    features_of,
    ("claude-sonnet-4-5", "claude-opus-4-6", "claude-sonnet-5", "claude-fable-5", "claude-3-haiku"),
)


def mode(effort, features, max_tokens=None, most=None, **more):
    return thinking_mode(effort, features, max_tokens, most, **more)


@pytest.mark.parametrize(
    ("effort", "max_tokens", "most", "budget", "limit"),
    [
        ("low", None, None, 1024, 5120),
        ("minimal", None, 64000, 1024, 64000),
        ("high", None, None, 4096, 8192),
        ("max", None, 64000, 16384, 64000),
        ("high", 5000, 64000, 2500, 5000),
        ("high", 1025, None, 1024, 1025),
        ("medium", 90000, 8000, 2048, 8000),
    ],
)
def test_a_budget_leaves_room_for_the_answer(effort, max_tokens, most, budget, limit):
    thinking = {"type": "enabled", "budget_tokens": budget}
    expected = ThinkingMode({"max_tokens": limit, "thinking": thinking}, is_on=True)
    assert mode(effort, BUDGET, max_tokens, most) == expected


def test_no_room_to_think_is_refused():
    with pytest.raises(UpstreamError) as refusal:
        mode("low", BUDGET, 1024)
    assert refusal.value.param == "max_output_tokens"


@pytest.mark.parametrize(
    ("effort", "word"),
    [("minimal", "low"), ("medium", "medium"), ("xhigh", "high"), ("max", "max")],
)
def test_an_effort_is_the_nearest_word_of_the_model(effort, word):
    made = mode(effort, EFFORT, 100, is_shown=True)
    assert made == ThinkingMode({"max_tokens": 100, "thinking": SHOWN}, word, is_on=True)


def test_without_an_effort_the_model_does_what_it_does():
    for features in (BUDGET, EFFORT, DEFAULT, ALWAYS, NONE):
        assert mode("", features) == ThinkingMode({"max_tokens": 4096})
        assert mode("", features, None, 100) == ThinkingMode({"max_tokens": 100})


def test_a_summary_is_shown_where_the_model_thinks_by_itself():
    shown = ThinkingMode({"max_tokens": 9, "thinking": SHOWN}, is_on=True)
    assert mode("", DEFAULT, 9, is_shown=True) == shown
    assert mode("", ALWAYS, 9, is_shown=True) == shown
    assert mode("", BUDGET, 9, is_shown=True) == ThinkingMode({"max_tokens": 9})


def test_no_effort_is_no_thinking():
    off = {"max_tokens": 9, "thinking": {"type": "disabled"}}
    assert mode("none", DEFAULT, 9) == no_thinking(DEFAULT, 9, None)
    assert no_thinking(DEFAULT, 9, None) == ThinkingMode(off)
    assert no_thinking(BUDGET, 9, None) == ThinkingMode({"max_tokens": 9})
    assert no_thinking(ALWAYS, 9, None) == ThinkingMode({"max_tokens": 9})  # it cannot be said


@pytest.mark.parametrize(
    ("effort", "features", "param"),
    [
        ("low", NONE, "reasoning"),
        ("none", ALWAYS, "reasoning.effort"),
        ("huge", EFFORT, "reasoning.effort"),
    ],
)
def test_what_the_model_cannot_do_is_refused(effort, features, param):
    with pytest.raises(UpstreamError) as refusal:
        mode(effort, features)
    assert (refusal.value.status, refusal.value.param) == (400, param)
