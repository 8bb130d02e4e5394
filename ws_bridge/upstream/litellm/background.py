"""Responses that run in the provider's own background mode, seen by polling.

Rule 1: the provider makes the response and stores it; here each poll brings the items that are new.
Rule 2: the completion window that the client grants comes on top of the response's own time.
Rule 3: closing an answer before its end cancels the response at the provider, unless it is to keep
running there.

The answer's ``upstream_id`` is the provider's id as litellm encodes it: a request with that
``background_id`` opens the same response again, from its beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial

from ws_bridge.clock import Clock
from ws_bridge.errors import UpstreamError
from ws_bridge.pacing import HEAVY_BYTES, aside
from ws_bridge.protocol.events import CREATED, IN_PROGRESS, QUEUED, TERMINAL_STATUS, Draft
from ws_bridge.protocol.output.received import items_of
from ws_bridge.protocol.output.replay import replay_items, terminal
from ws_bridge.protocol.request import COMPLETION_WINDOWS
from ws_bridge.tracing import Traces
from ws_bridge.types import Json
from ws_bridge.upstream.attempts import traced
from ws_bridge.upstream.base import Answer, Request, Target
from ws_bridge.upstream.errors import CANCELLED, TIMED_OUT, DeadlineExceeded, classify
from ws_bridge.upstream.litellm import client
from ws_bridge.upstream.litellm.upstream import call_of
from ws_bridge.upstream.retry import is_retryable

FIRST_POLL = 0.5  # seconds, growing by half
LONGEST_POLL = 5.0
MISSES = 5  # polls in a row that may fail before the response is given up
CANCEL_SECONDS = 5.0
OPENING = {"queued": QUEUED, "in_progress": IN_PROGRESS}
UNFINISHED = frozenset({"queued", "in_progress", "searching", "interpreting", "generating"})


class BackgroundUpstream:
    """An ``Upstream`` for targets with ``native_background``. ``clock`` makes the pauses."""

    def __init__(
        self,
        *,
        clock: Clock = Clock(),  # noqa: B008 - frozen
        traces: Traces | None = None,
    ) -> None:
        self._clock = clock
        self._try = traced(self._attempt, traces, "http")

    async def open(self, request: Request) -> Answer:
        """See ``Upstream``. A response that runs already is not asked for before the first read."""
        return await self._try(request)

    async def _attempt(self, request: Request) -> Answer:
        window = COMPLETION_WINDOWS[request.background_options.get("completion_window", "soonest")]
        deadline = self._clock.monotonic() + request.target.timeout_seconds + window
        if request.background_id:
            return BackgroundAnswer(request.target, request.background_id, deadline, self._clock)
        response = await _create(request)
        answer = BackgroundAnswer(request.target, str(response["id"]), deadline, self._clock)
        answer.first = answer.progress.drafts_of(response)
        return answer


class BackgroundAnswer(Answer):
    """The answer of a response that its provider runs; a read is a poll, after a pause.

    ``deadline`` is monotonic, in seconds.
    """

    def __init__(self, target: Target, upstream_id: str, deadline: float, clock: Clock) -> None:
        super().__init__(target)
        self.upstream_id = upstream_id
        self.progress = BackgroundProgress()
        self._deadline = deadline
        self._clock = clock
        self._polls = 0
        self._is_released = False

    async def read(self) -> Sequence[Draft] | None:
        """See ``Answer``; ``MISSES`` - 1 polls in a row may fail."""
        if self.progress.is_cancelled:
            raise UpstreamError(CANCELLED)
        if self.progress.is_over:
            return None
        for miss in range(MISSES):
            pause = min(LONGEST_POLL, FIRST_POLL * 1.5 ** (self._polls + miss))
            if self._clock.monotonic() + pause >= self._deadline:
                raise DeadlineExceeded(TIMED_OUT)
            await self._clock.sleep(pause)
            try:
                response = await client.get_background(self.target, self.upstream_id)
            except Exception as failure:  # noqa: BLE001 - the seam raises one kind of error
                error = classify(failure)
                if not is_retryable(error) or miss == MISSES - 1:
                    raise error from None
            else:
                self._polls += 1
                return self.progress.drafts_of(response)
        raise AssertionError  # the last miss has raised

    async def _release(
        self,
        *,
        is_complete: bool,  # noqa: ARG002 - as the seam has it
        keep_running: bool,
    ) -> None:
        is_first, self._is_released = not self._is_released, True
        if is_first and not (self.progress.is_over or keep_running):
            await _cancel(self.target, self.upstream_id)


class BackgroundProgress:
    """Which part of a polled response was read."""

    def __init__(self) -> None:
        self.is_over = False  # the provider has ended it
        self.is_cancelled = False  # not by this bridge
        self._opened: set[str] = set()
        self._items = 0

    def drafts_of(self, response: Json) -> list[Draft]:
        """The drafts that this state of the response adds."""
        return [*self._opening(response), *self._items_and_end(response)]

    def _opening(self, response: Json) -> Iterator[Draft]:
        status = str(response.get("status"))
        for kind in (CREATED, OPENING.get(status, IN_PROGRESS)):
            if kind not in self._opened:
                self._opened.add(kind)
                yield Draft(kind, {"response": response | {"output": []}})

    def _items_and_end(self, response: Json) -> Iterator[Draft]:
        status = str(response.get("status"))
        finished = _finished_items(response, status)
        owner = str(response.get("id") or "")
        yield from replay_items(finished[self._items :], self._items, owner)
        self._items = max(self._items, len(finished))
        self.is_over = status in TERMINAL_STATUS
        self.is_cancelled = status == "cancelled"
        if self.is_over and not self.is_cancelled:
            yield terminal(response, owner)


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
    size = request.chain.weight(HEAVY_BYTES)
    call = await aside(partial(call_of, request), values=request.weight(), size=size)
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
