"""The dialect of text completions, older than Chat Completions: one prompt, and what follows it."""

from __future__ import annotations

from ws_bridge.upstream.dialects.base import Family
from ws_bridge.upstream.dialects.completions.request import write
from ws_bridge.upstream.dialects.completions.table import TABLE
from ws_bridge.upstream.dialects.openai_chat.stream import ChatReader

__all__ = ["FAMILY"]

# Its chunks are those of chat, with `text` in the place of a delta: the chat reader knows both.
FAMILY = Family("completions", TABLE, write, ChatReader)
