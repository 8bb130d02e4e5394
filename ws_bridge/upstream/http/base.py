"""What the dialects' upstream is given about a target: the way to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from ws_bridge.types import Json
from ws_bridge.upstream.base import Target


class Access(Protocol):
    """The way to one target: its address, and what proves who asks."""

    @property
    def url(self) -> str:
        """Where a streamed answer is asked for."""
        ...

    async def headers(self, given: Mapping[str, str], body: bytes) -> Mapping[str, str]:
        """The headers of one request: those of the dialect, credentials, and the signature.

        Raises ``UpstreamError``.
        """
        ...


FindAccess = Callable[[Target], Awaitable[Access]]
"""A target → the way to it. Raises ``UpstreamError``."""


class Continuation(Protocol):
    """A reader of a provider that pauses: it wants to be asked to go on with its own words.

    The reader is one for the whole answer: after ``continuation`` it is fed the new one's bytes. If
    it is asked to ``finish`` while it is paused, the answer is incomplete.
    """

    @property
    def paused(self) -> object:
        """Not None: the provider has paused, and says no more until it is asked again."""
        ...

    def continuation(self, body: Json) -> Json:
        """The body that asks it to go on, made from the one before; it is not paused any more."""
        ...
