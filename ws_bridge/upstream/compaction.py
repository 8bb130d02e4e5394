"""An `Upstream` that keeps long chains short: older turns are said in a summary.

Rule 1: only where `context_management` asks for it, and the provider does not do it by itself.
Rule 2: nothing is told before the provider's answer has said something: until then another may be
asked.
Rule 3: a response's life is one: the summary may take half of it, the answer has the rest.
Rule 4: without a summary, the answer is asked for with all there is.
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
from ws_bridge.upstream.summary import summarise

log = logging.getLogger(__name__)


ASKED_BY = "context_management"
# Who compacts by itself. Not Azure: litellm refuses to pass the option on to it. Nor other servers
# behind the `openai/` prefix: they would pass over the option, and the chain would grow on.
OWN_HOST = "api.openai.com"


def has_own(target: Target) -> bool:
    """Whether the target's provider compacts by itself."""
    host = (urlsplit(target.api_base).hostname or "") if target.api_base else OWN_HOST
    is_openai = host == OWN_HOST or host.endswith("." + OWN_HOST)
    speaks_it = models.dialect_of(target.model) is Dialect.NATIVE
    return target.provider == "openai" and is_openai and speaks_it


class CompactingUpstream:
    """An ``Upstream`` around another, which must reach the request's own target and no other."""

    def __init__(
        self,
        upstream: Upstream,
        *,
        has_own: Callable[[Target], bool] = has_own,
        sealer: Sealer = UNSIGNED,
        clock: Clock = Clock(),  # noqa: B008 - frozen
    ) -> None:
        self._upstream = upstream
        self._has_own = has_own
        self._sealer = sealer
        self._now = clock.monotonic

    def respond(self, request: Request) -> AsyncGenerator[Draft, None]:
        """See ``Upstream``."""
        if ASKED_BY not in request.options or request.background or self._has_own(request.target):
            return self._upstream.respond(request)
        return self._respond(request)

    async def count_tokens(self, request: Request) -> int:
        """See ``Upstream``."""
        return await self._upstream.count_tokens(request)

    async def _respond(self, request: Request) -> AsyncGenerator[Draft, None]:
        options = {name: value for name, value in request.options.items() if name != ASKED_BY}
        asked, began = replace(request, options=options), self._now()
        threshold = threshold_of(request.options[ASKED_BY])
        compaction = None if threshold is None else await self._compact(asked, threshold)
        asked = _with_life(asked, request.target.timeout_seconds - (self._now() - began))
        if compaction is not None:
            chain = asked.chain.with_summary(compaction.item, compaction.text)
            asked = await aside(partial(_said, asked, chain), values=chain.count())
        async with aclosing(self._upstream.respond(asked)) as drafts:
            async for draft in drafts:
                if compaction is None:
                    yield draft
                else:
                    for told in compaction.around(draft):
                        yield told

    async def _compact(self, request: Request, threshold: int) -> Compaction | None:
        """The summary that is needed; None if none is, or none can be had."""
        values = request.chain.count()
        if not await aside(request.chain.summarizable, values=values):
            return None
        try:
            if await self._upstream.count_tokens(request) <= threshold:
                return None
            asked = await aside(partial(_for_summary, request), values=values)
            summary = await summarise(self._upstream, asked)
        except UpstreamError as failure:
            log.info("compaction failed model=%s code=%s", request.target.model, failure.code)
            return None
        return Compaction(self._sealer.seal(summary.text), summary.text, summary.usage)


def _for_summary(request: Request) -> Request:
    """The request as one that leaves no trace; its length is the answer's, not the summary's."""
    options = {k: v for k, v in request.options.items() if k != "max_output_tokens"}
    asked = replace(request, options=options, response_id="", store=False)
    return _with_life(_said(asked, asked.chain), request.target.timeout_seconds / 2)


def _with_life(request: Request, seconds: float) -> Request:
    return replace(request, target=replace(request.target, timeout_seconds=seconds))


def _said(request: Request, chain: Chain) -> Request:
    """The request with another chain, all of it said in its input."""
    fitted = chain.items_for(request.target.maker)
    # Without the parent: a provider that remembers it would take the rest for what comes next.
    return replace(request, chain=Chain(None, tuple(fitted)))


@dataclass(slots=True)
class Compaction:
    """A summary as the first item of an answer, and what it cost."""

    item: Json
    text: str
    usage: Json
    is_told: bool = field(default=False, init=False)

    def around(self, draft: Draft) -> Iterator[Draft]:
        """What the draft becomes beside the summary."""
        if draft.type in OPENING:
            yield draft
            return
        if not self.is_told and draft.type != FAILED:  # that is no answer yet
            self.is_told = True
            yield item_added(self.item, 0)
            yield item_done(self.item, 0)
        yield self._ended(draft) if draft.type in TERMINAL else _moved(draft)

    def _ended(self, draft: Draft) -> Draft:
        response: Json = dict(draft.fields.get("response") or {})
        items = items_of(response.get("output"))
        if self.is_told and items:  # else it is made of what was told
            response["output"] = [self.item, *items]
        usage = strict_usage(response.get("usage"))
        response["usage"] = added(usage, self.usage) if usage else self.usage
        return Draft(draft.type, draft.fields | {"response": response})


def _moved(draft: Draft) -> Draft:
    index = draft.fields.get("output_index")
    if type(index) is not int:
        return draft
    return Draft(draft.type, draft.fields | {"output_index": index + 1})


def added(usage: Mapping[str, Any], more: Mapping[str, Any]) -> Json:
    """The sum of all counts of two usage objects, at any depth."""
    total = dict(usage)
    for name, value in more.items():
        known = total.get(name)
        if isinstance(value, Mapping):
            total[name] = added(known if isinstance(known, Mapping) else {}, value)
        elif isinstance(value, int | float) and isinstance(known, int | float):
            total[name] = known + value
        else:
            total.setdefault(name, value)
    return total
