"""The seam to the providers: an upstream is opened with a request, and its answer is read.

Retries, fallbacks, the preference for a provider's socket and compaction live in ``Upstream.open``
and only there; each of them returns the innermost answer, so that nothing stands between an answer
and the job that reads it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import FAILED, Draft
from ws_bridge.protocol.history import Chain
from ws_bridge.tracing import TraceContext
from ws_bridge.types import Item, Json
from ws_bridge.upstream.prices import PriceRow


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
    report_cost: bool = False  # `usage.cost`, by litellm's prices
    drop_params: bool = (
        False  # leave out parameters that the provider does not know, instead of a 400
    )
    mode: str = "auto"  # "managed": over HTTP; "native": the provider's own WebSocket; or "auto"
    via: str = "auto"  # "litellm": its `aresponses` opens every call; "auto": a dialect if it can
    prompt_cache: bool = True  # mark long prompts for the provider's cache, where that is asked for
    ws_lanes: int = 0  # responses at once on one native connection; 0: as its host's profile says
    most_bytes: int = 128 * 2**20  # of one answer, as the provider sends it
    ws_reconnects: int = 2  # further attempts at a native connection that failed
    account: str = ""  # differs for two keys of one provider, and reveals nothing of them
    entry: str = ""  # the name of its entry in the table, with the `*` as it is written there
    pass_traceparent: bool = False  # its provider gets the headers of W3C Trace Context

    # Of those above, and asked for a dozen times in each create.
    provider: str = field(init=False, repr=False, compare=False)  # "openai", "anthropic"
    # The owner of the reasoning, ids and encrypted content that this target makes: they are sent to
    # targets of the same maker only.
    maker: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """The first word of ``model``, and the maker."""
        provider = self.model.partition("/")[0]
        maker = "|".join((provider, self.api_base, *filter(None, [self.account])))
        object.__setattr__(self, "provider", provider)
        object.__setattr__(self, "maker", maker)


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
    trace: TraceContext | None = None  # of the span that the request is made in

    def input(self) -> list[Item]:
        """The input items as this target may see them (deep copies)."""
        return self.chain.items_for(self.target.maker)

    def weight(self) -> int:
        """How many items and tools there are to adapt and encode."""
        return self.chain.count() + len(self.options.get("tools") or ())

    def trace_headers(self) -> dict[str, str]:
        """The headers of W3C Trace Context, if the target's provider is to have them."""
        if self.trace is None or not self.target.pass_traceparent:
            return {}
        return self.trace.headers()


@dataclass(frozen=True, slots=True)
class Preface:
    """What stands before an answer in the response: items, and the usage that they took."""

    items: tuple[Item, ...]
    usage: Json


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an answer went: it was complete, it failed with an error, or it was left unfinished."""

    error: UpstreamError | None = None
    is_complete: bool = False


COMPLETE = Outcome(is_complete=True)
ABANDONED = Outcome()

# The codes by which a failed response says that the provider is at fault, and their status.
PROVIDER_FAULTS = {"server_error": 502, "rate_limit_exceeded": 429}


def outcome_of(end: Draft) -> Outcome:
    """How an answer went that ends with this terminal draft.

    A failed response that does not blame its provider says nothing about the target.
    """
    if end.type != FAILED:
        return COMPLETE
    response = end.fields.get("response")
    error = response.get("error") if isinstance(response, dict) else None
    code = str(error.get("code")) if isinstance(error, dict) else ""
    status = PROVIDER_FAULTS.get(code)
    return Outcome(UpstreamError(status=status, code=code)) if status else ABANDONED


class Answer(ABC):
    """One provider's answer, opened: something of it was said, so no other target is asked.

    ``first`` has the drafts that opening it has read; `read` returns those after them.
    """

    def __init__(self, target: Target, first: Sequence[Draft] = ()) -> None:
        self.target = (
            target  # who answers; its name stands in `model` where the provider gives none
        )
        self.first = first
        self.tried: Sequence[Tried] = (Tried(target),)  # in order; the last one answers
        self.upstream_id = ""  # a background response's id at its provider
        self.preface: Preface | None = None
        self.prices: PriceRow | None = None  # to reckon the cost by
        self._listeners: list[Callable[[Outcome], None]] = []

    @abstractmethod
    async def read(self) -> Sequence[Draft] | None:
        """The drafts that one read of the wire brings, perhaps none; None after the end.

        The last draft is terminal. Lifecycle drafts carry the provider's ``response`` object as it
        is. Raises ``UpstreamError`` and nothing else; an end without a terminal draft is one.
        """

    async def close(self, outcome: Outcome = ABANDONED, *, keep_running: bool = False) -> None:
        """Release the provider's connection and its load, at any time and any number of times.

        ``keep_running``: a response that its provider generates by itself goes on there.
        """
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener(outcome)
        await self._release(is_complete=outcome.is_complete, keep_running=keep_running)

    def on_close(self, listener: Callable[[Outcome], None]) -> None:
        """Call it once, with the outcome, when the answer is closed."""
        self._listeners.append(listener)

    @abstractmethod
    async def _release(self, *, is_complete: bool, keep_running: bool) -> None:
        """Close the connection; a complete answer's may be read to its end and used again."""


class Upstream(Protocol):
    """The source of responses."""

    async def open(self, request: Request) -> Answer:
        """The answer of the first target that gives one; the caller closes it.

        Raises ``UpstreamError`` and nothing else; ``tried`` of it has the targets that were asked.
        A caller that is cancelled leaves nothing open, nor running at a provider.
        """
        ...


class TokenCounter(Protocol):
    """Counts a request's tokens, without asking its provider."""

    async def count_tokens(self, request: Request) -> int:
        """The request's input tokens, by litellm's counter for the model."""
        ...


class Service(Upstream, TokenCounter, Protocol):
    """What a server starts once, and stops last."""

    async def start(self) -> None:
        """Make it ready; calls of ``open`` wait until this returns."""
        ...

    def set_targets(self, targets: Sequence[Target]) -> None:
        """Expect requests for these from now on; what runs goes on as it began."""
        ...

    def known_models(self, provider: str) -> Sequence[str]:
        """The models of a provider, as far as they are known; none before the start."""
        ...

    async def stop(self) -> None:
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
