"""An upstream over two others: the provider's own WebSocket, else the managed way.

Rule 1: the managed way is asked only if the socket's answer never began: there is one answer.
Rule 2: an address whose socket failed cools down, each time for longer, and is then tried again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from ws_bridge.clock import Clock
from ws_bridge.upstream.base import Answer, Request, Target, Upstream
from ws_bridge.upstream.errors import NeverBegan
from ws_bridge.upstream.profiles import CHAT_ONLY, profile_of

log = logging.getLogger(__name__)

FIRST_COOLDOWN = 30.0  # seconds, doubled each time
LONGEST_COOLDOWN = 600.0


def has_socket(target: Target) -> bool:
    """Whether the target's provider is known to offer its Responses API over a WebSocket."""
    provider, _, model = target.model.partition("/")
    return profile_of(provider).has_socket and not model.startswith(CHAT_ONLY)


@dataclass(frozen=True, slots=True)
class Cooldown:
    """How long an address is not tried, and until when (monotonic, in seconds)."""

    seconds: float
    until: float


class PreferWebSocket:
    """An ``Upstream`` for targets that may be asked either way."""

    def __init__(self, native: Upstream, managed: Upstream, clock: Clock) -> None:
        self._native = native
        self._managed = managed
        self._now = clock.monotonic
        self._cooldowns: dict[tuple[str, ...], Cooldown] = {}  # by address and key

    async def open(self, request: Request) -> Answer:
        """See ``Upstream``."""
        if not self._is_due(request.target):
            return await self._managed.open(request)
        # The other way is faster than further attempts at the socket.
        once = replace(request, target=replace(request.target, ws_reconnects=0))
        before = self._cooldowns.get(_key(request.target))
        try:
            answer = await self._native.open(once)
        except NeverBegan as failure:
            self._start_cooldown(request.target, failure, before)
        else:
            self._end_cooldown(request.target, before)
            return answer
        return await self._managed.open(request)

    def _is_due(self, target: Target) -> bool:
        """Whether the socket is to be tried; after a cooldown, one of many requests tries it."""
        cooldown = self._cooldowns.get(_key(target))
        # Each request has its own trace, and a socket one head for many.
        if not has_socket(target) or target.pass_traceparent:
            return False
        if cooldown and self._now() < cooldown.until:
            return False
        if cooldown:
            self._cooldowns[_key(target)] = replace(cooldown, until=self._now() + cooldown.seconds)
        return True

    def _end_cooldown(self, target: Target, before: Cooldown | None) -> None:
        """Forget the cooldown before this attempt; one started since is about later attempts."""
        if before is not None and self._cooldowns.get(_key(target)) is before:
            del self._cooldowns[_key(target)]

    def _start_cooldown(self, target: Target, failure: NeverBegan, before: Cooldown | None) -> None:
        if self._cooldowns.get(_key(target)) is not before:
            return  # an attempt that failed at the same time has started one
        seconds = min(LONGEST_COOLDOWN, before.seconds * 2) if before else FIRST_COOLDOWN
        self._cooldowns[_key(target)] = Cooldown(seconds, self._now() + seconds)
        log.info(
            "native_failed model=%s kind=%s status=%d cooldown=%gs",
            target.model,
            type(failure).__name__,
            failure.status,
            seconds,
        )


def _key(target: Target) -> tuple[str, ...]:
    return target.provider, target.api_base, target.api_key
