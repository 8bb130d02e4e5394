"""What litellm answered → drafts, batch by batch, for each of its three kinds of answers.

The slow way: what can be read off the wire is read there (``direct``).

Rule 1: a native event is said as the provider sent it: no field more, none less, but its number.
Rule 2: a bridged stream is read as chat chunks; litellm's own events of it are lossy.
Rule 3: what was not streamed is replayed, and a chat stream without a finish reason has failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import Draft
from ws_bridge.protocol.output.chat import ChatTranslator, Chunk
from ws_bridge.protocol.output.replay import replay
from ws_bridge.types import Json
from ws_bridge.upstream.errors import CANCELLED, UNTYPED_EVENT, truncated
from ws_bridge.upstream.litellm import client
from ws_bridge.upstream.litellm.chunks import chunk_of
from ws_bridge.upstream.litellm.closing import close

NOT_OURS = frozenset({"type", "sequence_number", "obfuscation"})
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


class Native(Opened):
    """Events of a provider that speaks Responses."""

    def __init__(self, opened: Any, *, report_cost: bool) -> None:
        super().__init__(opened)
        self._report_cost = report_cost

    async def read(self) -> Sequence[Draft] | None:
        """One event is one draft."""
        try:
            event = await self._opened.__anext__()
        except StopAsyncIteration:
            return None
        return (native_draft(event, report_cost=self._report_cost),)


class ChatDrafts:
    """The drafts of one stream of chat chunks."""

    def __init__(self, chunks: Any, custom_tools: frozenset[str]) -> None:
        self._chunks = chunks
        self._translator = ChatTranslator(custom_tools)
        self._is_open = False

    def take(self, chunk: Chunk) -> Sequence[Draft]:
        """One chunk is any number of drafts."""
        return self._begun(self._translator.take(chunk))

    def finish(self) -> Sequence[Draft]:
        """The end of the stream. Raises ``UpstreamError`` if it was cut off."""
        if client.is_truncated(self._chunks) or self._translator.finish_reason is None:
            raise truncated()
        return self._begun(self._translator.finish())

    def _begun(self, drafts: list[Draft]) -> Sequence[Draft]:
        """Nothing is said before there is something to say: until then it can be tried again."""
        if self._is_open or not drafts:
            return drafts
        self._is_open = True
        return [*self._translator.open(), *drafts]


class Chat(Opened):
    """Chunks of a provider that speaks anything else."""

    def __init__(self, opened: Any, chunks: Any, custom_tools: frozenset[str]) -> None:
        super().__init__(opened)
        self._chunks = chunks
        self._drafts = ChatDrafts(chunks, custom_tools)
        self._is_over = False

    async def read(self) -> Sequence[Draft] | None:
        """The drafts of one chunk."""
        if self._is_over:
            return None
        try:
            chunk = await self._chunks.__anext__()
        except StopAsyncIteration:
            self._is_over = True
            return self._drafts.finish()
        return self._drafts.take(chunk_of(chunk))


class Whole(Opened):
    """A finished response, from a model that cannot stream."""

    def __init__(self, opened: Any, *, report_cost: bool) -> None:
        super().__init__(opened)
        self._report_cost = report_cost
        self._is_over = False

    async def read(self) -> Sequence[Draft] | None:
        """All of it at once."""
        if self._is_over:
            return None
        self._is_over = True
        return [*replay(_undo({"response": await self._response()}, self._report_cost)["response"])]

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


def native_draft(event: Any, *, report_cost: bool) -> Draft:
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
        fields = _undo(client.plain(event), report_cost)
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


def _undo(fields: Json, report_cost: bool) -> Json:
    """The fields without what litellm put into them."""
    response = fields.get("response")
    if isinstance(response, dict):
        usage = response.get("usage")
        if isinstance(usage, dict) and not report_cost:
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
