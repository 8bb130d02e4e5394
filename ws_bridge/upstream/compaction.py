"""An `Upstream` that keeps long chains short: a summary takes the place of older turns.

Rule 1: only where `context_management` asks for it, and the provider does not do it by itself.
Rule 2: the summary is yielded only once the answer has a draft beyond its opening: until then
another target may be asked.
Rule 3: a response has one life: the summary may take half of it, the answer has the rest.
Rule 4: if there is no summary, the answer is asked for with the whole chain.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from ws_bridge.clock import Clock
from ws_bridge.errors import UpstreamError
from ws_bridge.pacing import aside
from ws_bridge.protocol.compaction import threshold_of
from ws_bridge.protocol.events import FAILED, OPENING, TERMINAL, Draft
from ws_bridge.protocol.history import Chain
from ws_bridge.protocol.output.items import item_added, item_done
from ws_bridge.protocol.output.received import items_of
from ws_bridge.protocol.response import strict_usage
from ws_bridge.protocol.sealing import UNSIGNED, Sealer
from ws_bridge.types import Json
from ws_bridge.upstream.base import Request, Target, Upstream
from ws_bridge.upstream.dialects.request_adapter import Dialect
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
    is_native = models.dialect_of(target.model) is Dialect.NATIVE
    return profile.compacts and is_own and is_native


class CompactingUpstream:
    """An ``Upstream`` around another, which asks the request's own target and no other."""

    def __init__(
        self,
        upstream: Upstream,
        *,
        compacts_natively: Callable[[Target], bool] = compacts_natively,
        sealer: Sealer = UNSIGNED,
        clock: Clock = Clock(),  # noqa: B008 - frozen
    ) -> None:
        self._upstream = upstream
        self._compacts_natively = compacts_natively
        self._sealer = sealer
        self._now = clock.monotonic

    def respond(self, request: Request) -> AsyncGenerator[Draft, None]:
        """See ``Upstream``."""
        if (
            OPTION not in request.options
            or request.background
            or self._compacts_natively(request.target)
        ):
            return self._upstream.respond(request)
        return self._respond(request)

    async def count_tokens(self, request: Request) -> int:
        """See ``Upstream``."""
        return await self._upstream.count_tokens(request)

    async def _respond(self, request: Request) -> AsyncGenerator[Draft, None]:
        options = {name: value for name, value in request.options.items() if name != OPTION}
        asked, began = replace(request, options=options), self._now()
        threshold = threshold_of(request.options[OPTION])
        compaction = None if threshold is None else await self._compact(asked, threshold)
        asked = _with_life(asked, request.target.timeout_seconds - (self._now() - began))
        if compaction is not None:
            chain = asked.chain.with_summary(compaction.item, compaction.text)
            asked = await aside(partial(_as_input, asked, chain), values=chain.count())
        async with aclosing(self._upstream.respond(asked)) as drafts:
            async for draft in drafts:
                if compaction is None:
                    yield draft
                else:
                    for shifted in compaction.drafts_for(draft):
                        yield shifted

    async def _compact(self, request: Request, threshold: int) -> Compaction | None:
        """The summary of the chain; None if it is short enough, or the summary failed."""
        values = request.chain.count()
        if not await aside(request.chain.summarizable, values=values):
            return None
        try:
            if await self._upstream.count_tokens(request) <= threshold:
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


@dataclass(slots=True)
class Compaction:
    """A summary as the first item of an answer, and its usage."""

    item: Json
    text: str
    usage: Json
    is_published: bool = field(default=False, init=False)

    def drafts_for(self, draft: Draft) -> Iterator[Draft]:
        """The draft with its indices shifted; the summary's own drafts come before the first."""
        if draft.type in OPENING:
            yield draft
            return
        if not self.is_published and draft.type != FAILED:  # a failed response is no answer
            self.is_published = True
            yield item_added(self.item, 0)
            yield item_done(self.item, 0)
        yield self._with_summary(draft) if draft.type in TERMINAL else _shifted(draft)

    def _with_summary(self, draft: Draft) -> Draft:
        response: Json = dict(draft.fields.get("response") or {})
        items = items_of(response.get("output"))
        if self.is_published and items:  # else the output is made of the drafts
            response["output"] = [self.item, *items]
        usage = strict_usage(response.get("usage"))
        response["usage"] = sum_usage(usage, self.usage) if usage else self.usage
        return Draft(draft.type, draft.fields | {"response": response})


def _shifted(draft: Draft) -> Draft:
    index = draft.fields.get("output_index")
    if type(index) is not int:
        return draft
    return Draft(draft.type, draft.fields | {"output_index": index + 1})


def sum_usage(usage: Mapping[str, Any], more: Mapping[str, Any]) -> Json:
    """The sum of all counts of two usage objects, at any depth."""
    total = dict(usage)
    for name, value in more.items():
        known = total.get(name)
        if isinstance(value, Mapping):
            total[name] = sum_usage(known if isinstance(known, Mapping) else {}, value)
        elif isinstance(value, int | float) and isinstance(known, int | float):
            total[name] = known + value
        else:
            total.setdefault(name, value)
    return total
