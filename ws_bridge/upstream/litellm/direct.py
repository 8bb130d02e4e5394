"""Answers read off the wire; litellm is fed what it has a say in.

Rule 1: litellm names every error, counts where a provider has not, and judges what is not known
here. Where somebody listens to it (callbacks, costs), it hears of every beginning and end as well.
Rule 2: all else of a native stream is passed on in the provider's own bytes, but for the response
objects.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import FAILED, LIFECYCLE, TERMINAL, Draft
from ws_bridge.protocol.json_edit import OWN_KEYS, is_plain
from ws_bridge.protocol.output.received import items_of
from ws_bridge.types import Json
from ws_bridge.upstream.dialects import Plain, reader_of
from ws_bridge.upstream.dialects.merging import merged
from ws_bridge.upstream.litellm import client, internals
from ws_bridge.upstream.litellm.chunks import chunk_of
from ws_bridge.upstream.litellm.closing import close, keep_no_books
from ws_bridge.upstream.litellm.sources import Chat, ChatDrafts, Native, Source, Whole, native_draft
from ws_bridge.upstream.litellm.tap import Fed, Tap
from ws_bridge.upstream.profiles import profile_of

_DATA = re.compile(rb"(?:event:[^\r\n]*(?:\r\n|\n|\r))?data: ?(\{[^\r\n]*\})[\r\n]+")
NUMBERS = ("type", "sequence_number", "stream_id")
FAILURES = frozenset({"error", FAILED, "response.cancelled"})
ENDS = TERMINAL - FAILURES


def source_of(
    opened: Any, tap: Tap | None, custom_tools: frozenset[str], *, report_cost: bool
) -> Source:
    """The reader for whatever litellm answered."""
    chunks = client.chat_stream(opened)
    if chunks is not None:
        if not client.has_listeners():
            keep_no_books(chunks)
        if tap is None or not tap.is_free:
            return Chat(opened, chunks, custom_tools)
        drafts = ChatDrafts(chunks, custom_tools)
        reader = reader_of(profile_of(internals.PROVIDER.of(chunks)).reader)
        if reader is None:
            return MergedChat(opened, chunks, tap, drafts)
        return DirectChat(opened, chunks, tap, reader, drafts)
    if not client.is_stream(opened):
        return Whole(opened, report_cost=report_cost)
    if tap is not None and tap.is_free:
        return DirectNative(opened, tap, report_cost=report_cost)
    return Native(opened, report_cost=report_cost)


class Direct(ABC):
    """A ``Source`` of a tapped stream."""

    def __init__(self, opened: Any, made: Any, tap: Tap) -> None:
        self._opened = opened
        self._tap = tap
        self._frames = tap.frames()
        self._fed = Fed(made, tap)
        self._is_at_end = False
        self._has_ended = False  # the last event was passed on, past litellm
        self._failure: Exception | None = None  # raised by the next read: drafts came before it

    async def read(self) -> Sequence[Draft] | None:
        """What one read of the wire brings."""
        self._check()
        if self._is_at_end:
            return await self._last()
        if self._fed.is_over:
            return await self._end(None)
        try:
            frames = await anext(self._frames)
        except StopAsyncIteration:
            return await self._end(None)
        except UpstreamError:
            raise
        except Exception as failure:  # noqa: BLE001 - litellm's to name
            return await self._end(failure)
        return await self._read_frames(frames)

    async def _read_frames(self, frames: list[bytes]) -> Sequence[Draft]:
        """The drafts of one read, up to a failure: the next read raises that."""
        drafts: list[Draft] = []
        for frame in self._fitted(frames):
            taken = self._take(frame)
            if taken is None:
                try:
                    taken = await self._judged(frame)
                except Exception as failure:  # noqa: BLE001 - raised by the next read
                    self._failure = failure
                    return drafts
                if self._fed.is_over:
                    return [*drafts, *taken]
            drafts += taken
        return drafts

    def _check(self) -> None:
        """Raise what the last read came upon after its drafts."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        self._fed.check()

    async def close(self) -> None:
        """Close the provider's connection, and litellm's half of the stream."""
        self._failure = None  # its traceback knows this
        await self._fed.close()
        await self._frames.aclose()
        await close(self._opened)
        await close(self._tap)  # litellm hides the response of an Anthropic stream it has begun

    async def _end(self, failure: Exception | None) -> Sequence[Draft]:
        """What litellm makes of the stream's end, or of how it went wrong."""
        self._is_at_end = True
        return [] if self._has_ended else self._told(await self._fed.finish(failure))

    async def _last(self) -> Sequence[Draft] | None:
        """After the end; a connection read to its own end is used again."""
        if self._has_ended:
            async for _ in self._frames:
                pass
        return None

    async def _judged(self, frame: bytes) -> Sequence[Draft]:
        """What litellm makes of a frame."""
        return self._told(await self._fed.feed(frame))

    def _fitted(self, frames: list[bytes]) -> list[bytes]:
        """The frames of one read as they are to be looked at."""
        return frames

    @abstractmethod
    def _take(self, frame: bytes) -> Sequence[Draft] | None:
        """The drafts of a frame that litellm need not see; None if it is to judge."""

    @abstractmethod
    def _told(self, made: Sequence[Any]) -> list[Draft]:
        """The drafts of what litellm has made."""


