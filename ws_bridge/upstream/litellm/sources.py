"""What litellm opened → drafts, batch by batch, for each kind of its answers.

Rule 1: a provider that speaks Responses is read off the wire by that dialect's reader, beside
litellm; only where its bytes cannot be had are litellm's events read.
Rule 2: all others are read as litellm's chat chunks; its own events of them are lossy.
Rule 3: what was not streamed is replayed, and a chat stream without a finish reason has failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import Draft
from ws_bridge.protocol.output.builder import mint_id
from ws_bridge.protocol.output.chat import ChatTranslator
from ws_bridge.protocol.output.replay import replay
from ws_bridge.protocol.references import minting
from ws_bridge.protocol.tools import ToolTable
from ws_bridge.types import Json
from ws_bridge.upstream.dialects.base import ReaderInput
from ws_bridge.upstream.dialects.responses import FAMILY
from ws_bridge.upstream.errors import CANCELLED, UNTYPED_EVENT, truncated
from ws_bridge.upstream.litellm import client
from ws_bridge.upstream.litellm.chunks import chunk_of
from ws_bridge.upstream.litellm.closing import close, skip_cost_logging
from ws_bridge.upstream.litellm.sse_tap import SseTap

NOT_OURS = frozenset({"type", "sequence_number", "obfuscation", "side_data"})
SCALARS = frozenset({str, int, float, bool, type(None)})
CANCELLED_EVENT = "response.cancelled"
WITH_CONTAINERS = ("item", "part", "annotation", "response")


class Source(Protocol):
    """One answer being read."""

    async def read(self) -> Sequence[Draft] | None:
        """The drafts of the next piece, perhaps none; None at the end."""
        ...

    async def close(self) -> None:
        """Close the provider's connection, at any time."""
        ...


class Opened:
    """What litellm opened, and its end."""

    def __init__(self, opened: Any) -> None:
        self._opened = opened

    async def close(self) -> None:
        """Close the provider's connection."""
        await close(self._opened)


class Tapped(Opened):
    """The bytes of a provider that speaks Responses."""

    def __init__(self, opened: Any, tap: SseTap, response_id: str) -> None:
        super().__init__(opened)
        self._tap = tap
        self._reader = FAMILY.reader(ReaderInput(response_id=response_id))
        self._has_ended = False
        if client.has_listeners():
            tap.copy_to(opened)

    async def read(self) -> Sequence[Draft] | None:
        """What one read of the wire brings; after the answer's end, what is left of the wire."""
        data = None if self._has_ended else await self._tap.read()
        if data is not None:
            return self._reader.feed(data)
        self._has_ended = True
        return None if self._reader.is_over else self._reader.finish()

    async def close(self) -> None:
        """Close the provider's connection, and litellm's half of the stream."""
        await close(self._tap)
        await super().close()


class Events(Opened):
    """litellm's events of a provider that speaks Responses."""

    async def read(self) -> Sequence[Draft] | None:
        """One event is one draft."""
        try:
            event = await self._opened.__anext__()
        except StopAsyncIteration:
            return None
        return (native_draft(event),)


class Chunks(Opened):
    """Chat chunks of a provider that only litellm speaks to."""

    def __init__(self, opened: Any, chunks: Any, tools: ToolTable, response_id: str = "") -> None:
        super().__init__(opened)
        self._chunks = chunks
        self._translator = ChatTranslator(tools, minting(response_id, mint_id))
        self._is_over = False
        if not client.has_listeners():
            skip_cost_logging(chunks)

    async def read(self) -> Sequence[Draft] | None:
        """The drafts of one chunk. Raises ``UpstreamError`` if the stream was cut off."""
        if self._is_over:
            return None
        try:
            chunk = await self._chunks.__anext__()
        except StopAsyncIteration:
            self._is_over = True
            if client.is_truncated(self._chunks) or self._translator.finish_reason is None:
                raise truncated() from None
            return self._translator.finish()
        return self._translator.take(chunk_of(chunk))


class Whole(Opened):
    """A finished response, from a model that cannot stream."""

    def __init__(self, opened: Any, response_id: str) -> None:
        super().__init__(opened)
        self._response_id = response_id
        self._is_over = False

    async def read(self) -> Sequence[Draft] | None:
        """All of it at once."""
        if self._is_over:
            return None
        self._is_over = True
        response = _undo({"response": await self._response()})["response"]
        return [*replay(response, self._response_id)]

    async def _response(self) -> Json:
        """The object itself, or what litellm's imitation of a stream ends with."""
        if not hasattr(self._opened, "__anext__"):
            return client.plain(self._opened)
        last = None
        async for event in self._opened:
            last = event
        response = getattr(last, "response", None)
        if response is None:
            raise truncated()
        return client.plain(response)


def source_of(opened: Any, tap: SseTap | None, tools: ToolTable, response_id: str = "") -> Source:
    """The source for whatever litellm answered; ``response_id`` is the bridge's own."""
    chunks = client.chat_stream(opened)
    if chunks is not None:
        return Chunks(opened, chunks, tools, response_id)
    if not client.is_stream(opened):
        return Whole(opened, response_id)
    if tap is None or not tap.is_free:
        return Events(opened)
    return Tapped(opened, tap, response_id)


def native_draft(event: Any) -> Draft:
    """The draft of one native event. Raises ``UpstreamError`` for `response.cancelled`.

    Deltas, nearly all of a stream, are copied as they lie; the rest is dumped by pydantic.
    """
    kind = getattr(event, "type", None)
    kind = getattr(kind, "value", kind)
    if not isinstance(kind, str):
        raise UpstreamError(UNTYPED_EVENT)
    if kind == CANCELLED_EVENT:
        raise UpstreamError(CANCELLED)
    fields = _flat(event)
    if fields is None:
        fields = _undo(client.plain(event))
    for name in NOT_OURS:
        fields.pop(name, None)
    return Draft(kind, fields)


def _flat(event: Any) -> Json | None:
    """The fields of an event that has nothing nested in a declared field; else None."""
    declared, extra = event.__dict__, event.__pydantic_extra__ or {}
    if not extra.keys().isdisjoint(WITH_CONTAINERS):
        return None
    fields = {}
    for name in event.__pydantic_fields_set__:
        if name in declared and name not in NOT_OURS:
            value = declared[name]
            if type(value) not in SCALARS:
                return None
            fields[name] = value
    fields.update(extra)
    return fields


def _undo(fields: Json) -> Json:
    """The fields without what litellm put into them."""
    response = fields.get("response")
    if isinstance(response, dict):
        usage = response.get("usage")
        if isinstance(usage, dict):
            usage.pop("cost", None)
    for name in WITH_CONTAINERS:
        _restore_container_ids(fields.get(name))
    return fields


def _restore_container_ids(thing: Any) -> None:
    """Take litellm's routing out of container ids, wherever they are."""
    if isinstance(thing, list):
        for each in thing:
            _restore_container_ids(each)
    elif isinstance(thing, dict):
        encoded = thing.get("container_id")
        if isinstance(encoded, str) and encoded.startswith("cntr_"):
            thing["container_id"] = client.container_id(encoded)
        for each in thing.values():
            if isinstance(each, dict | list):
                _restore_container_ids(each)
