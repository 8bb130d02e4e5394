"""A request of the seam → what is sent to its provider, by the writer of a dialect.

Rule 1: what a writer refuses is the request's fault: a 400, and the provider is not blamed.
Rule 2: what a writer fails at is a fault of the bridge: a 500, with one log line and no content.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from traceback import walk_tb

from ws_bridge.errors import BridgeError
from ws_bridge.protocol.tools import ToolTable
from ws_bridge.upstream.base import Request
from ws_bridge.upstream.dialects.base import ProviderRequest, WriterInput
from ws_bridge.upstream.dialects.seals import Keys, MakerSeals
from ws_bridge.upstream.errors import NotSent, RequestRefused

log = logging.getLogger(__name__)

Write = Callable[[WriterInput], ProviderRequest]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a writer has to know of a model; None: it is not known."""

    name: str  # at its provider
    provider: str  # in litellm's word
    supports_reasoning: bool | None = None
    max_output_tokens: int | None = None
    streams: bool = True  # false: its provider answers in one piece


def write_request(
    write: Write, request: Request, facts: ModelFacts, keys: Keys = tuple, now: float = 0.0
) -> ProviderRequest:
    """What is sent; ``now`` is wall time. Raises ``UpstreamError`` and nothing else."""
    target = request.target
    try:
        items = request.input()
        return write(
            WriterInput(
                facts.name,
                facts.provider,
                items,
                request.options,
                ToolTable.of(request.options.get("tools") or (), items),
                MakerSeals(target.maker, keys),
                supports_reasoning=facts.supports_reasoning,
                max_output_tokens=facts.max_output_tokens,
                streams=facts.streams,
                prompt_cache=target.prompt_cache,
                drop_params=target.drop_params,
                now=now,
            )
        )
    except BridgeError as refusal:
        raise RequestRefused(refusal) from None
    except Exception as failure:
        log.error(  # noqa: TRY400 - the traceback's last line may hold content
            "request_not_written model=%s kind=%s place=%s",
            target.model,
            type(failure).__name__,
            place_of(failure),
        )
        raise NotSent from failure


def place_of(failure: Exception) -> str:
    """Where it was raised: "request.py:17"."""
    *_, (frame, line) = walk_tb(failure.__traceback__)
    return f"{Path(frame.f_code.co_filename).name}:{line}"
