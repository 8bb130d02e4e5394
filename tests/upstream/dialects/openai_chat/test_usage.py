"""The figures of the wire."""

from __future__ import annotations

from typing import Any

import pytest

from ws_bridge.upstream.dialects.openai_chat.usage import usage_of


def said(
    read: int, written: int, total: int, cached: int = 0, *, new: int = 0, thought: int = 0
) -> Any:
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": new},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": total,
    }


def openai(read: int, written: int, total: int, thought: int = 0, cached: int = 0) -> Any:
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": total,
        "completion_tokens_details": {"reasoning_tokens": thought},
        "prompt_tokens_details": {"cached_tokens": cached},
    }


CASES = {
    "thoughts in the output": (openai(10, 9, 19, 5), said(10, 9, 19, thought=5)),
    "thoughts beside the output": (openai(10, 4, 19, 5, 3), said(10, 9, 19, 3, thought=5)),
    "cached input beside the input": (openai(2, 4, 16, 0, 10), said(12, 4, 16, 10)),
    "a total of its own": (openai(2, 4, 17, 5, 10), said(2, 4, 17, 10, thought=5)),
    "no details": (
        {"prompt_tokens": 1, "completion_tokens": 2, "completion_tokens_details": None},
        said(1, 2, 3),
    ),
    "deepseek": (
        {"prompt_tokens": 5, "completion_tokens": 1, "prompt_cache_hit_tokens": 4},
        said(5, 1, 6, 4),
    ),
    "cache writes": (
        {
            "prompt_tokens": 5,
            "completion_tokens": 1,
            "prompt_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 3},
        },
        said(5, 1, 6, 1, new=3),
    ),
    "the other names": ({"input_tokens": 3, "output_tokens": 4.0}, said(3, 4, 7)),
    "figures that are none": (
        {"prompt_tokens": "3", "completion_tokens": 4, "total_tokens": True},
        said(0, 4, 4),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_figures(name: str) -> None:
    given, expected = CASES[name]
    assert usage_of(given) == expected


@pytest.mark.parametrize("given", [None, [], {}, "9", {"prompt_tokens": None}, {"cost": 1}])
def test_none_is_made_up(given: Any) -> None:
    assert usage_of(given) is None
