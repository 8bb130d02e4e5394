"""Plain deltas, read from a provider's raw stream without litellm: the readers, by name."""

from __future__ import annotations

from collections.abc import Callable

from ws_bridge.upstream.dialects.chat import ChatDeltas
from ws_bridge.upstream.dialects.frames import Plain

__all__ = ["READERS", "Plain", "reader_of"]

# By the name in a provider's profile. The drafts equal litellm's, as tests/upstream/dialects shows.
READERS: dict[str, Callable[[], Plain]] = {"chat": ChatDeltas}


def reader_of(name: str) -> Plain | None:
    """A reader for a new stream, by its name in the provider's profile; None: litellm reads all."""
    reader = READERS.get(name)
    return reader() if reader is not None else None
