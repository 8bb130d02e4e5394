"""What a dialect is: a writer of requests, a table of what it can say, and a reader of streams.

A dialect is pure: it knows no client, address or credential. ``litellm/`` gives those, and sends.

Rule 1: a reader reads all of its stream: text, reasoning, calls, hosted tools, citations, usage,
ends and errors. What it does not understand is never a success and never a crash.
Rule 2: a stream ends in exactly one way: with one terminal draft, or with an ``UpstreamError``.
Rule 3: what one read brings before an error is given out first; ``failure`` is the error then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import Draft
from ws_bridge.protocol.tools import NO_TOOLS, ToolTable
from ws_bridge.types import Item, Json
from ws_bridge.upstream.dialects.seals import MakerSeals
from ws_bridge.upstream.dialects.table import RequestTable


@dataclass(frozen=True, slots=True)
class WriterInput:
    """What a writer writes from: values, and nothing of the bridge's."""

    model: str  # its name at the provider
    provider: str  # litellm's word: "groq"
    items: list[Item]  # as this maker may see them
    options: Json
    tools: ToolTable = NO_TOOLS
    seals: MakerSeals = field(default_factory=lambda: MakerSeals(""))
    supports_reasoning: bool | None = None  # None: it is not known
    max_output_tokens: int | None = None  # the most that the model writes, where it is known
    streams: bool = True  # false: the model answers in one piece
    prompt_cache: bool = True
    drop_params: bool = False
    now: float = 0.0  # wall time in seconds


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """What is sent: the body, and the headers of the dialect; no address and no credential.

    ``tools`` are those that were offered, under the names that the body has: the reader needs them.
    """

    body: Json
    headers: Mapping[str, str] = field(default_factory=dict)
    tools: ToolTable = NO_TOOLS


class StreamReader(Protocol):
    """The reader of one answer's bytes: three plain attributes, read at every delta, and bytes."""

    is_over: bool
    """Whether the terminal draft was returned: what comes after it is not read."""
    failure: UpstreamError | None
    """The error that came after the drafts of the last call: the caller raises it next."""
    paused: Any
    """Not None: the provider waits to be asked again (see ``Continuation``)."""

    def feed(self, data: bytes) -> list[Draft]:
        """The drafts of what the data completes. Raises ``UpstreamError``."""
        ...

    def finish(self) -> list[Draft]:
        """The wire is at its end: the last drafts. Raises ``UpstreamError`` if it was cut off."""
        ...


@dataclass(frozen=True, slots=True)
class ReaderInput:
    """What a reader needs to know of the request."""

    tools: ToolTable = NO_TOOLS
    seals: MakerSeals = field(default_factory=lambda: MakerSeals(""))
    provider: str = ""
    options: Json = field(default_factory=dict)
    response_id: str = ""  # the bridge's own
    now: float = 0.0  # wall time in seconds, when the provider is asked


@dataclass(frozen=True, slots=True)
class Family:
    """One dialect."""

    name: str
    table: RequestTable
    write: Callable[[WriterInput], ProviderRequest]
    """Raises ``UpstreamError`` (400) for what the dialect cannot say."""
    reader: Callable[[ReaderInput], StreamReader]
