"""What a Claude can do, by its name."""

import pytest

from ws_bridge.upstream.dialects.anthropic.features import ModelFeatures, features_of


@pytest.mark.parametrize(
    ("model", "thinking"),
    [
        ("claude-2.1", ""),
        ("claude-instant-1.2", ""),
        ("claude-3-haiku-20240307", ""),
        ("claude-3-5-sonnet-20241022", ""),
        ("claude-3-7-sonnet-latest", "budget"),
        ("claude-sonnet-4-20250514", "budget"),
        ("claude-opus-4-1-20250805", "budget"),
        ("anthropic.claude-haiku-4-5-20251001-v1:0", "budget"),
        ("claude-opus-4-6", "adaptive"),
        ("claude-sonnet-5", "adaptive"),
        ("claude-mythos-preview", "adaptive"),
        ("claude-newfamily-7", "adaptive"),
        ("claude", "adaptive"),
    ],
)
def test_how_it_thinks(model, thinking):
    assert features_of(model).thinking == thinking


@pytest.mark.parametrize(
    ("model", "efforts"),
    [
        ("claude-sonnet-4-5", "high low medium"),
        ("claude-opus-4-6", "high low max medium"),
        ("claude-opus-4-7", "high low max medium xhigh"),
    ],
)
def test_its_efforts(model, efforts):
    assert " ".join(sorted(features_of(model).efforts)) == efforts


@pytest.mark.parametrize(
    ("model", "by_default", "always", "forced", "sampling"),
    [
        ("claude-opus-4-8", False, False, True, False),
        ("claude-sonnet-4-6", False, False, True, True),
        ("claude-sonnet-5", True, False, True, False),
        ("claude-haiku-5-5", True, False, True, False),
        ("claude-opus-5-5", True, True, False, False),
        ("claude-fable-5", True, True, True, False),
        ("claude-fable-5-1", True, True, False, False),
        ("claude-mythos-preview", True, True, True, False),
    ],
)
def test_what_its_generation_does_not_take(model, by_default, always, forced, sampling):
    features = features_of(model)
    assert features.thinks_by_default is by_default
    assert features.always_thinks is always
    assert features.can_be_forced is forced
    assert features.takes_sampling is sampling


def test_only_later_ones_write_json_by_a_schema():
    assert features_of("claude-sonnet-4-5").has_output_format
    assert not features_of("claude-sonnet-4-0").has_output_format


def test_a_model_of_another_maker_is_as_the_first_ones():
    assert features_of("kimi-k2-thinking") == ModelFeatures()
