"""A conversation → a summary of it, written by the model that held the conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.compaction import PROMPT
from ws_bridge.protocol.events import FAILED, TERMINAL, Draft
from ws_bridge.protocol.output.received import items_of
from ws_bridge.protocol.response import no_usage, strict_usage
from ws_bridge.types import Json
from ws_bridge.upstream.base import ABANDONED, COMPLETE, Answer, Request, Upstream
from ws_bridge.upstream.errors import NO_SUMMARY, SUMMARY_FAILED, truncated
from ws_bridge.upstream.prices import PriceRow

# A summary is text: no tools to call, no format to keep.
KEPT = ("instructions", "reasoning", "max_output_tokens", "service_tier")


@dataclass(frozen=True, slots=True)
class SummaryAnswer:
    """The summary's text, its usage, and the prices of the target that wrote it."""

    text: str
    usage: Json
    prices: PriceRow | None = None


async def summarise(upstream: Upstream, request: Request) -> SummaryAnswer:
    """Ask the request's target for a summary of its chain. Raises ``UpstreamError``."""
    ask = {"type": "message", "role": "user", "content": PROMPT}
    chain = replace(request.chain, input=(*request.chain.input, ask))
    options = {name: request.options[name] for name in KEPT if name in request.options}
    answer = await upstream.open(replace(request, chain=chain, options=options))
    outcome = ABANDONED
    try:
        response = await _final(answer)
        outcome = COMPLETE
    finally:
        await answer.close(outcome)
    text = "".join(
        part.get("text") or ""
        for item in items_of(response.get("output"))
        if item.get("type") == "message" and isinstance(item.get("content"), list)
        for part in item["content"]
    )
    if not text:
        raise UpstreamError(NO_SUMMARY)
    return SummaryAnswer(text, strict_usage(response.get("usage")) or no_usage(), answer.prices)


async def _final(answer: Answer) -> Json:
    """The response that the answer ends with. Raises ``UpstreamError``."""
    drafts: Sequence[Draft] | None = answer.first
    while drafts is not None:
        for draft in drafts:
            if draft.type == FAILED:
                raise UpstreamError(SUMMARY_FAILED)
            if draft.type in TERMINAL:
                response: Json = draft.fields.get("response") or {}
                return response
        drafts = await answer.read()
    raise truncated()
