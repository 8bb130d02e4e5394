"""Chat chunks → Responses drafts (pure; no litellm type in its signature)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolDelta:
    """A fragment of one tool call of a chat chunk."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chat chunk, of any dialect, reduced to what a Responses event can say.

    ``thinking_blocks`` are Anthropic's signed or redacted blocks as litellm hands them out;
    ``annotations`` are Responses annotations (`url_citation`, `file_citation`, ...);
    ``images`` are base64 strings (no data: prefix); ``logprobs`` are Responses logprobs;
    ``usage`` is a Responses usage object.
    """

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    thinking_blocks: tuple[Json, ...] = ()
    tool_calls: tuple[ToolDelta, ...] = ()
    annotations: tuple[Json, ...] = ()
    images: tuple[str, ...] = ()
    logprobs: tuple[Json, ...] = ()
    finish_reason: str | None = None
    usage: Json | None = None
    model: str | None = None
