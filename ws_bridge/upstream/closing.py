"""The end of what litellm opened: its objects hide the provider's connection in several places."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from operator import attrgetter
from typing import Any

CLOSE_SECONDS = 1.0
# What may hold the provider's connection, in the order of closing. `aclose` is not on all of them
# in all versions (https://github.com/BerriAI/litellm/issues/26250), so each is asked for it.
HOLDERS = (
    "response",
    "litellm_custom_stream_wrapper",
    "litellm_custom_stream_wrapper.completion_stream.http_response",
    "litellm_custom_stream_wrapper.completion_stream.response",
    "litellm_custom_stream_wrapper.completion_stream.streaming_response",
    "litellm_custom_stream_wrapper.completion_stream",
)


async def close(opened: Any) -> None:
    """Close the provider's connection, whatever holds it; safe to call at any time, and twice."""
    found = (_reach(opened, path) for path in HOLDERS)
    holders = [holder for holder in found if holder is not None]
    for holder in [*map(_generators_owner, holders), *holders, opened]:
        aclose = getattr(holder, "aclose", None)
        if aclose is None:
            continue
        # Whatever a half-read stream has to say about its end interests nobody any more.
        with suppress(Exception):
            async with asyncio.timeout(CLOSE_SECONDS):
                await aclose()


def keep_no_books(chunks: Any) -> None:
    """Spare litellm the last act of a bridged stream: its cost, and an entry for nobody's log.

    Call it only where nobody listens to litellm: it costs a sixth of a short answer. The slot is
    the one in which litellm's proxy says that it writes the entry itself, later.
    """
    with suppress(AttributeError):
        chunks.logging_obj._on_deferred_stream_complete = _nothing  # noqa: SLF001 - see above


def _nothing(*_: object) -> None:
    """What litellm's proxy would do later."""


def _generators_owner(thing: Any) -> Any:
    """The HTTP response whose lines a generator reads; litellm keeps no other way to it.

    Closing a generator that was never started, or that waits in an inner one, closes nothing.
    """
    frame = getattr(thing, "ag_frame", None)
    return frame.f_locals.get("self") if frame is not None else None


def _reach(thing: Any, path: str) -> Any:
    try:
        return attrgetter(path)(thing)
    except AttributeError:
        return None
