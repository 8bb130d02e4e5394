"""Plain deltas, read from a provider's raw stream without litellm: who may, and by which reader."""

from __future__ import annotations

from collections.abc import Callable

from ws_bridge.upstream.dialects.anthropic import AnthropicDeltas
from ws_bridge.upstream.dialects.chat import ChatDeltas
from ws_bridge.upstream.dialects.frames import Plain

__all__ = ["READERS", "Plain", "reader_of"]

# Providers whose streams come out equal, as tests/upstream/test_dialects.py shows.
READERS: dict[str, Callable[[], Plain]] = {
    "anthropic": AnthropicDeltas,
    "cerebras": ChatDeltas,
    "dashscope": ChatDeltas,
    "deepinfra": ChatDeltas,
    "deepseek": ChatDeltas,
    "groq": ChatDeltas,
    "lm_studio": ChatDeltas,
    "mistral": ChatDeltas,
    "moonshot": ChatDeltas,
    "nebius": ChatDeltas,
    "nvidia_nim": ChatDeltas,
    "openai": ChatDeltas,
    "sambanova": ChatDeltas,
    "together_ai": ChatDeltas,
    "zai": ChatDeltas,
}


def reader_of(provider: str) -> Plain | None:
    """A reader for a new stream of the provider, as litellm names it; None: all is litellm's."""
    reader = READERS.get(provider)
    return reader() if reader is not None else None
