"""What the makers' models on Bedrock take, by their names (data).

A name is a model's or an inference profile's: `us.anthropic.claude-sonnet-4-5-20250929-v1:0`. An
ARN of an application's profile names no model: it gets what every model takes.
"""

from __future__ import annotations

import re
from enum import Enum


class ThinkingKind(Enum):
    """How a model is told to think."""

    BUDGET = "budget"  # Claude until 4.5: a budget of tokens
    ADAPTIVE = "adaptive"  # Claude since 4.6: an effort
    NOVA = "nova"  # Nova 2: three efforts
    EFFORT = "effort"  # as at OpenAI
    UNTOLD = "untold"  # it cannot be told


# The first match counts.
_THINKING = (
    (r"claude-(?:v\d|instant)|claude-3-(?!7)", ThinkingKind.UNTOLD),
    (r"claude-3-7|claude-\w+-4-(?:2\d{7}|[0-5]\b)", ThinkingKind.BUDGET),
    (r"claude", ThinkingKind.ADAPTIVE),
    (r"amazon\.nova-2", ThinkingKind.NOVA),
    (r"openai\.|gpt-oss|deepseek\.v3", ThinkingKind.EFFORT),
)
_CLAUDE = re.compile("claude")
_NOVA = re.compile(r"amazon\.nova|\bnova-")
_CACHING = re.compile(
    r"claude-(?!v\d|instant|3-(?:opus|sonnet|haiku)|3-5-sonnet-20240620)|amazon\.nova"
)
_STRICT = re.compile(r"claude-(?:haiku|sonnet|opus)-4-[56]\b")


def thinking_of(model: str) -> ThinkingKind:
    """How the model is told to think."""
    return next((how for name, how in _THINKING if re.search(name, model)), ThinkingKind.UNTOLD)


def is_claude(model: str) -> bool:
    """Whether fields of Anthropic's own API may be added."""
    return bool(_CLAUDE.search(model))


def is_nova(model: str) -> bool:
    """Whether the model has Amazon's system tools."""
    return bool(_NOVA.search(model))


def takes_cache_points(model: str) -> bool:
    """Whether the model caches prompts at given points; others refuse them."""
    return bool(_CACHING.search(model))


def takes_strict_tools(model: str) -> bool:
    """Whether arguments can be held to their schema."""
    return bool(_STRICT.search(model))
