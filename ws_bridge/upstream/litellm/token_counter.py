"""The token counter of all models: litellm's own, in a thread; no provider is asked.

Rule: every request that can be sent can be counted.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import orjson

from ws_bridge.pacing import HEAVY, HEAVY_BYTES, counted
from ws_bridge.protocol.history import unfolded
from ws_bridge.types import Item
from ws_bridge.upstream.base import Request
from ws_bridge.upstream.errors import as_upstream_error
from ws_bridge.upstream.litellm import client

READ = frozenset({"message", "reasoning", "function_call", "function_call_output"})


class LitellmTokenCounter:
    """A ``TokenCounter``."""

    async def count_tokens(self, request: Request) -> int:
        """See ``TokenCounter``. Raises ``UpstreamError``."""
        try:
            # Of many items it is enough to know that.
            size = HEAVY_BYTES if request.weight() >= HEAVY else request.chain.weight(HEAVY_BYTES)
            return await counted(partial(_count, request), size=size)
        except Exception as failure:  # noqa: BLE001 - the seam raises one kind of error
            raise as_upstream_error(failure, request.target.model) from None


def _count(request: Request) -> int:
    items = [_countable(item) for item in unfolded(request.input())]
    return client.count_tokens(request.target.model, items, request.options)


def _countable(item: Item) -> Item:
    """The item in a form that litellm reads: others are counted as the text that they are."""
    if item.get("type", "message") not in READ:
        return {"type": "message", "role": "user", "content": orjson.dumps(item).decode()}
    if isinstance(item.get("content"), list):
        item["content"] = [_with_text(part) for part in item["content"]]
    return item


def _with_text(part: Any) -> Any:
    """A refusal as text: litellm would count nothing."""
    if isinstance(part, dict) and part.get("type") == "refusal":
        return {"type": "output_text", "text": part.get("refusal") or "", "annotations": []}
    return part
