"""An `Upstream` that keeps long chains short: a summary takes the place of older turns.

Rule 1: only where `context_management` asks for it, and the provider does not do it by itself.
Rule 2: a response has one life: the summary may take half of it, the answer has the rest.
Rule 3: if there is no summary, the answer is asked for with the whole chain.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import urlsplit

from ws_bridge.clock import Clock
from ws_bridge.errors import UpstreamError
from ws_bridge.pacing import aside
from ws_bridge.protocol.compaction import threshold_of
from ws_bridge.protocol.history import Chain
from ws_bridge.protocol.sealing import UNSIGNED, Sealer
from ws_bridge.types import Json
from ws_bridge.upstream.base import Answer, Preface, Request, Target, TokenCounter, Upstream
from ws_bridge.upstream.litellm import models
from ws_bridge.upstream.profiles import profile_of
from ws_bridge.upstream.summary import summarise

log = logging.getLogger(__name__)


OPTION = "context_management"


def compacts_natively(target: Target) -> bool:
    """Whether the target's provider compacts by itself.

    Other servers behind the provider's name ignore the option, and the chain would grow on.
    """
    profile = profile_of(target.provider)
    host = (urlsplit(target.api_base).hostname or "") if target.api_base else profile.host
    is_own = host == profile.host or host.endswith("." + profile.host)
    is_native = models.is_native(target.model)
    return profile.compacts and is_own and is_native


class CompactingUpstream:
    """An ``Upstream`` around another, which asks the request's own target and no other."""

    def __init__(
        self,
        upstream: Upstream,
        counter: TokenCounter,
        *,
        compacts_natively: Callable[[Target], bool] = compacts_natively,
        sealer: Sealer = UNSIGNED,
        clock: Clock = Clock(),  # noqa: B008 - frozen
    ) -> None:
        self._upstream = upstream
        self._counter = counter
        self._compacts_natively = compacts_natively
        self._sealer = sealer
        self._now = clock.monotonic

    async def open(self, request: Request) -> Answer:
        """See ``Upstream``; a summary is the preface of the answer."""
        if (
            OPTION not in request.options
            or request.background
            or self._compacts_natively(request.target)
        ):
            return await self._upstream.open(request)
        options = {name: value for name, value in request.options.items() if name != OPTION}
        asked, began = replace(request, options=options), self._now()
        threshold = threshold_of(request.options[OPTION])
        compaction = None if threshold is None else await self._compact(asked, threshold)
        asked = _with_life(asked, request.target.timeout_seconds - (self._now() - began))
        if compaction is None:
            return await self._upstream.open(asked)
        chain = asked.chain.with_summary(compaction.item, compaction.text)
        asked = await aside(partial(_as_input, asked, chain), values=chain.count())
        answer = await self._upstream.open(asked)
        answer.preface = Preface((compaction.item,), compaction.usage)
        return answer

    async def _compact(self, request: Request, threshold: int) -> Compaction | None:
        """The summary of the chain; None if it is short enough, or the summary failed."""
        values = request.chain.count()
        if not await aside(request.chain.summarizable, values=values):
            return None
        try:
            if await self._counter.count_tokens(request) <= threshold:
                return None
            asked = await aside(partial(_for_summary, request), values=values)
            summary = await summarise(self._upstream, asked)
        except UpstreamError as failure:
            log.info("compaction_failed model=%s code=%s", request.target.model, failure.code)
            return None
        return Compaction(self._sealer.seal(summary.text), summary.text, summary.usage)


def _for_summary(request: Request) -> Request:
    """The request for the summary: not stored; the client's output limit is for the answer."""
    options = {k: v for k, v in request.options.items() if k != "max_output_tokens"}
    asked = replace(request, options=options, response_id="", store=False)
    return _with_life(_as_input(asked, asked.chain), request.target.timeout_seconds / 2)


def _with_life(request: Request, seconds: float) -> Request:
    return replace(request, target=replace(request.target, timeout_seconds=seconds))


def _as_input(request: Request, chain: Chain) -> Request:
    """The request with another chain, all of whose items are input."""
    fitted = chain.items_for(request.target.maker)
    # Without the parent: a provider that remembers it would append the items to its own history.
    return replace(request, chain=Chain(None, tuple(fitted)))


@dataclass(frozen=True, slots=True)
class Compaction:
    """A summary as an item, its text, and what it took."""

    item: Json
    text: str
    usage: Json
