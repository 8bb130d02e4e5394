"""Responses that run in the provider's own background mode, seen by polling.

Rule 1: the provider makes the response and stores it; here each poll yields the items that are new.
Rule 2: the completion window that the client grants comes on top of the response's own time.
Rule 3: closing the generator before the end cancels the response at the provider, unless the
request outlives it.

The first draft's response carries the provider's id as litellm encodes it: a request with that
``background_id`` yields the same response again, from its beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from functools import partial

from ws_bridge.clock import Clock
from ws_bridge.errors import UpstreamError
from ws_bridge.pacing import aside
from ws_bridge.protocol.events import CREATED, IN_PROGRESS, QUEUED, TERMINAL_STATUS, Draft
from ws_bridge.protocol.output.received import items_of
from ws_bridge.protocol.output.replay import replay_items, terminal
from ws_bridge.protocol.request import COMPLETION_WINDOWS
from ws_bridge.types import Json
from ws_bridge.upstream.base import Request, Target
from ws_bridge.upstream.errors import CANCELLED, TIMED_OUT, DeadlineExceeded, classify
from ws_bridge.upstream.litellm import client
from ws_bridge.upstream.litellm.upstream import LitellmUpstream, call_of
from ws_bridge.upstream.retry import is_retryable

FIRST_POLL = 0.5  # seconds, growing by half
LONGEST_POLL = 5.0
MISSES = 5  # polls in a row that may fail before the response is given up
CANCEL_SECONDS = 5.0
OPENING = {"queued": QUEUED, "in_progress": IN_PROGRESS}
UNFINISHED = frozenset({"queued", "in_progress", "searching", "interpreting", "generating"})


class BackgroundUpstream:
    """An ``Upstream`` for targets with ``native_background``. ``clock`` makes the pauses."""

    def __init__(self, *, clock: Clock = Clock()) -> None:  # noqa: B008 - frozen
        self._clock = clock
        self._managed = LitellmUpstream(clock=clock)

    async def respond(self, request: Request) -> AsyncGenerator[Draft, None]:
        """See ``Upstream``."""
        target = request.target
        window = COMPLETION_WINDOWS[request.background_options.get("completion_window", "soonest")]
        deadline = self._clock.monotonic() + target.timeout_seconds + window
        response_id = request.background_id
        if response_id:
            response = await self._poll(target, response_id, deadline, 0)
        else:
            response = await _create(request)
            response_id = str(response["id"])
        progress = BackgroundProgress()
        try:
            for draft in progress.of(response):
                yield draft
            while not progress.is_over:
                response = await self._poll(target, response_id, deadline, progress.polls)
                for draft in progress.of(response):
                    yield draft
        finally:
            if not progress.is_over and not request.outlives():
                await _cancel(target, response_id)

    async def count_tokens(self, request: Request) -> int:
        """See ``Upstream``."""
        return await self._managed.count_tokens(request)

    async def _poll(self, target: Target, response_id: str, deadline: float, polls: int) -> Json:
        """The response after a pause; ``MISSES`` - 1 polls in a row may fail."""
        for miss in range(MISSES):
            pause = min(LONGEST_POLL, FIRST_POLL * 1.5 ** (polls + miss))
            if self._clock.monotonic() + pause >= deadline:
                raise DeadlineExceeded(TIMED_OUT)
            await self._clock.sleep(pause)
            try:
                return await client.get_background(target, response_id)
            except Exception as failure:  # noqa: BLE001 - the seam raises one kind of error
                error = classify(failure)
                if not is_retryable(error) or miss == MISSES - 1:
                    raise error from None
        raise AssertionError  # the last miss has raised


class BackgroundProgress:
    """Which part of a polled response has been yielded."""

    def __init__(self) -> None:
        self.is_over = False
        self.polls = -1
        self._yielded: set[str] = set()
        self._items = 0

    def of(self, response: Json) -> Iterator[Draft]:
        """The drafts that this state of the response adds."""
        self.polls += 1
        status = str(response.get("status"))
        for kind in (CREATED, OPENING.get(status, IN_PROGRESS)):
            if kind not in self._yielded:
                self._yielded.add(kind)
                yield Draft(kind, {"response": response | {"output": []}})
        visible = _finished_items(response, status)
        yield from replay_items(visible[self._items :], self._items)
        self._items = max(self._items, len(visible))
        if status in TERMINAL_STATUS:
            self.is_over = True
            if status == "cancelled":
                raise UpstreamError(CANCELLED)
            yield terminal(response)


def _finished_items(response: Json, status: str) -> list[Json]:
    """The items that change no more: those before the first unfinished one."""
    items = items_of(response.get("output"))
    if status in TERMINAL_STATUS:
        return items
    for index, item in enumerate(items):
        if item.get("status") in UNFINISHED:
            return items[:index]
    return items


async def _create(request: Request) -> Json:
    """Start it. A caller that is cancelled meanwhile leaves nothing running at the provider."""
    call = await aside(partial(call_of, request), values=request.weight())
    creation = asyncio.ensure_future(client.create(call))
    try:
        return await asyncio.shield(creation)
    except asyncio.CancelledError:
        with suppress(Exception):  # it may have failed, and then there is nothing to cancel
            async with asyncio.timeout(CANCEL_SECONDS):
                await _cancel(request.target, str((await creation)["id"]))
        raise
    except Exception as failure:  # noqa: BLE001 - the seam raises one kind of error
        raise classify(failure) from None


async def _cancel(target: Target, response_id: str) -> None:
    with suppress(Exception):  # it may have ended meanwhile; no caller is left to get the error
        async with asyncio.timeout(CANCEL_SECONDS):
            await client.cancel_background(target, response_id)
