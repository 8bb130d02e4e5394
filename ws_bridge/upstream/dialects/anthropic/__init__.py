"""The Messages API of Anthropic, both ways; it knows no address and no credential."""

from __future__ import annotations

from ws_bridge.upstream.dialects.anthropic.request import write
from ws_bridge.upstream.dialects.anthropic.stream import MessagesReader
from ws_bridge.upstream.dialects.anthropic.table import TABLE
from ws_bridge.upstream.dialects.base import Family

__all__ = ["FAMILY", "MessagesReader"]

FAMILY = Family("anthropic", TABLE, write, MessagesReader)
