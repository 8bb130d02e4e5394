"""An upstream around another: it asks one target after the other until one answers.

Rule 1: the next target is asked after a lost connection, 408, 409, 429 and 5xx, and only while no
output was yielded. An error that the client or the operator has to mend is raised at once.
Rule 2: a failed attempt leaves no trace: while there is another target, the drafts that open a
response are held back until the first draft after them.
Rule 3: a response has one life: later attempts have what the earlier ones left of it.
Rule 4: a sealed item goes to its maker only, whichever client sends it back.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from functools import partial

from ws_bridge.clock import Clock
from ws_bridge.errors import UpstreamError
from ws_bridge.pacing import aside
from ws_bridge.protocol.events import FAILED, LIFECYCLE, OPENING, TERMINAL, Draft
from ws_bridge.upstream.base import FindCandidates, Request, Target, Tried, Upstream
from ws_bridge.upstream.errors import truncated
from ws_bridge.upstream.retry import may_pass
from ws_bridge.upstream.sealed_items import SealedItems
from ws_bridge.upstream.target_health import TargetHealth

ITEM_DONE = "response.output_item.done"
SUCCESSES = TERMINAL - {FAILED}
RECORDED = TERMINAL | {ITEM_DONE}
# The codes by which a failed response says that the provider is at fault, and their status.
PROVIDER_FAULTS = {"server_error": 502, "rate_limit_exceeded": 429}


@dataclass(frozen=True, slots=True)
class FallbackAnswer:
    """A target that answers: its first drafts, and the rest of them."""

    target: Target
    first: list[Draft]
    rest: AsyncGenerator[Draft, None]


class Fallbacks:
    """An ``Upstream``. Only the name of ``request.target`` counts: it is looked up in the table."""

    def __init__(self, upstream: Upstream, candidates: FindCandidates, clock: Clock) -> None:
        self._upstream = upstream
        self._candidates = candidates
        self._now = clock.monotonic
        self._health = TargetHealth(clock.monotonic)
        self._sealed_items = SealedItems()

    async def respond(self, request: Request) -> AsyncGenerator[Draft, None]:
        """See ``Upstream``; ``request.tried`` gets every target that was asked."""
        answer = await self._begin(request)
        target, failure = answer.target, None
        is_other = target.name != request.target.name
        try:
            for draft in answer.first:
                yield _named(draft, target) if is_other else draft
            async for draft in answer.rest:
                if draft.type in RECORDED:  # few are
                    self._record(draft, target)
                yield _named(draft, target) if is_other else draft
        except UpstreamError as broken:
            failure = broken
            raise
        finally:
            await self._end(target, answer.rest, failure)

    async def count_tokens(self, request: Request) -> int:
        """See ``Upstream``."""
        return await self._upstream.count_tokens(request)

    async def _begin(self, request: Request) -> FallbackAnswer:
        """The first target that answers. Raises the last target's ``UpstreamError``."""
        began, spent = self._now(), 0.0
        targets = await self._order(request)
        for place, target in enumerate(targets, 1):
            asked = await self._fitted(request, target, spent, is_last=place == len(targets))
            try:
                return await self._ask(target, asked, is_last=place == len(targets))
            except UpstreamError as failure:
                request.tried(Tried(target, str(failure.status)))
                spent = self._now() - began
                is_over = place == len(targets) or spent >= targets[place].timeout_seconds
                if is_over or not may_pass(failure):
                    raise
        raise AssertionError  # the last one has raised

    async def _ask(self, target: Target, asked: Request, *, is_last: bool) -> FallbackAnswer:
        self._health.acquire(target)
        drafts = self._upstream.respond(asked)
        try:
            first = await _first(drafts, is_settled=is_last or asked.background)
        except BaseException as failure:  # a cancelled caller leaves nothing open either
            await self._end(target, drafts, failure)
            raise
        asked.tried(Tried(target))
        for draft in first:
            self._record(draft, target)
        return FallbackAnswer(target, first, drafts)

    async def _order(self, request: Request) -> list[Target]:
        """The targets in the order in which they are asked."""
        if request.background_id:
            return [request.target]  # no other target knows the response
        parent = request.chain.parent
        find = partial(self._sealed_items.latest_maker, request.chain)
        made_by = await aside(find, values=len(request.chain.input))
        made_by = made_by or (parent.maker if parent else "")
        return self._health.order(self._candidates(request.target.name), made_by)

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

    def _record(self, draft: Draft, target: Target) -> None:
        if draft.type == ITEM_DONE:
            self._sealed_items.record(draft, target.maker)
        elif draft.type in SUCCESSES:
            self._health.record_success(target)
        elif draft.type == FAILED and _provider_fault(draft):
            self._health.record_failure(target, None)

    async def _end(
        self, target: Target, drafts: AsyncGenerator[Draft, None], failure: BaseException | None
    ) -> None:
        if isinstance(failure, UpstreamError) and may_pass(failure):
            self._health.record_failure(target, failure.retry_after)
        self._health.release(target)
        await drafts.aclose()


async def _first(drafts: AsyncGenerator[Draft, None], *, is_settled: bool) -> list[Draft]:
    """The drafts up to the one that settles which target answers. Raises ``UpstreamError``."""
    first = []
    async for draft in drafts:
        first.append(draft)
        if is_settled:
            return first
        if draft.type == FAILED and (failure := _provider_fault(draft)):
            raise failure
        if draft.type not in OPENING:
            return first
    raise truncated()


def _provider_fault(draft: Draft) -> UpstreamError | None:
    """The error of a failed response, if the provider is at fault."""
    error = (draft.fields.get("response") or {}).get("error") or {}
    status = PROVIDER_FAULTS.get(str(error.get("code")))
    return UpstreamError(status=status, code=error["code"]) if status else None


def _named(draft: Draft, target: Target) -> Draft:
    """The draft with the target's name as its model, where the provider gives none."""
    response = draft.fields.get("response")
    if draft.type not in LIFECYCLE or not isinstance(response, dict) or response.get("model"):
        return draft
    return Draft(draft.type, {"response": response | {"model": target.name}})
