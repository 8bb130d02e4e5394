"""An upstream around another: asks one target after the other until one answers.

Rule 1: the next one is asked after lost connections, 408, 409, 429 and 5xx, and only while nothing of
the output was yielded; what a client can mend, or the operator, is told at once.
Rule 2: of a failed try nothing is seen: while there is another target, the drafts that only open a
response wait for the first that says something.
Rule 3: a response's time is its own: later tries have what the earlier ones have left.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from ws_bridge.clock import Clock
from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import FAILED, LIFECYCLE, OPENING, Draft
from ws_bridge.upstream.base import (
    FindCandidates,
    Request,
    Service,
    Target,
    Tried,
    Upstream,
)
from ws_bridge.upstream.board import Board
from ws_bridge.upstream.seals import Seals

PASSED_ON = frozenset({408, 409, 429})  # and all of 5xx
# What a provider calls its own failure in a response that failed before it began to speak.
FAILURES = {"server_error": 502, "rate_limit_exceeded": 429}


class Fallbacks:
    """An ``Upstream``. ``request.target`` only names what the client asked for."""

    def __init__(self, upstream: Upstream, candidates: FindCandidates, clock: Clock) -> None:
        self._upstream = upstream
        self._candidates = candidates
        self._clock = clock
        self._board = Board(clock.monotonic)
        self._seals = Seals()

    async def respond(self, request: Request) -> AsyncGenerator[Draft, None]:
        """See ``Upstream``; tells ``request.tried`` of every target."""
        run = await self._begin(request)
        is_other = run.target.name != request.target.name
        try:
            async for draft in run.drafts():
                self._seals.note(draft, run.target.maker)
                yield _named(draft, run.target) if is_other else draft
        finally:
            await run.close()

    async def count_tokens(self, request: Request) -> int:
        """See ``Upstream``."""
        return await self._upstream.count_tokens(request)

    async def _begin(self, request: Request) -> Run:
        """The first target that answers, with its first drafts. Raises ``UpstreamError``."""
        began = self._clock.monotonic()
        targets = self._order(request)
        for index, target in enumerate(targets):
            elapsed = self._clock.monotonic() - began
            rest = len(targets) - index - 1
            ...
        raise AssertionError
