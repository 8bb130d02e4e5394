"""The provider's own WebSocket where there is one, and the managed way where there is none today.

Rule 1: the managed way is taken only while nothing of an answer was seen: then there is one answer.
Rule 2: an address whose socket failed is left alone for a while, longer each time, and no longer.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from ws_bridge.clock import Clock
from ws_bridge.protocol.events import Draft
from ws_bridge.upstream.base import Request, Target, Upstream
from ws_bridge.upstream.websocket.errors import NeverBegan

log = logging.getLogger(__name__)

# Whose Responses API is known to be spoken over a WebSocket too.
SOCKETS = frozenset({"azure", "openai", "xai"})
OTHER_DIALECT = "chat_completions/"  # of a model's name: it is not spoken to in Responses at all
FIRST_REST = 30.0  # seconds, doubled each time
LONGEST_REST = 600.0


def has_socket(target: Target) -> bool:
    """Whether the target's provider is known to have a native mode."""
    provider, _, model = target.model.partition("/")
    return provider in SOCKETS and not model.startswith(OTHER_DIALECT)


@dataclass(frozen=True, slots=True)
class Cooldown:
    """How long an address is left alone, until when (monotonic seconds)."""

    seconds: float
    until: float


class PreferWebSocket:
    """An ``Upstream`` for targets that may be asked in either way."""

    def __init__(self, native: Upstream, managed: Upstream, clock: Clock) -> None:
        self._native = native
        self._managed = managed
        self._now = clock.monotonic
        self._rests: dict[tuple[str, ...], Cooldown] = {}  # one an address of the operator's table

    async def respond(self, request: Request) -> AsyncGenerator[Draft, None]:
        """See ``Upstream``."""
        if self._is_due(request.target):
            # Its own further tries would be slower than the other way.
            once = replace(request, target=replace(request.target, ws_reconnects=0))
            before = self._rests.get(_key(request.target))
            try:
                async with aclosing(self._native.respond(once)) as drafts:
                    async for draft in drafts:
                        self._recover(request.target, before)
                        yield draft
            except NeverBegan as failure:
                self._put_off(request.target, failure, before)
            else:
                return
        async with aclosing(self._managed.respond(request)) as drafts:
            async for draft in drafts:
                yield draft

    async def count_tokens(self, request: Request) -> int:
        """See ``Upstream``."""
        return await self._managed.count_tokens(request)

    def _is_due(self, target: Target) -> bool:
        """Whether the socket is to be tried; of those who ask at once after a rest, one tries."""
        rest = self._rests.get(_key(target))
        if not has_socket(target) or (rest and self._now() < rest.until):
            return False
        if rest:
            self._rests[_key(target)] = replace(rest, until=self._now() + rest.seconds)
        return True

    def _recover(self, target: Target, before: Cooldown | None) -> None:
        """Forget the rest that a try came after; one that was begun since is about later tries."""
        if before is not None and self._rests.get(_key(target)) is before:
            del self._rests[_key(target)]

    def _put_off(self, target: Target, failure: NeverBegan, before: Cooldown | None) -> None:
        if self._rests.get(_key(target)) is not before:
            return  # others failed at the same time, and have said so
        seconds = min(LONGEST_REST, before.seconds * 2) if before else FIRST_REST
        self._rests[_key(target)] = Cooldown(seconds, self._now() + seconds)
        log.info(
            "native mode failed model=%s kind=%s status=%d rest=%gs",
            target.model,
            type(failure).__name__,
            failure.status,
            seconds,
        )


def _key(target: Target) -> tuple[str, ...]:
    return target.provider, target.api_base, target.api_key
