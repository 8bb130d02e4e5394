"""A client that keeps one chain of turns going, whatever becomes of its connections.

It does what docs/operations.md tells clients to do: reconnect with a pause, resume with
``starting_after``, send a create again of which it never heard. Texts are kept as they came over
the wire.
"""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import ClassVar

import aiohttp
from support.hang import HANG_SECONDS

COMPLETED = "response.completed"
TERMINALS = (COMPLETED, "response.failed", "response.incomplete")
COME_BACK = ("server_draining", "store_unavailable")
COME_BACK_STATUSES = (502, 503, 504)  # of a server that drains, and of a proxy without servers
PAUSE_SECONDS = 0.25
DATA = b"data: "
DONE = b"[DONE]"
GONE = (aiohttp.ClientError, ConnectionError)


class Again(Exception):
    """Nothing is known of the create: it is sent again."""


class Broken(Exception):
    """The chain cannot go on; its faults say why."""


@dataclass
class Turn:
    """One response, as its client saw it."""

    said: str
    previous: str | None
    texts: list[bytes] = field(default_factory=list)
    id: str = ""
    number: int = -1  # of the last event
    end: str = ""  # the last event's type, if it ends the response
    resumed: int = 0

    def add(self, text: bytes) -> None:
        event = json.loads(text)
        self.texts.append(text)
        self.id = self.id or event["response"]["id"]
        self.number = event["sequence_number"]
        self.end = event["type"] if event["type"] in TERMINALS else ""

    @property
    def is_whole(self) -> bool:
        """Whether the numbers are those from 0 on, and one end is the last."""
        events = [json.loads(text) for text in self.texts]
        ends = [event["type"] in TERMINALS for event in events]
        numbers = [event["sequence_number"] for event in events]
        return numbers == list(range(len(events))) and ends.index(True) == len(ends) - 1

    def is_as_seen(self, replayed: list[bytes]) -> bool:
        """Whether what servers say of it afterwards is what its client saw."""
        return replayed == self.texts


@dataclass
class Chain:
    """``run`` takes turns until it is enough; ``faults`` are what must never be."""

    turn_type: ClassVar[type[Turn]] = Turn
    keyed: ClassVar[bool] = False  # whether its creates have idempotency keys
    url: str
    model: str
    session: aiohttp.ClientSession
    turns: list[Turn] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    closes: Counter[int | str] = field(default_factory=Counter)
    repeats: int = 0
    refusals: Counter[int | str] = field(default_factory=Counter)  # "come back", by status or code
    longest: float = 0.0  # between two events of one response, or a create and its first
    _ws: aiohttp.ClientWebSocketResponse | None = None

    async def run(self, enough: asyncio.Event) -> None:
        try:
            while not enough.is_set():
                async with asyncio.timeout(HANG_SECONDS):
                    self.turns.append(await self._turn())
                await asyncio.sleep(random.random() * PAUSE_SECONDS)  # noqa: S311 - desynchronises
        except TimeoutError:
            self.faults.append(f"{self.model}: a turn never ended")
        except Broken as broken:
            self.faults.append(str(broken))
        finally:
            if self._ws is not None:
                await self._ws.close()

    async def _turn(self) -> Turn:
        done = [turn for turn in self.turns if turn.end == COMPLETED]
        turn = self.turn_type(f"turn {len(self.turns)}", done[-1].id if done else None)
        while not turn.end:
            try:
                await self._read_on(turn)
            except (Again, *GONE):
                await asyncio.sleep(PAUSE_SECONDS * (0.5 + random.random()))  # noqa: S311 - as above
        if not turn.is_whole and turn.end == COMPLETED:
            self.faults.append(f"{self.model}: {turn.id} is not whole")
        return turn

    async def _read_on(self, turn: Turn) -> None:
        """From where it stands: a new create, or the rest of what was begun."""
        clock = time.monotonic()
        async with aclosing(self._rest(turn) if turn.texts else self._created(turn)) as texts:
            async for text in texts:
                self.longest = max(self.longest, time.monotonic() - clock)
                clock = time.monotonic()
                turn.add(text)
                if turn.end:
                    return

    async def _created(self, turn: Turn) -> AsyncGenerator[bytes, None]:
        if self._ws is None or self._ws.closed:
            self._ws = await self._connect()
        create = {"type": "response.create", "model": self.model, "input": turn.said}
        try:
            await self._ws.send_json(create | {"previous_response_id": turn.previous})
            async for message in self._ws:
                if message.type is aiohttp.WSMsgType.TEXT:
                    yield self._checked(message.data.encode())
        finally:
            if not turn.end:
                self.closes[self._ws.close_code or "cut"] += 1
                self.repeats += not turn.texts
                await self._ws.close()

    async def _connect(self) -> aiohttp.ClientWebSocketResponse:
        try:
            return await self.session.ws_connect(f"{self.url}/v1/responses", max_msg_size=0)
        except aiohttp.WSServerHandshakeError as refused:
            self.refusals[refused.status] += 1
            raise

    def _checked(self, text: bytes) -> bytes:
        event = json.loads(text)
        if event["type"] == "error":
            code = event["error"]["code"]
            if code not in COME_BACK:
                raise Broken(f"{self.model}: {code}: {event['error']['message']}")
            self.refusals[code] += 1
            raise Again
        return text

    async def _rest(self, turn: Turn) -> AsyncGenerator[bytes, None]:
        turn.resumed += 1
        after = turn.number
        async for line in self.replay(turn.id, after):
            yield line

    async def replay(self, response_id: str, after: int = -1) -> AsyncGenerator[bytes, None]:
        """What the servers say of the response, followed to its end."""
        path = f"/v1/responses/{response_id}?stream=true&starting_after={after}"
        async with self.session.get(self.url + path) as answer:
            await self._accepted(answer)
            async with aclosing(events_of(answer)) as texts:
                async for text in texts:
                    yield text

    async def _accepted(self, answer: aiohttp.ClientResponse) -> None:
        """Return if it is a 200. Raises ``Again`` where the server says so."""
        if answer.status in COME_BACK_STATUSES:
            self.refusals[answer.status] += 1
            raise Again
        if answer.status != 200:
            text = await answer.text()
            raise Broken(f"{self.model}: {answer.method} is answered with {answer.status}: {text}")


async def events_of(answer: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """The events of a stream, as they came, up to its end."""
    buffer = b""
    async for chunk in answer.content.iter_any():
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            if line == DATA + DONE:
                return
            if line.startswith(DATA):
                yield line.removeprefix(DATA)
