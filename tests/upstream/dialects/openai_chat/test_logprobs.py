"""Log probabilities."""

from __future__ import annotations

from typing import Any

import pytest

from ws_bridge.upstream.dialects.openai_chat.logprobs import logprobs_of


def test_bytes_are_always_there() -> None:
    tops = [{"token": "b", "logprob": -1.5, "bytes": [98]}, None, {"logprob": 1}]
    given = {"content": [{"token": "é", "logprob": 0, "bytes": None, "top_logprobs": tops}]}
    top = {"token": "b", "bytes": [98], "logprob": -1.5}
    assert logprobs_of(given) == [
        {"token": "é", "bytes": [195, 169], "logprob": 0.0, "top_logprobs": [top]}
    ]


@pytest.mark.parametrize("given", [None, {"content": None}, {"content": [None]}, [], "x"])
def test_nonsense_is_none(given: Any) -> None:
    assert logprobs_of(given) == []
