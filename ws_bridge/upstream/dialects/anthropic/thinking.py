"""`reasoning` → how a Claude thinks (pure).

Rule 1: older models think by a budget of tokens, which is less than `max_tokens`; newer ones by an
effort. A thought is always shown as its summary.
Rule 2: a model that thinks cannot be forced to call a tool.
Rule 3: an effort that a model has no word for is the nearest lower one.
"""

from __future__ import annotations

from dataclasses import dataclass

from ws_bridge.types import Json
from ws_bridge.upstream.dialects.anthropic.features import ModelFeatures
from ws_bridge.upstream.dialects.table import refused

# Tokens of thought, by effort; the least is Anthropic's.
TOKENS = {
    "minimal": 1024,
    "low": 1024,
    "medium": 2048,
    "high": 4096,
    "xhigh": 8192,
    "max": 16384,
}
LEAST = 1024
USUAL_MAX_TOKENS = 4096  # of an answer, without its thoughts, where nothing else is known
LOWER = {"minimal": "low", "xhigh": "high", "max": "high"}
SHOWN = {"type": "adaptive", "display": "summarized"}


@dataclass(frozen=True, slots=True)
class ThinkingMode:
    """How the model is told to think. ``fields`` are the body's, but for `output_config`."""

    fields: Json
    effort: str = ""  # for `output_config`
    is_on: bool = False


def thinking_mode(
    effort: str,
    features: ModelFeatures,
    max_tokens: int | None,
    most: int | None,
    *,
    is_shown: bool = False,
) -> ThinkingMode:
    """The mode of an effort, "" if the client names none; ``is_shown``: it wants a summary.

    ``max_tokens``: as the client limits the answer; ``most``: the model's own limit. Raises a 400
    for what the model cannot do.
    """
    limit = _limit(max_tokens, most)
    if not effort:
        is_on = is_shown and features.thinking == "adaptive"
        shown: Json = {"thinking": SHOWN} if is_on else {}
        return ThinkingMode({"max_tokens": limit, **shown}, is_on=is_on)
    if effort == "none":
        if features.always_thinks:
            raise _refused_effort(effort, "The model always thinks.")
        off: Json = {"thinking": {"type": "disabled"}} if features.thinks_by_default else {}
        return ThinkingMode({"max_tokens": limit, **off})
    if effort not in TOKENS:
        raise _refused_effort(effort)
    if features.thinking == "adaptive":
        word = effort if effort in features.efforts else LOWER[effort]
        return ThinkingMode({"max_tokens": limit, "thinking": SHOWN}, word, is_on=True)
    if not features.thinking:
        raise refused("parameter", "reasoning", "reasoning", "The model does not think.")
    return _by_budget(TOKENS[effort], max_tokens, most)


def no_thinking(features: ModelFeatures, max_tokens: int | None, most: int | None) -> ThinkingMode:
    """The mode of a request in which the model may not think, as far as that can be said."""
    effort = "" if features.always_thinks else "none"
    return thinking_mode(effort, features, max_tokens, most)


def _by_budget(budget: int, max_tokens: int | None, most: int | None) -> ThinkingMode:
    limit = _limit(max_tokens, most, budget + USUAL_MAX_TOKENS)
    if limit <= LEAST:
        hint = f"To think, the model needs more than {LEAST} tokens."
        raise refused("value", str(limit), "max_output_tokens", hint)
    budget = max(LEAST, min(budget, limit // 2))
    thinking = {"type": "enabled", "budget_tokens": budget}
    return ThinkingMode({"max_tokens": limit, "thinking": thinking}, is_on=True)


def _limit(max_tokens: int | None, most: int | None, usual: int = USUAL_MAX_TOKENS) -> int:
    """`max_tokens`, which the dialect must have; no model takes more than its own limit."""
    return min(max_tokens or most or usual, most or max_tokens or usual)


def _refused_effort(effort: str, hint: str = "") -> Exception:
    return refused("effort", effort, "reasoning.effort", hint)
