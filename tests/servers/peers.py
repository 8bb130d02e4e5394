"""Clients of bridge servers in processes of their own: raw texts, as they came over the wire.

Rule: what is compared between two servers is bytes; nothing is parsed and written anew first.
"""

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
from support.fleet import Bridge, models_for
from support.hang import HANG_SECONDS
from support.redis_servers import Node
from upstreams import FakeProviders

from ws_bridge.store.redis.keys import keys_of

Json = dict[str, Any]

KEY, OTHER_KEY = "client-key-one", "client-key-two"
STEP_SECONDS = 0.03
DATA = b"data: "
DONE = b"[DONE]"
TERMINALS = ("response.completed", "response.failed", "response.incomplete", "error")

# How the models of a family are called at the provider.
AT_PROVIDER = {"native": "gpt-", "chat": "m-", "anthropic": "claude-", "own": "gpt-"}

LEASE_SECONDS = 20  # no server is starved for so long; a test lets a lease run out by hand
END_WAITS = 0.7  # an end, for a store that is away
CLIENT_KEYS = {"CLIENT_KEYS": f"{KEY},{OTHER_KEY}"}


def config_of(fake: FakeProviders, url: str) -> dict[str, Any]:
    """Short drains; ``own-*`` is the provider's own background mode."""
    models = models_for(fake)
    return {
        "server": {"drain_seconds": 0.2},
        "auth": {"keys_env": list(CLIENT_KEYS)},
        "store": {"url": url, "lease_seconds": LEASE_SECONDS, "end_waits_seconds": END_WAITS},
        "background": {"native_models": ["own-*"]},
        "models": [*models, {**models[0], "name": "own-*"}],
    }


def at_provider(model: str) -> str:
    """The provider's name of one of our clients' models: where its gate is."""
    family, _, scenario = model.partition("-")
    return AT_PROVIDER[family] + scenario


def terminal_of(text: bytes | str) -> Json | None:
    """The event, if nothing comes after it."""
    event: Json = json.loads(text)
    return event if event["type"] in TERMINALS else None


@dataclass
class Heard:
    """The frames of one socket, in order, and when each came (monotonic)."""

    texts: list[bytes] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def add(self, text: bytes) -> None:
        self.texts.append(text)
        self.times.append(time.monotonic())

    @property
    def last(self) -> Json:
        event: Json = json.loads(self.texts[-1])
        return event

    @property
    def is_over(self) -> bool:
        return bool(self.texts) and terminal_of(self.texts[-1]) is not None

    @property
    def id(self) -> str:
        return str(json.loads(self.texts[0])["response"]["id"])

    def largest_pause(self, since: float) -> float:
        """Seconds between two events, at most, of those that came after a time (monotonic)."""
        times = [when for when in self.times if when >= since]
        return max(later - sooner for sooner, later in itertools.pairwise(times))


