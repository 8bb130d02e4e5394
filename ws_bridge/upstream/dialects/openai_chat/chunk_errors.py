"""Errors in the place of a piece of an answer, in every shape that chat providers write (pure)."""

from __future__ import annotations

from ws_bridge.types import Json
from ws_bridge.upstream.provider_errors import error_of, has_error

WORDS = ("message", "msg", "detail", "error_message")  # of an error that is not wrapped


def check_for_error(chunk: Json, event_name: str = "") -> None:
    """Raises ``UpstreamError`` with the provider's words, if the chunk is an error."""
    named = "error" in (event_name, chunk.get("type"), chunk.get("object"))
    if named or has_error(chunk):
        raise error_of(None, chunk)
    if "choices" not in chunk and any(chunk.get(word) for word in WORDS):
        raise error_of(None, chunk)
