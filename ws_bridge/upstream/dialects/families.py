"""All dialects, by the names that profiles give them."""

from __future__ import annotations

from collections.abc import Mapping

from ws_bridge.upstream.dialects import (
    anthropic,
    bedrock,
    cohere,
    completions,
    gemini,
    openai_chat,
    responses,
)
from ws_bridge.upstream.dialects.base import Family
from ws_bridge.upstream.dialects.litellm_chunks.table import TABLE
from ws_bridge.upstream.dialects.table import RequestTable

FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        responses.FAMILY,
        openai_chat.FAMILY,
        anthropic.FAMILY,
        gemini.FAMILY,
        bedrock.FAMILY,
        cohere.FAMILY,
        completions.FAMILY,
    )
}
TABLES: Mapping[str, RequestTable] = {
    **{name: family.table for name, family in FAMILIES.items()},
    "others": TABLE,  # which litellm's `aresponses` asks
}
