"""Each kind of model is told of an effort in its own fields."""

import pytest

from ws_bridge.errors import BridgeError
from ws_bridge.upstream.dialects.base import WriterInput
from ws_bridge.upstream.dialects.bedrock.messages import ConverseHistory
from ws_bridge.upstream.dialects.bedrock.thinking import ThinkingRequest, thinking_of_request

SONNET_4, OPUS_4_6 = "anthropic.claude-sonnet-4-20250514-v1:0", "anthropic.claude-opus-4-6-v1"
NOVA_2, GPT_OSS, LLAMA = "amazon.nova-2-lite-v1:0", "openai.gpt-oss-20b-1:0", "meta.llama4"
PATH = ("/usage/output_tokens_details",)


def thinking(model, effort, *, is_forced=False, goes_on_unsigned=False, more=None, **options):
    options = {"reasoning": {"effort": effort}, **options}
    given = WriterInput(model, "bedrock", [], options, **(more or {}))
    history = ConverseHistory([], [], (), goes_on_unsigned)
    return thinking_of_request(options, given, history, is_forced=is_forced)


def budget(tokens, limit=0):
    return ThinkingRequest({"thinking": {"type": "enabled", "budget_tokens": tokens}}, limit, PATH)


@pytest.mark.parametrize(
    ("effort", "options", "more", "expected"),
    [
        ("low", {}, {}, budget(2048, 10_240)),
        ("high", {}, {"max_output_tokens": 64_000}, budget(16_384, 64_000)),
        ("high", {}, {"max_output_tokens": 8_000}, budget(4_000, 8_000)),
        ("medium", {"max_output_tokens": 6_000}, {}, budget(3_000)),
        ("medium", {"max_output_tokens": 1_500}, {}, budget(1_024)),
        ("medium", {"max_output_tokens": 1_024}, {}, ThinkingRequest()),
        ("none", {}, {}, ThinkingRequest()),
        (None, {}, {}, ThinkingRequest()),
    ],
)
def test_a_budget_leaves_room_for_the_answer(effort, options, more, expected):
    assert thinking(SONNET_4, effort, more=more, **options) == expected


def test_a_budget_is_not_given_where_the_api_refuses_it():
    assert thinking(SONNET_4, "low", is_forced=True) == ThinkingRequest()
    assert thinking(SONNET_4, "low", goes_on_unsigned=True) == ThinkingRequest()


@pytest.mark.parametrize(
    ("model", "effort", "fields"),
    [
        (
            OPUS_4_6,
            "xhigh",
            {"output_config": {"effort": "max"}, "thinking": {"type": "adaptive"}},
        ),
        (NOVA_2, "none", {"reasoningConfig": {"type": "disabled"}}),
        (
            NOVA_2,
            "xhigh",
            {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}},
        ),
        (GPT_OSS, "minimal", {"reasoning_effort": "low"}),
        (GPT_OSS, "none", {}),
        (LLAMA, "none", {}),
    ],
)
def test_an_effort_has_the_words_of_the_model(model, effort, fields):
    assert thinking(model, effort).fields == fields


def test_a_forced_tool_leaves_claude_its_effort_only():
    assert thinking(OPUS_4_6, "low", is_forced=True).fields == {"output_config": {"effort": "low"}}


@pytest.mark.parametrize(
    ("model", "effort"),
    [(LLAMA, "low"), (OPUS_4_6, "invented"), (SONNET_4, "invented"), (NOVA_2, "invented")],
)
def test_an_effort_that_the_model_does_not_take_is_refused(model, effort):
    with pytest.raises(BridgeError) as refused:
        thinking(model, effort)
    assert (refused.value.status, refused.value.param) == (400, "reasoning.effort")


def test_it_is_left_out_where_the_operator_drops_it():
    assert thinking(LLAMA, "low", more={"drop_params": True}) == ThinkingRequest()
