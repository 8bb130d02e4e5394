"""Amazon Bedrock's Converse API: one form for the models of many makers."""

from __future__ import annotations

from ws_bridge.upstream.dialects.base import Family
from ws_bridge.upstream.dialects.bedrock.request import write
from ws_bridge.upstream.dialects.bedrock.stream import BedrockReader
from ws_bridge.upstream.dialects.bedrock.table import TABLE

__all__ = ["FAMILY"]

FAMILY = Family("bedrock", TABLE, write, BedrockReader)
