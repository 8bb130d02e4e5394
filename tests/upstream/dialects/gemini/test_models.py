"""A model's name tells its generation."""

import pytest

from ws_bridge.upstream.dialects.gemini.models import traits_of


@pytest.mark.parametrize(
    "name",
    [
        *("gemini-1.5-pro-002", "gemini-2.0-flash", "models/gemini-2.5-pro", "gemini-exp-1206"),
        *("gemini-2.5-flash-lite-preview-09-2025", "gemini-pro", "gemma-3-27b-it", "gemini-2.5-m"),
    ],
)
def test_old_models_are_old(name):
    assert not traits_of(name).is_new


@pytest.mark.parametrize(
    "name",
    [
        *("gemini-3-pro-preview", "gemini-3.5-flash", "gemini-flash-latest", "gemini-10-ultra"),
        *("gemini-flash-lite-latest", "models/gemini-3-m", "Gemini-4-Argon", "tuned-model"),
    ],
)
def test_all_others_are_new(name):
    assert traits_of(name).is_new


def test_what_else_models_differ_in():
    assert traits_of("gemini-2.5-pro").always_thinks
    assert not traits_of("gemini-2.5-flash").always_thinks
    assert traits_of("gemini-3-flash-preview").thinks_minimally
    assert not traits_of("gemini-3.7-flash").thinks_minimally
    assert not traits_of("gemini-3-pro").thinks_minimally
    assert traits_of("gemini-3-pro-image-preview").makes_images
    assert not traits_of("gemini-3-pro-imagery").makes_images