class DirectNative(Direct):
    """Events of a provider that speaks Responses."""

    def __init__(self, opened: Any, tap: Tap, *, report_cost: bool) -> None:
        super().__init__(opened, opened, tap)
        self._report_cost = report_cost
        self._is_heard = report_cost or client.has_listeners()

    def _take(self, frame: bytes) -> Sequence[Draft] | None:
        if self._has_ended:  # litellm, which saw no end, would take "[DONE]" for a failure
            return ()
        text = data_of(frame)
        try:
            fields: Json = orjson.loads(text)
        except orjson.JSONDecodeError:
            return None
        kind = fields.get("type")
        if not isinstance(kind, str) or self._is_its_own(kind, fields):
            return None
        self._has_ended = self._has_ended or kind in ENDS
        for name in NUMBERS:
            fields.pop(name, None)
        # Response objects are made whole by the bridge: strict clients miss what is left out.
        is_made = kind in LIFECYCLE or not is_plain(text, OWN_KEYS)
        return (Draft(kind, fields, b"" if is_made else text),)

    def _is_its_own(self, kind: str, fields: Json) -> bool:
        """Whether litellm is to see the event."""
        if kind not in LIFECYCLE:
            return kind in FAILURES or not kind.startswith("response.")
        return self._is_heard or kind in FAILURES or (kind in ENDS and not _usage_of(fields))

    async def _judged(self, frame: bytes) -> Sequence[Draft]:
        if owed := _owed(frame):
            await self._fed.feed(owed)
        return await super()._judged(frame)

    def _told(self, made: Sequence[Any]) -> list[Draft]:
        return [native_draft(event, report_cost=self._report_cost) for event in made]


class MergedChat(Direct):
    """Chunks of a provider that speaks anything else; litellm reads them, fewer of them."""

    def __init__(self, opened: Any, chunks: Any, tap: Tap, drafts: ChatDrafts) -> None:
        super().__init__(opened, chunks, tap)
        self._drafts = drafts

    def _fitted(self, frames: list[bytes]) -> list[bytes]:
        return merged(frames)

    def _take(self, _frame: bytes) -> Sequence[Draft] | None:
        return None

    async def _last(self) -> Sequence[Draft] | None:
        if self._has_ended:
            return await super()._last()
        drafts = self._drafts.finish()
        self._has_ended = True
        return drafts

    def _told(self, made: Sequence[Any]) -> list[Draft]:
        return [draft for chunk in made for draft in self._drafts.take(chunk_of(chunk))]


class DirectChat(MergedChat):
    """The same, of a dialect that is known: plain chunks are read here."""

    def __init__(
        self, opened: Any, chunks: Any, tap: Tap, reader: Plain, drafts: ChatDrafts
    ) -> None:
        super().__init__(opened, chunks, tap, drafts)
        self._reader = reader

    def _fitted(self, frames: list[bytes]) -> list[bytes]:
        return frames

    def _take(self, frame: bytes) -> Sequence[Draft] | None:
        chunk = self._reader.take(frame)
        return None if chunk is None else self._drafts.take(chunk)

    async def _judged(self, frame: bytes) -> Sequence[Draft]:
        await self._pay()
        return await super()._judged(frame)

    async def _end(self, failure: Exception | None) -> Sequence[Draft]:
        await self._pay()
        return await super()._end(failure)

    async def _pay(self) -> None:
        """Give litellm what was read here, for its books; what it makes of that was told."""
        if not self._fed.is_over and (owed := self._reader.owed()):
            await self._fed.feed(owed)


def data_of(frame: bytes) -> bytes:
    """The one line of data of a frame that has no more than that and a type; else nothing."""
    if not frame.startswith(b"data: {"):
        begin = frame.find(b"\n") + 1
        if not frame.startswith(b"event: ") or not frame.startswith(b"data: {", begin):
            found = _DATA.fullmatch(frame)
            return found[1] if found else b""
        frame = frame[begin:]
    text = frame[6:-2]
    if frame.endswith(b"}\n\n") and b"\n" not in text and b"\r" not in text:
        return text
    found = _DATA.fullmatch(frame)
    return found[1] if found else b""


def _owed(frame: bytes) -> bytes:
    """All that was said, as one delta: litellm counts it where the provider has no `usage`."""
    text = data_of(frame) if b'"output"' in frame else b""
    event = orjson.loads(text) if text else {}
    if event.get("type") not in ENDS or _usage_of(event):
        return b""
    response = event.get("response")
    output = response.get("output") if isinstance(response, dict) else None
    said = "".join(_texts(items_of(output)))
    at = {"item_id": "", "output_index": 0, "content_index": 0, "sequence_number": 0}
    delta = {"type": "response.output_text.delta", **at, "delta": said}
    return b"data: %b\n\n" % orjson.dumps(delta)


def _texts(output: list[Json]) -> Iterator[str]:
    for item in output:
        yield str(item.get("arguments") or "")
        parts = item.get("content")
        for part in parts if isinstance(parts, list) else ():
            yield str(part.get("text") or "")


def _usage_of(event: Json) -> object:
    response = event.get("response")
    return response.get("usage") if isinstance(response, dict) else None
