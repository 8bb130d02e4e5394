"""The seam to the providers: what an upstream gets, and what it promises."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ws_bridge.errors import BridgeError
from ws_bridge.protocol.events import Draft
from ws_bridge.protocol.history import Chain
from ws_bridge.types import Item, Json

READ_OUT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Target:
    """One model of one provider, as the operator's table names it. Secrets do not print."""

    name: str  # what the client asked for
    model: str  # what litellm is asked for, "provider/model"
    api_base: str = ""
    api_key: str = field(default="", repr=False)
    timeout_seconds: float = 600.0  # a response's whole life
    stall_seconds: float = 120.0  # the longest silence of the provider
    retries: int = 2  # before the first event only
    native_background: bool = False  # background runs in the provider's own background mode
    report_cost: bool = False  # keep litellm's `usage.cost`
    drop_params: bool = (
        False  # leave out parameters that the provider does not know, instead of a 400
    )
    mode: str = "auto"  # "managed": litellm; "native": the provider's own WebSocket; or "auto"
    ws_lanes: int = 0  # responses at once on one native connection; 0: as its host's profile says
    most_bytes: int = 128 * 2**20  # of one answer, as the provider sends it
    ws_reconnects: int = 2  # further attempts at a native connection that failed
    account: str = ""  # differs for two keys of one provider, and reveals nothing of them

    @property
    def provider(self) -> str:
        """The first word of ``model``: "openai", "anthropic"."""
        return self.model.partition("/")[0]

    @property
    def maker(self) -> str:
        """The owner of the reasoning, ids and encrypted content that this target makes.

        They are sent to targets of the same maker only.
        """
        return "|".join((self.provider, self.api_base, *filter(None, [self.account])))


ANSWERS = "answers"


@dataclass(frozen=True, slots=True)
class Tried:
    """One target that was asked, and the outcome: it answers, or the status of its failure."""

    target: Target
    outcome: str = ANSWERS

    @property
    def answers(self) -> bool:
        """Whether the response is this target's."""
        return self.outcome == ANSWERS


@dataclass(frozen=True, slots=True)
class Request:
    """One create, ready for a provider: no id of the bridge in it, nothing shared is changed."""

    target: Target
    chain: Chain  # earlier turns and this turn's input
    options: Json  # documented Responses fields, see `request.PASSED_ON`
    background: bool = False
    background_options: Json = field(default_factory=dict)  # for the provider's own background mode
    response_id: str = ""  # the bridge's own id
    store: bool = False  # as the client asked
    background_id: str = ""  # the provider's id of a background response that goes on
    outlives: Callable[[], bool] = lambda: False  # whether it runs on when the generator is closed
    tried: Callable[[Tried], None] = lambda _: None  # called with each target that was asked

    def input(self) -> list[Item]:
        """The input items as this target may see them (deep copies)."""
        return self.chain.items_for(self.target.maker)

    def weight(self) -> int:
        """How many items and tools there are to adapt and encode."""
        return self.chain.count() + len(self.options.get("tools") or ())


class Upstream(Protocol):
    """The source of a response's events."""

    def respond(self, request: Request) -> AsyncGenerator[Draft, None]:
        """Yield the response's events in order, the last one terminal.

        Lifecycle drafts carry the provider's ``response`` object as it is; ids, numbers and what
        the client gets are the caller's. Closing the generator, or cancelling the task that awaits
        it, closes the provider's connection within a second.
        Raises ``UpstreamError`` and nothing else; an end without a terminal draft is a failure.
        Never retries once a draft has been yielded.
        """
        ...

    async def count_tokens(self, request: Request) -> int:
        """The request's input tokens, by litellm's counter for the model."""
        ...


class Service(Upstream, Protocol):
    """An upstream that a server opens once, and closes last."""

    async def open(self) -> None:
        """Make it ready; calls of ``respond`` wait until this returns."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class FindTarget(Protocol):
    """Finds the target of a client's model name."""

    def __call__(self, model: str, maker: str = "") -> Target:
        """The target: of that maker if there is one. Raises ``ModelNotFound``."""
        ...


FindCandidates = Callable[[str], Sequence[Sequence[Target]]]
"""A client's model name → the targets that can answer, in groups that share the load.

The preferred group is first. Raises ``ModelNotFound``.
"""


async def read_out(drafts: AsyncGenerator[Draft, None]) -> None:
    """Read a stream to its end after its terminal draft: then its connection can be used again.

    Later drafts and errors are dropped; it takes ``READ_OUT_SECONDS`` at most.
    """
    with contextlib.suppress(TimeoutError, BridgeError):
        async with asyncio.timeout(READ_OUT_SECONDS):
            async for _ in drafts:
                pass
