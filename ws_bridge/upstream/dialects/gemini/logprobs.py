"""Gemini's log probabilities in the form of Responses (pure)."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

from ws_bridge.types import Json


def logprobs_of(result: Any) -> list[Json]:
    """Those of one event's text; none of what has another form."""
    if not isinstance(result, dict):
        return []
    chosen = _objects(result.get("chosenCandidates"))
    tops = _objects(result.get("topCandidates"))[: len(chosen)]
    return [
        {**_token(one), "top_logprobs": [_token(other) for other in _others(top)]}
        for one, top in zip_longest(chosen, tops)
    ]


def _others(top: Json | None) -> list[Json]:
    return _objects(top.get("candidates")) if top else []


def _objects(value: Any) -> list[Json]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _token(given: Json) -> Json:
    text, value = given.get("token"), given.get("logProbability")
    token = text if isinstance(text, str) else ""
    number = float(value) if isinstance(value, int | float) else 0.0
    return {"token": token, "logprob": number, "bytes": list(token.encode(errors="replace"))}
