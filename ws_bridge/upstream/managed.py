"""Providers asked over HTTP: in a dialect of the bridge where there is one, else by litellm."""

from __future__ import annotations

from collections.abc import Callable, Container

from ws_bridge.upstream.base import Answer, Request, Target, Upstream


class ManagedUpstream:
    """An ``Upstream``. ``family_of`` names a target's dialect; ``families`` are those written here.

    A target of any other family is opened by litellm.
    """

    def __init__(
        self,
        dialects: Upstream,
        litellm: Upstream,
        *,
        families: Container[str],
        family_of: Callable[[Target], str],
    ) -> None:
        self._dialects = dialects
        self._litellm = litellm
        self._families = families
        self._family_of = family_of

    async def open(self, request: Request) -> Answer:
        """See ``Upstream``."""
        has_dialect = self._family_of(request.target) in self._families
        return await (self._dialects if has_dialect else self._litellm).open(request)
