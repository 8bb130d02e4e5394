"""Google's Generative Language API: `models/…:streamGenerateContent`."""

from __future__ import annotations

from ws_bridge.upstream.dialects.base import Family
from ws_bridge.upstream.dialects.gemini.request import write
from ws_bridge.upstream.dialects.gemini.stream import GeminiReader
from ws_bridge.upstream.dialects.gemini.table import TABLE

__all__ = ["FAMILY"]

FAMILY = Family("gemini", TABLE, write, GeminiReader)
