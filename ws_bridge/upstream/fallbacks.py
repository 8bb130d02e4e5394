"""An upstream around another: asks one target after the other until one answers.

Rule 1: the next one is asked after lost connections, 408, 409, 429 and 5xx, and only while nothing
of the output was yielded; what the client or the operator has to mend is told at once.
Rule 2: of a failed try nothing is seen: while there is another target, the drafts that only open a
response wait for the first that says something.
Rule 3: a response's life is one: later tries have what the earlier ones have left of it.
Rule 4: what only its maker can read goes to nobody else, whoever sends it back.
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
from ws_bridge.upstream.sealed_items import SealedItems
from ws_bridge.upstream.target_health import TargetHealth

PASSED_ON = frozenset({408, 409, 429})  # and 5xx, as lost connections are
ITEM_DONE = "response.output_item.done"
WELL = TERMINAL - {FAILED}
NOTED = TERMINAL | {ITEM_DONE}
# What a provider calls its own failure in a failed response.
FAILURES = {"server_error": 502, "rate_limit_exceeded": 429}
ENDED = "The provider ended the stream before the response was finished."


@dataclass(frozen=True, slots=True)
class FallbackAnswer:
    """A target that answers: its first drafts, and the rest of them."""

    target: Target
    first: list[Draft]
    rest: AsyncGenerator[Draft, None]


class Fallbacks:
    """An ``Upstream``. Of ``request.target`` only the name counts: who serves it is asked."""

    def __init__(self, upstream: Upstream, candidates: FindCandidates, clock: Clock) -> None:
        self._upstream = upstream
        self._candidates = candidates
        self._now = clock.monotonic
        self._health = TargetHealth(clock.monotonic)
        self._sealed_items = SealedItems()

    async def respond(self, request: Request) -> AsyncGenerator[Draft, None]:
        """See ``Upstream``; ``request.tried`` is told of every target."""
        answer = await self._begin(request)
        target, failure = answer.target, None
        is_other = target.name != request.target.name
        try:
            for draft in answer.first:
                yield _named(draft, target) if is_other else draft
            async for draft in answer.rest:
                if draft.type in NOTED:  # few are
                    self._note(draft, target)
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
        """The first target that answers. Raises ``UpstreamError``: the last one's."""
        began, spent = self._now(), 0.0
        targets = await self._order(request)
        for place, target in enumerate(targets, 1):
            asked = await self._asked(request, target, spent, is_last=place == len(targets))
            try:
                return await self._try(target, asked, is_last=place == len(targets))
            except UpstreamError as failure:
                request.tried(Tried(target, str(failure.status)))
                spent = self._now() - began
                is_over = place == len(targets) or spent >= targets[place].timeout_seconds
                if is_over or not may_do_better(failure):
                    raise
        raise AssertionError  # the last one has raised

    async def _try(self, target: Target, asked: Request, *, is_last: bool) -> FallbackAnswer:
        self._health.acquire(target)
        drafts = self._upstream.respond(asked)
        try:
            first = await _first(drafts, is_settled=is_last or asked.background)
        except BaseException as failure:  # a cancelled caller leaves nothing open either
            await self._end(target, drafts, failure)
            raise
        asked.tried(Tried(target))
        for draft in first:
            self._note(draft, target)
        return FallbackAnswer(target, first, drafts)

    async def _order(self, request: Request) -> list[Target]:
        """Whom to ask, one after the other."""
        if request.background_id:
            return [request.target]  # nobody else knows it
        parent = request.chain.parent
        look = partial(self._sealed_items.latest_maker, request.chain)
        made_by = await aside(look, values=len(request.chain.input))
        made_by = made_by or (parent.maker if parent else "")
        return self._health.order(self._candidates(request.target.name), made_by)

    async def _asked(
        self, request: Request, target: Target, spent: float, *, is_last: bool
    ) -> Request:
        """The request as one target is asked."""
        life = target.timeout_seconds - spent
        # While there are others, the next one is the retry.
        fitted = replace(target, timeout_seconds=life, retries=target.retries if is_last else 0)
        is_own = target.name == request.target.name
        look = partial(
            self._sealed_items.readable, request.chain, target.maker, keep_unknown=is_own
        )
        chain = await aside(look, values=request.chain.count())
        background = request.background and target.native_background
        return replace(request, target=fitted, chain=chain, background=background)

    def _note(self, draft: Draft, target: Target) -> None:
        if draft.type == ITEM_DONE:
            self._sealed_items.record(draft, target.maker)
        elif draft.type in WELL:
            self._health.record_success(target)
        elif draft.type == FAILED and _own_failure(draft):
            self._health.record_failure(target, None)

    async def _end(
        self, target: Target, drafts: AsyncGenerator[Draft, None], failure: BaseException | None
    ) -> None:
        if isinstance(failure, UpstreamError) and may_do_better(failure):
            self._health.record_failure(target, failure.retry_after)
        self._health.release(target)
        await drafts.aclose()


async def _first(drafts: AsyncGenerator[Draft, None], *, is_settled: bool) -> list[Draft]:
    """The drafts up to the one that settles who answers. Raises ``UpstreamError``."""
    first = []
    async for draft in drafts:
        first.append(draft)
        if is_settled:
            return first
        if draft.type == FAILED and (failure := _own_failure(draft)):
            raise failure
        if draft.type not in OPENING:
            return first
    raise UpstreamError(ENDED)


def may_do_better(failure: UpstreamError) -> bool:
    """Whether somebody else may succeed with the same request."""
    return failure.status in PASSED_ON or failure.status >= 500


def _own_failure(draft: Draft) -> UpstreamError | None:
    """What a failed response says, if the fault is the provider's."""
    error = (draft.fields.get("response") or {}).get("error") or {}
    status = FAILURES.get(str(error.get("code")))
    return UpstreamError(status=status, code=error["code"]) if status else None


def _named(draft: Draft, target: Target) -> Draft:
    """A draft that says who answers, where the provider has not said it."""
    response = draft.fields.get("response")
    if draft.type not in LIFECYCLE or not isinstance(response, dict) or response.get("model"):
        return draft
    return Draft(draft.type, {"response": response | {"model": target.name}})
