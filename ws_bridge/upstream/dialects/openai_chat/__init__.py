"""The dialect of Chat Completions, of OpenAI and of all who speak like it."""

from __future__ import annotations

from ws_bridge.upstream.dialects.base import Family
from ws_bridge.upstream.dialects.openai_chat.request import write
from ws_bridge.upstream.dialects.openai_chat.stream import ChatReader
from ws_bridge.upstream.dialects.openai_chat.table import TABLE

__all__ = ["FAMILY"]

FAMILY = Family(name="openai_chat", table=TABLE, write=write, reader=ChatReader)
