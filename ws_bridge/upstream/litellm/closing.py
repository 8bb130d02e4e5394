"""The end of what litellm opened."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from ws_bridge.upstream.litellm import internals

CLOSE_SECONDS = 1.0


async def close(opened: Any) -> None:
    """Close the provider's connection; safe to call at any time, and twice."""
    aclose = getattr(opened, "aclose", None)
    if aclose is None:
        return
    # What a half-read stream raises at its end changes nothing.
    with suppress(Exception):
        async with asyncio.timeout(CLOSE_SECONDS):
            await aclose()


def skip_cost_logging(chunks: Any) -> None:
    """Spare litellm the last act of a bridged stream: its cost, and a log entry that is not read.

    Call it only where no callback listens: it costs a sixth of a short answer. The slot is the one
    in which litellm's proxy says that it writes the entry itself, later.
    """
    logger = internals.LOGGER.find(chunks)
    if logger is not None:
        setattr(logger, internals.BOOKED_LATER.name, _nothing)


def _nothing(*_: object) -> None:
    """What litellm's proxy would do later."""
