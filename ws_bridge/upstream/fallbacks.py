"""An upstream around another: it asks one target after the other until one answers.

Rule 1: the next target is asked after a lost connection, 408, 409, 429 and 5xx, and only while the
answer is being opened. An error that the client or the operator has to mend is raised at once.
Rule 2: a failed attempt leaves no trace: while there is another target, an answer is open only once
it has a draft beyond those that open a response.
Rule 3: a response has one life: later attempts have what the earlier ones left of it.
Rule 4: a sealed item goes to its maker only, whichever client sends it back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from ws_bridge.clock import Clock
from ws_bridge.errors import ModelNotFound, UpstreamError
from ws_bridge.pacing import aside
from ws_bridge.protocol.events import OPENING, TERMINAL, Draft
from ws_bridge.upstream.base import (
    ABANDONED,
    Answer,
    FindCandidates,
    Outcome,
    Request,
    Target,
    Tried,
    Upstream,
    outcome_of,
)
from ws_bridge.upstream.errors import truncated
from ws_bridge.upstream.retry import may_pass
from ws_bridge.upstream.sealed_items import SealedItems
from ws_bridge.upstream.target_health import TargetHealth


class Fallbacks:
    """An ``Upstream``. Only the name of ``request.target`` counts: it is looked up in the table."""

    def __init__(
        self,
        upstream: Upstream,
        candidates: FindCandidates,
        sealed_items: SealedItems,
        clock: Clock,
        on_cooldown: Callable[[Target], None] = lambda _: None,
    ) -> None:
        """``on_cooldown`` is called with each target that begins to rest."""
        self._upstream = upstream
        self._candidates = candidates
        self._sealed_items = sealed_items
        self._now = clock.monotonic
        self._health = TargetHealth(clock.monotonic)
        self._on_cooldown = on_cooldown

    def cooling(self) -> int:
        """How many targets rest now."""
        return self._health.cooling()

    def forget_failures(self) -> None:
        """End all cooldowns: the targets have changed, and perhaps what was wrong with them."""
        self._health.forget_failures()

    async def open(self, request: Request) -> Answer:
        """See ``Upstream``. Raises the last target's ``UpstreamError``."""
        began, spent = self._now(), 0.0
        targets = await self._order(request)
        tried: list[Tried] = []
        for place, target in enumerate(targets, 1):
            is_last = place == len(targets)
            asked = await self._fitted(request, target, spent, is_last=is_last)
            try:
                answer = await self._ask(target, asked, is_last=is_last)
            except UpstreamError as failure:
                tried.append(Tried(target, str(failure.status)))
                failure.tried = tuple(tried)
                spent = self._now() - began
                is_over = is_last or spent >= targets[place].timeout_seconds
                if is_over or not may_pass(failure):
                    raise
                failure.without_traceback()  # its frames know the answer
            else:
                answer.tried = (*tried, Tried(target))
                return answer
        raise AssertionError  # the last one has raised

    async def _ask(self, target: Target, asked: Request, *, is_last: bool) -> Answer:
        self._health.acquire(target)
        try:
            answer = await self._upstream.open(asked)
        except BaseException as failure:  # a cancelled caller leaves no load behind either
            self._end(target, _outcome_of_failure(failure))
            raise
        answer.target = target  # as the table has it
        answer.on_close(partial(self._end, target))
        if is_last or asked.background:
            return answer
        try:
            answer.first = await _settled(answer)
        except BaseException as failure:
            await answer.close(_outcome_of_failure(failure))
            raise
        return answer

    async def _order(self, request: Request) -> list[Target]:
        """The targets in the order in which they are asked."""
        if request.background_id:
            return [request.target]  # no other target knows the response
        parent = request.chain.parent
        find = partial(self._sealed_items.latest_maker, request.chain)
        made_by = await aside(find, values=len(request.chain.input))
        made_by = made_by or (parent.maker if parent else "")
        try:
            candidates = self._candidates(request.target.name)
        except ModelNotFound:  # the table has changed since the create was accepted
            candidates = [[request.target]]
        return self._health.order(candidates, made_by)

    async def _fitted(
        self, request: Request, target: Target, spent: float, *, is_last: bool
    ) -> Request:
        """The request for one target, after ``spent`` seconds of its life."""
        life = target.timeout_seconds - spent
        # While there are others, the next one is the retry.
        limited = replace(target, timeout_seconds=life, retries=target.retries if is_last else 0)
        is_own = target.name == request.target.name
        fit = partial(self._sealed_items.readable, request.chain, target.maker, keep_unknown=is_own)
        chain = await aside(fit, values=request.chain.count())
        background = request.background and target.native_background
        return replace(request, target=limited, chain=chain, background=background)

    def _end(self, target: Target, outcome: Outcome) -> None:
        """Count the target's request no more, and note how it went."""
        error = outcome.error
        if outcome.is_complete:
            self._health.record_success(target)
        elif (
            error is not None
            and may_pass(error)
            and self._health.record_failure(target, error.retry_after)
        ):
            self._on_cooldown(target)
        self._health.release(target)


async def _settled(answer: Answer) -> Sequence[Draft]:
    """The first drafts, with one beyond the opening. Raises ``UpstreamError``."""
    first = [*answer.first]
    while all(draft.type in OPENING for draft in first):
        more = await answer.read()
        if more is None:
            raise truncated()
        first += more
    settling = next(draft for draft in first if draft.type not in OPENING)
    if settling.type in TERMINAL and (failure := outcome_of(settling).error):
        raise failure
    return first


def _outcome_of_failure(failure: BaseException) -> Outcome:
    return Outcome(failure) if isinstance(failure, UpstreamError) else ABANDONED
