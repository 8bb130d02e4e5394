"""Loopback providers, bridges, and one client that asks in step with its provider.

Rule: a delta leaves the provider when all who read the response have the one before it, so that no
two deltas are ever read, written or stored together.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from support.fleet import models_for
from support.hang import HANG_SECONDS
from support.redis_servers import Node, valkey_binary
from upstreams.sockets import FakeSockets

from ways.entry import HOUSE, Served, served
from ways.recorder import Entered, Happened, Recorder

CLIENT, PROVIDER, STORE, OTHER = "client", "provider", "store", "other"
DELTA = "response.output_text.delta"
END = "response.completed"
DATA = b"data: "
SELDOM_MS = 60_000  # no tick of the mirror falls in a way: what is followed is written at once


@dataclass(frozen=True)
class Family:
    """How a provider is spoken to; ``first`` is the number of its first delta's event.

    After so many ``warm_ups`` the bridge opens no more connections to the provider.
    """

    name: str
    title: str
    prefix: str
    first: int
    warm_ups: int = 1


CHAT = Family("chat", "chat", "m-", 2)
ANTHROPIC = Family("anthropic", "Anthropic", "claude-", 4)
RESPONSES = Family("responses", "Responses over HTTP", "gpt-", 5)
NATIVE = Family("native", "Responses over WebSocket", "gpt-", 5, warm_ups=12)
ALL = (CHAT, ANTHROPIC, RESPONSES, NATIVE)


@dataclass(frozen=True)
class Told:
    """What a bridge's thread did in one turn.

    ``opening`` is all up to the first delta at the client, ``steady`` all after it but for what
    follows the last delta at the client.
    """

    opening: list[Happened]
    steady: list[Happened]
    closing: list[Happened]

    @property
    def calls(self) -> int:
        """Of the project's functions, in the whole turn."""
        parts = (self.opening, self.steady, self.closing)
        return sum(
            isinstance(each, Entered) and not each.is_resumed for part in parts for each in part
        )


class Field:
    """All of it; one turn at a time."""

    def __init__(
        self,
        fake: FakeSockets,
        node: Node | None,
        bridges: tuple[Served, ...],
        session: aiohttp.ClientSession,
    ) -> None:
        self._fake = fake
        self._bridges = bridges
        self._session = session
        ports = {int(fake.base_url.rpartition(":")[2]): PROVIDER}
        self._ports = ports | ({node.port: STORE} if node else {})
        self._own_ports = {bridge.port for bridge in bridges}
        self._recorders = [Recorder(HOUSE, self._peer) for _ in bridges]
        self._socket: aiohttp.ClientWebSocketResponse | None = None

    async def turn(self, family: Family, deltas: int) -> list[Told]:
        """Ask the first bridge for so many deltas; the second one, if any, is read from too.

        What each of them did.
        """
        gates = "".join(f"gate{family.first + number}" for number in range(deltas + 1))
        scenario = f"{gates}big{deltas}"
        self._fake.reset()
        client = self._socket = self._socket or await self._connect()
        async with self._recording():
            model = f"{family.name}-{scenario}"
            await client.send_json({"type": "response.create", "model": model, "input": "hi"})
            # A response is known to its client when its provider has said something.
            self._fake.release(family.prefix + scenario, 1)
            created = await _received(client, "response.created")
            await _received(client, DELTA)
            async with self._following(created["response"]["id"]) as follower:
                parts = [self._taken()]
                for number in range(2, deltas + 2):
                    if number > deltas:
                        parts.append(self._taken())
                    self._fake.release(family.prefix + scenario, number)
                    wanted = DELTA if number <= deltas else END
                    await _received(client, wanted)
                    await _until(follower, wanted)
        return [Told(*of_one) for of_one in zip(*parts, self._taken(), strict=True)]

    def _taken(self) -> list[list[Happened]]:
        return [recorder.taken() for recorder in self._recorders]

    async def _connect(self) -> aiohttp.ClientWebSocketResponse:
        return await self._session.ws_connect(self._bridges[0].url + "/v1/responses")

    @contextlib.asynccontextmanager
    async def _recording(self) -> AsyncIterator[None]:
        # What the garbage collector finds would be closed amid somebody's way.
        gc.collect()
        gc.disable()
        try:
            for bridge, recorder in zip(self._bridges, self._recorders, strict=True):
                await bridge.profile(recorder)
            yield
            for bridge in self._bridges:
                await bridge.profile(None)
        finally:
            gc.enable()

    @contextlib.asynccontextmanager
    async def _following(self, response_id: str) -> AsyncIterator[AsyncIterator[str] | None]:
        """The types of the response's events at the second bridge, if there is one."""
        if len(self._bridges) == 1:
            yield None
            return
        url = f"{self._bridges[1].url}/v1/responses/{response_id}?stream=true"
        async with self._session.get(url) as answer:
            assert answer.status == 200, await answer.text()
            types = _types(answer)
            await _until(types, DELTA)
            yield types

    def _peer(self, connection: socket.socket) -> str:
        try:
            own, other = connection.getsockname(), connection.getpeername()
        except OSError:
            return OTHER
        if not isinstance(own, tuple) or len(own) < 2 or len(other) < 2:
            return OTHER  # the pipe that wakes a loop
        return CLIENT if own[1] in self._own_ports else self._ports.get(other[1], OTHER)


async def _received(client: aiohttp.ClientWebSocketResponse, wanted: str) -> dict[str, Any]:
    """The next event of this type."""
    while True:
        event: dict[str, Any] = orjson.loads(await client.receive_str(timeout=HANG_SECONDS))
        assert event["type"] not in ("error", "response.failed"), event
        if event["type"] == wanted:
            return event


async def _types(answer: aiohttp.ClientResponse) -> AsyncIterator[str]:
    async for line in answer.content:
        if line.startswith(DATA) and line.strip() != DATA + b"[DONE]":
            yield orjson.loads(line.removeprefix(DATA))["type"]


async def _until(follower: AsyncIterator[str] | None, wanted: str) -> None:
    if follower is not None:
        while await anext(follower) != wanted:
            pass


@contextlib.contextmanager
def _node(is_shared: bool) -> Iterator[Node | None]:
    if not is_shared:
        yield None
        return
    with Node(valkey_binary()) as node:
        yield node


@contextlib.asynccontextmanager
async def field(*, is_shared: bool) -> AsyncIterator[Field]:
    """One bridge that keeps its responses in memory; or two of them, on one store."""
    with contextlib.ExitStack() as ends:
        fake = ends.enter_context(FakeSockets())
        node = ends.enter_context(_node(is_shared))
        url = {"url": node.url} if node else {}
        sections = {"models": _models(fake), "store": {"flush_ms": SELDOM_MS, **url}}
        count = 2 if is_shared else 1
        started = [
            await asyncio.to_thread(ends.enter_context, served(sections)) for _ in range(count)
        ]
        timeout = aiohttp.ClientTimeout(total=HANG_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            yield Field(fake, node, tuple(started), session)


def _models(fake: FakeSockets) -> list[dict[str, Any]]:
    long = {"timeout_seconds": HANG_SECONDS, "stall_seconds": HANG_SECONDS}
    native, *others = models_for(fake, **long)  # in this order
    over_http = {**native, "name": "responses-*", "mode": "managed"}
    return [{**native, "mode": "native"}, over_http, *others]
