"""What came over the wire, beneath every client, and whether it was right.

All four clients speak WebSocket through `websockets`, and openai reads SSE through its
``SSEDecoder``: the tape listens there. It changes nothing; the clients' own handshakes, frames and
parsers run as they are.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from clients import strict
from clients.turns import CREATED, Turn
from openai._streaming import ServerSentEvent, SSEDecoder
from websockets.asyncio.connection import Connection as AsyncConnection
from websockets.sync.connection import Connection as SyncConnection

Json = dict[str, Any]
DONE = "[DONE]"


@dataclass
class Socket:
    """One connection's frames in both directions. It keeps its owner, so that ids stay unique."""

    owner: object
    sent: list[Json] = field(default_factory=list)
    received: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Every frame is strictly valid, and every lane is a sequence of whole turns."""
        lanes: dict[str | None, Turn] = {}
        for text in self.received:
            event = json.loads(text)
            strict.check_event(strict.SOCKET, event, text)
            assert event.get("stream_id", "") is not None, f"stream_id null: {text[:300]}"
            if event["type"] == "error":
                _check_error(event)
                open_turn = lanes.get(event.get("stream_id"))
                assert open_turn is None or open_turn.ended, f"after created: {event}"
            elif not event["type"].startswith("response.steer."):
                _turn_of(lanes, event).take(event)


@dataclass
class SseStream:
    """One SSE body: its events, and whether it was read to its end."""

    events: list[ServerSentEvent] = field(default_factory=list)
    exhausted: bool = False

    def check(self) -> None:
        """Names equal types, everything is strictly valid, ``[DONE]`` is last."""
        data = [sse.data for sse in self.events]
        assert DONE not in data[:-1], "[DONE] before the end"
        assert not self.exhausted or data[-1:] == [DONE], f"ended without [DONE]: {data[-1:]}"
        turn = Turn()
        for sse in self.events[: -1 if data[-1:] == [DONE] else None]:
            event = json.loads(sse.data)
            assert (sse.event, sse.id) == (event["type"], None), sse
            strict.check_event(strict.SSE, event, sse.data)
            # A resumed stream starts in the middle: its order is its test's business.
            if turn.events or event["type"] == CREATED:
                turn.take(event)


def _turn_of(lanes: dict[str | None, Turn], event: Json) -> Turn:
    lane = event.get("stream_id")
    if lane not in lanes or (lanes[lane].ended and event["type"] == CREATED):
        lanes[lane] = Turn()
    return lanes[lane]


def _check_error(event: Json) -> None:
    """The envelope that all clients understand: nested, integer status, a code, no number."""
    assert isinstance(event["status"], int), event
    assert event["error"]["code"], event
    assert event["error"]["message"], event
    assert "sequence_number" not in event, event


class Tape:
    """All sockets and SSE streams of one test."""

    def __init__(self) -> None:
        self.on_sent: Callable[[], object] = lambda: None  # called after each frame sent
        self._sockets: dict[int, Socket] = {}
        self.streams: list[SseStream] = []

    @property
    def sockets(self) -> list[Socket]:
        return list(self._sockets.values())

    def check(self) -> None:
        for part in (*self.sockets, *self.streams):
            part.check()

    def attach(self, patch: pytest.MonkeyPatch) -> None:
        self._listen_async(patch)
        self._listen_sync(patch)
        self._listen_sse(patch)

    def _socket(self, owner: object) -> Socket:
        return self._sockets.setdefault(id(owner), Socket(owner))

    def _received(self, owner: object, message: str | bytes) -> None:
        text = message if isinstance(message, str) else message.decode()
        self._socket(owner).received.append(text)

    def _sent(self, owner: object, message: str | bytes) -> None:
        self._socket(owner).sent.append(json.loads(message))

    def _listen_async(self, patch: pytest.MonkeyPatch) -> None:
        receive, transmit = AsyncConnection.recv, AsyncConnection.send

        async def recv(connection: AsyncConnection, *args: Any, **kwargs: Any) -> str | bytes:
            message = await receive(connection, *args, **kwargs)
            self._received(connection, message)
            return message

        async def send(connection: AsyncConnection, message: Any, *args: Any) -> None:
            self._sent(connection, message)
            await transmit(connection, message, *args)
            self.on_sent()

        patch.setattr(AsyncConnection, "recv", recv)
        patch.setattr(AsyncConnection, "send", send)

    def _listen_sync(self, patch: pytest.MonkeyPatch) -> None:
        receive, transmit = SyncConnection.recv, SyncConnection.send

        def recv(connection: SyncConnection, *args: Any, **kwargs: Any) -> str | bytes:
            message = receive(connection, *args, **kwargs)
            self._received(connection, message)
            return message

        def send(connection: SyncConnection, message: Any, *args: Any) -> None:
            self._sent(connection, message)
            transmit(connection, message, *args)
            self.on_sent()

        patch.setattr(SyncConnection, "recv", recv)
        patch.setattr(SyncConnection, "send", send)

    def _listen_sse(self, patch: pytest.MonkeyPatch) -> None:
        decode, adecode = SSEDecoder.iter_bytes, SSEDecoder.aiter_bytes

        def iter_bytes(decoder: SSEDecoder, body: Iterator[bytes]) -> Iterator[ServerSentEvent]:
            stream = self._sse_stream()
            for sse in decode(decoder, body):
                stream.events.append(sse)
                yield sse
            stream.exhausted = True

        async def aiter_bytes(
            decoder: SSEDecoder, body: AsyncIterator[bytes]
        ) -> AsyncIterator[ServerSentEvent]:
            stream = self._sse_stream()
            async for sse in adecode(decoder, body):
                stream.events.append(sse)
                yield sse
            stream.exhausted = True

        patch.setattr(SSEDecoder, "iter_bytes", iter_bytes)
        patch.setattr(SSEDecoder, "aiter_bytes", aiter_bytes)

    def _sse_stream(self) -> SseStream:
        self.streams.append(SseStream())
        return self.streams[-1]
