"""The token counter of all models: litellm's own, in a thread; no provider is asked.

Rule: every request that can be sent can be counted.
"""

from __future__ import annotations

from functools import partial

from ws_bridge.pacing import HEAVY, HEAVY_BYTES, counted
from ws_bridge.upstream.base import Request
from ws_bridge.upstream.dialects.request_adapter import Dialect, fit_input
from ws_bridge.upstream.errors import as_upstream_error
from ws_bridge.upstream.litellm import client


class LitellmTokenCounter:
    """A ``TokenCounter``."""

    async def count_tokens(self, request: Request) -> int:
        """See ``TokenCounter``. Raises ``UpstreamError``."""
        try:
            # Of many items it is enough to know that.
            size = HEAVY_BYTES if request.weight() >= HEAVY else request.chain.weight()
            return await counted(partial(_count, request), size=size)
        except Exception as failure:  # noqa: BLE001 - the seam raises one kind of error
            raise as_upstream_error(failure, request.target.model) from None


def _count(request: Request) -> int:
    # In the dialect that refuses no item.
    items = fit_input(request.input(), Dialect.ANTHROPIC)
    return client.count_tokens(request.target.model, items, request.options)
