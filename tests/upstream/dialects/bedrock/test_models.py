"""What models on Bedrock take, by their names."""

import pytest

from ws_bridge.upstream.dialects.bedrock.models import (
    ThinkingKind,
    is_claude,
    is_nova,
    takes_cache_points,
    takes_strict_tools,
    thinking_of,
)

BUDGET, ADAPTIVE, UNTOLD = ThinkingKind.BUDGET, ThinkingKind.ADAPTIVE, ThinkingKind.UNTOLD


@pytest.mark.parametrize(
    ("model", "thinking", "caches", "is_strict"),
    [
        ("anthropic.claude-v2:1", UNTOLD, False, False),
        ("anthropic.claude-instant-v1", UNTOLD, False, False),
        ("anthropic.claude-3-opus-20240229-v1:0", UNTOLD, False, False),
        ("anthropic.claude-3-5-sonnet-20240620-v1:0", UNTOLD, False, False),
        ("us.anthropic.claude-3-5-haiku-20241022-v1:0", UNTOLD, True, False),
        ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", BUDGET, True, False),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", BUDGET, True, False),
        ("anthropic.claude-opus-4-1-20250805-v1:0", BUDGET, True, False),
        ("global.anthropic.claude-haiku-4-5-20251001-v1:0", BUDGET, True, True),
        ("anthropic.claude-opus-4-6-v1", ADAPTIVE, True, True),
        ("anthropic.claude-opus-4-7", ADAPTIVE, True, False),
        ("anthropic.claude-sonnet-5", ADAPTIVE, True, False),
        ("amazon.nova-micro-v1:0", UNTOLD, True, False),
        ("us.amazon.nova-2-lite-v1:0", ThinkingKind.NOVA, True, False),
        ("openai.gpt-oss-120b-1:0", ThinkingKind.EFFORT, False, False),
        ("deepseek.v3-v1:0", ThinkingKind.EFFORT, False, False),
        ("us.deepseek.r1-v1:0", UNTOLD, False, False),
        ("meta.llama4-scout-17b-instruct-v1:0", UNTOLD, False, False),
        (
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1",
            UNTOLD,
            False,
            False,
        ),
    ],
)
def test_a_models_name_has_what_it_takes(model, thinking, caches, is_strict):
    assert thinking_of(model) is thinking
    assert takes_cache_points(model) is caches
    assert takes_strict_tools(model) is is_strict


def test_makers_are_known_by_the_name():
    assert is_claude("us.anthropic.claude-sonnet-4-20250514-v1:0")
    assert is_nova("us.amazon.nova-pro-v1:0")
    assert not is_nova("supernova")
    assert not is_claude("us.amazon.nova-pro-v1:0")
