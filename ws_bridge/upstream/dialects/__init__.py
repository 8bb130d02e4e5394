"""Plain deltas, read from a provider's raw stream without litellm: who may, and by which reader."""

from __future__ import annotations

from collections.abc import Callable

from ws_bridge.upstream.dialects.anthropic import AnthropicDeltas
from ws_bridge.upstream.dialects.chat import ChatDeltas
from ws_bridge.upstream.dialects.frames import Plain
from ws_bridge.upstream.profiles import profile_of

__all__ = ["READERS", "Plain", "reader_of"]

# By the name in a provider's profile. The drafts equal litellm's, as tests/upstream/dialects shows.
READERS: dict[str, Callable[[], Plain]] = {"anthropic": AnthropicDeltas, "chat": ChatDeltas}


def reader_of(provider: str) -> Plain | None:
    """A reader for a new stream of the provider, as litellm names it; None: litellm reads all."""
    reader = READERS.get(profile_of(provider).reader)
    return reader() if reader is not None else None