class Turn:
    """A turn on a socket of its own; ``heard`` grows as it is read."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self.heard = Heard()

    async def read(self, *, until: int | str = "") -> Heard:
        """Up to the end, to an event of a type, or to so many events in all."""
        while not self._has(until):
            message = await self._socket.receive(timeout=HANG_SECONDS)
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise ConnectionError(message.type)
            self.heard.add(message.data.encode())
        return self.heard

    async def say(self, **frame: Any) -> None:
        await self._socket.send_json(frame)

    def _has(self, until: int | str) -> bool:
        if isinstance(until, int):
            return len(self.heard.texts) >= until
        if not self.heard.texts:
            return False
        return self.heard.is_over or self.heard.last["type"] == until


class Peer:
    """One client of one server, with one key; an async context manager."""

    def __init__(self, bridge: Bridge, key: str = KEY, *, comes_back: bool = False) -> None:
        """Who comes back is told by 503 to ask again, and does: the store is away for a moment."""
        self.bridge = bridge
        self._comes_back = comes_back
        headers = {"Authorization": f"Bearer {key}"}
        timeout = aiohttp.ClientTimeout(total=HANG_SECONDS)
        connector = aiohttp.TCPConnector(limit=0, force_close=True)  # servers come and go
        self.session = aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def begin(self, model: str, **fields: Any) -> Turn:
        """Start a turn on a new socket."""
        socket = await self.session.ws_connect(self.bridge.ws_url, max_msg_size=0)
        create = {"type": "response.create", "model": model, "input": "hi", **fields}
        await socket.send_json(create)
        return Turn(socket)

    async def turn(self, model: str, **fields: Any) -> Heard:
        """A whole turn."""
        return await (await self.begin(model, **fields)).read()

    async def ask(self, method: str, path: str = "", **body: Any) -> tuple[int, Json, Any]:
        """Status, answer and headers of a request below ``/v1/responses``."""
        url = f"{self.bridge.url}/v1/responses{path}"
        while True:
            async with self.session.request(method, url, json=body or None) as answer:
                if not (self._comes_back and answer.status == 503):
                    return answer.status, await answer.json(), answer.headers
            await asyncio.sleep(STEP_SECONDS)

    async def get(self, path: str) -> tuple[int, Json]:
        status, body, _ = await self.ask("GET", f"/{path}")
        return status, body

    async def status(self, path: str) -> int:
        """Of a GET beside the API."""
        async with self.session.get(self.bridge.url + path) as answer:
            return answer.status

    async def background(self, model: str) -> str:
        """The id of a background response that was begun over HTTP."""
        status, body, _ = await self.ask("POST", model=model, input="hi", background=True)
        assert (status, body["status"]) == (200, "queued"), body
        return str(body["id"])

    async def ended(self, response_id: str) -> Json:
        """The response when it has ended; polled, as clients do."""
        async with asyncio.timeout(HANG_SECONDS):
            while True:
                status, body = await self.get(response_id)
                assert status == 200, body
                if body["status"] not in ("queued", "in_progress"):
                    return body
                await asyncio.sleep(STEP_SECONDS)

    async def events(self, response_id: str, after: int = -1) -> list[bytes]:
        """All data lines of a replay that is followed to its end."""
        async with self.following(response_id, after) as lines:
            return [line async for line in lines]

    @contextlib.asynccontextmanager
    async def following(
        self, response_id: str, after: int = -1
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The data lines of a replay, as they come; attached when this is entered."""
        query = f"?stream=true&starting_after={after}"
        url = f"{self.bridge.url}/v1/responses/{response_id}{query}"
        async with contextlib.AsyncExitStack() as ends:
            answer = await ends.enter_async_context(self.session.get(url))
            while self._comes_back and answer.status == 503:
                await asyncio.sleep(STEP_SECONDS)
                answer = await ends.enter_async_context(self.session.get(url))
            assert answer.status == 200, await answer.text()
            yield _data(answer)


async def _data(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Each data line but the last, which says that nothing was cut off."""
    buffer = b""
    async for chunk in answer.content.iter_any():
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            if line == DATA + DONE:
                return
            if line.startswith(DATA):
                yield line.removeprefix(DATA)
    raise ConnectionError("the stream ended without [DONE]")


async def until(is_true: Any) -> None:
    """Return when an awaited question is answered with yes. Raises ``TimeoutError``."""
    async with asyncio.timeout(HANG_SECONDS):
        while not await is_true():  # noqa: ASYNC110 - asks a server
            await asyncio.sleep(STEP_SECONDS)


def expire(node: Node, *ids: str) -> None:
    """Let the leases of responses run out, as if their server had been silent for so long."""
    for response_id in ids:
        keys = keys_of(response_id)
        node.cli("HSET", keys.meta, "lx", "0")
        node.cli("ZADD", keys.leases, "XX", "0", response_id)


async def next_of(lines: AsyncIterator[bytes], count: int) -> list[bytes]:
    """So many lines of what goes on."""
    return [await anext(lines) for _ in range(count)]


async def read_to(lines: AsyncIterator[bytes], kind: str) -> list[bytes]:
    """What goes on, up to an event of a type."""
    read = [await anext(lines)]
    while json.loads(read[-1])["type"] != kind:
        read.append(await anext(lines))
    return read


async def knows_the_end(peer: Peer, response_id: str) -> bool:
    """Whether the response has ended, as far as this server can say now."""
    status, body = await peer.get(response_id)
    return status == 200 and body["status"] not in ("queued", "in_progress")


def text_of(response: Json) -> str:
    """All that the response says."""
    parts = (part for item in response["output"] for part in item.get("content", ()))
    return "".join(part.get("text", "") for part in parts)
