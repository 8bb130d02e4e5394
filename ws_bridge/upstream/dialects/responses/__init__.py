"""The dialect of providers that speak OpenAI's Responses API, over HTTP and WebSockets."""

from __future__ import annotations

from ws_bridge.upstream.dialects.base import Family
from ws_bridge.upstream.dialects.responses.request import write
from ws_bridge.upstream.dialects.responses.stream import ResponsesReader
from ws_bridge.upstream.dialects.responses.table import TABLE

__all__ = ["FAMILY"]

FAMILY = Family("responses", TABLE, write, ResponsesReader)
