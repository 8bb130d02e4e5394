"""The variants name only what exists."""

from __future__ import annotations

import pytest

from ws_bridge.upstream.dialects.openai_chat.messages import FILES
from ws_bridge.upstream.dialects.openai_chat.offered_tools import SEARCHES
from ws_bridge.upstream.dialects.openai_chat.table import TABLE
from ws_bridge.upstream.dialects.openai_chat.variants import (
    EFFORTS,
    PLAIN,
    SAME,
    VARIANTS,
    variant_of,
)


@pytest.mark.parametrize("provider", VARIANTS)
def test_words_and_cells_are_known(provider: str) -> None:
    variant = VARIANTS[provider]
    assert variant.effort in EFFORTS
    assert variant.search in {"", *SEARCHES}
    assert variant.files in {"", *FILES}
    assert all(hasattr(TABLE, column) for column in variant.cells)


@pytest.mark.parametrize("provider", VARIANTS)
def test_who_takes_files_or_searches_has_the_words_for_it(provider: str) -> None:
    variant = VARIANTS[provider]
    assert ("input_file.data" in variant.cells.get("parts", {})) == bool(variant.files)
    assert ("web_search" in variant.cells.get("tools", {})) == bool(variant.search)


def test_a_provider_without_a_line_speaks_plainly() -> None:
    assert variant_of("invented") is PLAIN
    assert all(variant_of(other) is VARIANTS[name] for other, name in SAME.items())


@pytest.mark.parametrize(
    ("how", "high", "none"),
    [
        ("reasoning_effort", {"reasoning_effort": "high"}, {"reasoning_effort": "none"}),
        ("reasoning", {"reasoning": {"effort": "high"}}, {"reasoning": {"effort": "none"}}),
        ("enable_thinking", {"enable_thinking": True}, {"enable_thinking": False}),
        ("high_or_none", {"reasoning_effort": "high"}, {"reasoning_effort": "none"}),
        ("thinking", {"thinking": {"type": "enabled"}}, {"thinking": {"type": "disabled"}}),
        (
            "thinking_and_effort",
            {"thinking": {"type": "enabled"}, "reasoning_effort": "high"},
            {"thinking": {"type": "disabled"}},
        ),
        (
            "effort_or_thinking",
            {"reasoning_effort": "high"},
            {"thinking": {"type": "disabled"}},
        ),
    ],
)
def test_efforts(how: str, high: object, none: object) -> None:
    assert EFFORTS[how]("high") == high
    assert EFFORTS[how]("none") == none
    assert len(EFFORTS) == 7
