"""litellm's chat chunks → Responses drafts (pure; no litellm type in its signature).

For families without a reader of their own; nothing here fails on any chunk.
"""

from __future__ import annotations

from dataclasses import dataclass

from ws_bridge.protocol.events import Draft
from ws_bridge.protocol.output.builder import OutputBuilder, mint_id
from ws_bridge.protocol.output.messages import has_content
from ws_bridge.protocol.output.tool_calls import Mint, ToolDelta
from ws_bridge.protocol.tools import NO_TOOLS, ToolTable
from ws_bridge.types import Json

__all__ = ["ChatTranslator", "Chunk", "ToolDelta"]

INCOMPLETE_REASONS = {
    "length": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "safety": "content_filter",
}


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chat chunk, of any dialect, reduced to what a Responses event can carry.

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


class ChatTranslator:
    """The chunks of one answer, in order → its drafts."""

    def __init__(self, tools: ToolTable = NO_TOOLS, mint: Mint = mint_id) -> None:
        self._output = OutputBuilder(tools, mint)
        self._finish_reason: str | None = None

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped; None: the stream was cut before that."""
        return self._finish_reason

    def take(self, chunk: Chunk) -> list[Draft]:
        """The drafts of one chunk."""
        output = self._output
        output.model = chunk.model or output.model
        output.usage = chunk.usage or output.usage
        self._finish_reason = chunk.finish_reason or self._finish_reason
        drafts: list[Draft] = []
        if blocks := [block for block in chunk.thinking_blocks if has_content(block)]:
            drafts += output.sign(blocks)
        if chunk.reasoning:
            drafts += output.reasoning(chunk.reasoning)
        if chunk.text:
            drafts += output.text(chunk.text, chunk.logprobs)
        if chunk.refusal:
            drafts += output.refusal(chunk.refusal)
        if chunk.annotations:
            drafts += output.annotate(chunk.annotations)
        for delta in chunk.tool_calls:
            drafts += output.call(delta)
        for image in chunk.images:
            drafts += output.image(image)
        return drafts

    def finish(self) -> list[Draft]:
        """Close what is open; the last draft is terminal."""
        return self._output.finish(INCOMPLETE_REASONS.get((self._finish_reason or "").lower(), ""))
