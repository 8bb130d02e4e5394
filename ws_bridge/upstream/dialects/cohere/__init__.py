"""Cohere's chat API, version 2."""

from __future__ import annotations

from ws_bridge.upstream.dialects.base import Family
from ws_bridge.upstream.dialects.cohere.request import write
from ws_bridge.upstream.dialects.cohere.stream import CohereReader
from ws_bridge.upstream.dialects.cohere.table import TABLE

__all__ = ["FAMILY"]

FAMILY = Family("cohere", TABLE, write, CohereReader)
