"""What a dialect is: a writer of requests, a table of what it can say, and a reader of streams.

A dialect is pure: it knows no client, address or credential. ``litellm/`` gives those, and sends.

Rule 1: a reader reads all of its stream: text, reasoning, calls, hosted tools, citations, usage,
ends and errors. What it does not understand is never a success and never a crash.
Rule 2: a stream ends in exactly one way: with one terminal draft, or with an ``UpstreamError``.
Rule 3: what one read brings before an error is given out first; the error comes with the next call.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import TERMINAL, Draft
from ws_bridge.protocol.output.builder import OutputBuilder, mint_id
from ws_bridge.protocol.references import minting
from ws_bridge.protocol.tools import NO_TOOLS, ToolTable
from ws_bridge.types import Item, Json
from ws_bridge.upstream.dialects.seals import MakerSeals
from ws_bridge.upstream.dialects.sse import ServerSentEvent, SseDecoder
from ws_bridge.upstream.dialects.table import RequestTable
from ws_bridge.upstream.errors import truncated

DONE = b"[DONE]"
UNREADABLE = "The model provider sent an event that is not JSON."


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


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """What is sent: the body, and the headers of the dialect; no address and no credential.

    ``tools`` are those that were offered, under the names that the body has: the reader needs them.
    """

    body: Json
    headers: Mapping[str, str] = field(default_factory=dict)
    tools: ToolTable = NO_TOOLS


class StreamReader(Protocol):
    """The reader of one answer's bytes."""

    @property
    def is_over(self) -> bool:
        """Whether the terminal draft was returned: what comes after it is not read."""
        ...

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


@dataclass(frozen=True, slots=True)
class Family:
    """One dialect."""

    name: str
    table: RequestTable
    write: Callable[[WriterInput], ProviderRequest]
    """Raises ``UpstreamError`` (400) for what the dialect cannot say."""
    reader: Callable[[ReaderInput], StreamReader]


class EventDecoder(Protocol):
    """Bytes → events, in any framing; see ``SseDecoder``."""

    is_json: bool

    @property
    def whole_json(self) -> bytes:
        """The body so far, of an answer that is JSON."""
        ...

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """The events that the data completes. Raises ``UpstreamError``."""
        ...

    def finish(self) -> list[ServerSentEvent]:
        """The stream is over: the last events. Raises ``UpstreamError``."""
        ...


class EventReader(ABC):
    """A ``StreamReader`` of events; subclasses read one event, or a whole answer.

    ``decoder``: for events in another framing than that of server-sent events.
    """

    def __init__(self, given: ReaderInput, decoder: EventDecoder | None = None) -> None:
        self._given = given
        self._output = OutputBuilder(given.tools, minting(given.response_id, mint_id))
        self._decoder = decoder or SseDecoder()
        self._failure: UpstreamError | None = None
        self.is_over = False

    def feed(self, data: bytes) -> list[Draft]:
        """See ``StreamReader``."""
        return self._read(self._decoder.feed(data))

    def finish(self) -> list[Draft]:
        """See ``StreamReader``."""
        drafts = self._read(self._decoder.finish())
        if self.is_over:
            return drafts
        if self._decoder.is_json and not drafts:
            whole = parsed(self._decoder.whole_json)
            return self._read_each([whole], self._whole)
        if drafts:  # then the next call raises
            return drafts
        return self._checked(self._end_of_wire())

    def _read(self, events: Iterable[ServerSentEvent]) -> list[Draft]:
        return self._read_each(events, self._event)

    def _read_each(self, events: Iterable[Any], read: Callable[[Any], list[Draft]]) -> list[Draft]:
        """The drafts of all events, up to an error or the end."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        drafts: list[Draft] = []
        for event in events:
            if self.is_over:
                break
            try:
                drafts += read(event)
            except UpstreamError as failure:
                if not drafts:
                    raise
                self._failure = failure
                break
            self._checked(drafts)
        return drafts

    def _checked(self, drafts: list[Draft]) -> list[Draft]:
        self.is_over = self.is_over or (bool(drafts) and drafts[-1].type in TERMINAL)
        return drafts

    @abstractmethod
    def _event(self, event: ServerSentEvent) -> list[Draft]:
        """The drafts of one event. Raises ``UpstreamError`` for the provider's errors."""

    @abstractmethod
    def _whole(self, answer: Json) -> list[Draft]:
        """The drafts of an answer that came as one JSON object, the last one terminal."""

    def _end_of_wire(self) -> list[Draft]:
        """The drafts of a stream that is over without its own end."""
        raise truncated()


def parsed(data: bytes) -> Any:
    """The JSON of an event. Raises ``UpstreamError``."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:  # half of a surrogate pair, which orjson refuses
        return json.loads(data)
    except (ValueError, RecursionError):
        raise UpstreamError(UNREADABLE) from None
