"""Clients whose sockets are cut before and after ``created``, and who send their creates again.

A client does what docs/protocol.md (8.1, 8.3) tells it: a key for each create, the same create with
the same key on a new connection, to any server, until its answer is whole. A response that failed
with its server is asked for once more, with another key.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from support.hang import HANG_SECONDS

Json = dict[str, Any]

COMPLETED, FAILED = "response.completed", "response.failed"
TERMINALS = (COMPLETED, FAILED, "response.incomplete")
# When a socket is cut: as soon as the create is sent, a moment later, or after so many events.
CUTS: tuple[float, ...] = (0.0, 0.01, 0.05, 1, 2, 5)
PAUSE_SECONDS = 0.05
COME_BACK = ("server_draining", "store_unavailable")
GONE = (aiohttp.ClientError, ConnectionError)


@dataclass
class Create:
    """One create, as its client saw it over all its connections."""

    key: str
    text: str  # its input, by which the provider's requests are counted
    attempts: list[list[bytes]] = field(default_factory=list)  # the events of each connection

    @property
    def whole(self) -> list[bytes]:
        """The events of the last connection: all of the response."""
        return self.attempts[-1]

    @property
    def end(self) -> Json:
        found: Json = json.loads(self.whole[-1])
        return found

    def faults(self) -> list[str]:
        """What must not be."""
        events = [json.loads(text) for text in self.whole]
        found = []
        if [event["sequence_number"] for event in events] != list(range(len(events))):
            found.append(f"{self.key}: its numbers have holes")
        if events[0]["type"] != "response.created" or events[-1]["type"] not in TERMINALS:
            found.append(f"{self.key}: it is not whole")
        if len({event["response"]["id"] for event in events if "response" in event}) != 1:
            found.append(f"{self.key}: it has two ids")
        # A socket may be ahead of the log of a server that dies (docs/protocol.md §9).
        known = self.whole if self.end["type"] == COMPLETED else self.whole[:1]
        differing = [one for one in self.attempts if one[: len(known)] != known[: len(one)]]
        return found + [f"{self.key}: a connection saw other events" for _ in differing]


@dataclass
class Clients:
    """``run`` has so many creates made, some at a time; ``done`` has all that ended."""

    urls: Sequence[str]
    model: str
    session: aiohttp.ClientSession
    dice: random.Random
    done: list[Create] = field(default_factory=list)
    cuts: Counter[str] = field(default_factory=Counter)

    async def run(self, count: int, at_once: int) -> None:
        free = asyncio.Semaphore(at_once)

        async def one(number: int) -> None:
            async with free, asyncio.timeout(HANG_SECONDS):
                await self._made(number)

        async with asyncio.TaskGroup() as tasks:
            for number in range(count):
                tasks.create_task(one(number))

    async def _made(self, number: int) -> None:
        """One create, until its answer is whole and has not failed."""
        for again in range(3):
            create = Create(f"key-{number}-{again}", f"create {number} {again}")
            for _ in range(self.dice.randint(1, 3) if not again else 0):
                await self._try(create, self.dice.choice(CUTS))
            while not create.attempts or not _has_ended(create.whole):
                await asyncio.sleep(PAUSE_SECONDS)
                await self._try(create, None)
            self.done.append(create)
            if create.end["type"] != FAILED:
                return

    async def _try(self, create: Create, cut: float | None) -> None:
        """A connection of its own, cut off or read to its end; what came is kept."""
        texts: list[bytes] = []
        create.attempts.append(texts)
        url = self.dice.choice(self.urls)
        frame = {"type": "response.create", "model": self.model, "input": create.text}
        try:
            async with self.session.ws_connect(url, max_msg_size=0) as ws:
                await ws.send_json(frame | {"idempotency_key": create.key})
                if isinstance(cut, float):
                    await asyncio.sleep(cut)
                    self._cut(ws, "before created, or soon after")
                    return
                async for message in ws:
                    if message.type is not aiohttp.WSMsgType.TEXT:
                        continue
                    event = json.loads(message.data)
                    if event["type"] == "error":
                        code = event["error"]["code"]
                        assert code in COME_BACK, event
                        del texts[:]
                        return
                    texts.append(message.data.encode())
                    if event["type"] in TERMINALS:
                        return
                    if len(texts) == cut:
                        self._cut(ws, "after created")
                        return
        except GONE:
            pass  # it is down, or goes down: the next connection is to another worker
        self.cuts["by the server"] += 1

    def _cut(self, ws: aiohttp.ClientWebSocketResponse, when: str) -> None:
        """As a lost network does: without a close frame."""
        self.cuts[when] += 1
        connection = ws._response.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()


def _has_ended(texts: list[bytes]) -> bool:
    return bool(texts) and json.loads(texts[-1])["type"] in TERMINALS


def asked(log: Sequence[Json]) -> Counter[str]:
    """How often a provider was asked for each text, by its log."""
    return Counter(_input_of(entry["body"]) for entry in log if isinstance(entry["body"], dict))


def _input_of(body: Json) -> str:
    items = body.get("input", body.get("messages"))
    if isinstance(items, str):
        return items
    content = items[-1]["content"] if items else ""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def audit(done: Sequence[Create], log: Sequence[Json]) -> list[str]:
    """What must not be: creates that were made twice, or not at all; answers that are not whole."""
    found = [fault for create in done for fault in create.faults()]
    counts = asked(log)
    for create in done:
        # A server that dies before it has asked leaves a failed response.
        least = 1 if create.end["type"] == COMPLETED else 0
        if not least <= counts[create.text] <= 1:
            found.append(f"{create.key}: its provider was asked {counts[create.text]} times")
    if strangers := counts.keys() - {create.text for create in done}:
        found.append(f"nobody has an answer to {sorted(strangers)}")
    return found
