"""A real server on a loopback socket, with a scripted upstream behind it."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
import uvloop
from aiohttp import web
from support import long_limits
from support.hang import HANG_SECONDS
from support.scripted_upstream import Scripted
from support.turned_loop import TurnedLoop

from ws_bridge.config import Config, Settings
from ws_bridge.server.app import Bridge
from ws_bridge.server.transport.listener import Listener, serve_on

MODELS = (
    {"name": "m", "model": "openai/m"},
    {"name": "claude-*", "model": "anthropic/claude-*"},
    {"name": "off", "model": "openai/off", "api_key_env": "NO_SUCH_KEY"},
)


def pytest_asyncio_loop_factories(item):
    """The transport is tested in the loop that serves in production, all else in `TurnedLoop`."""
    if item.path.name == "test_transport.py":
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": TurnedLoop}


class Running:
    """A started bridge and a client session to it."""

    def __init__(
        self,
        bridge: Bridge,
        url: str,
        session: aiohttp.ClientSession,
        listener: Listener,
    ) -> None:
        self.bridge = bridge
        self.url = url
        self.session = session
        self.listener = listener
        self.stop = listener.close

    async def post(self, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
        async with self.session.post(self.url + path, json=body or None) as answer:
            return answer.status, await answer.json()

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        async with self.session.get(self.url + path) as answer:
            return answer.status, await answer.json()

    async def delete(self, path: str) -> tuple[int, dict[str, Any]]:
        async with self.session.delete(self.url + path) as answer:
            return answer.status, await answer.json()

    async def json(
        self, method: str, path: str, key: str, **body: Any
    ) -> tuple[int, dict[str, Any]]:
        """With a client key."""
        asked = {"json": body or None, "headers": {"Authorization": f"Bearer {key}"}}
        async with self.session.request(method, self.url + path, **asked) as answer:
            return answer.status, await answer.json()

    async def connect(self, **options: Any) -> "Client":
        ws = await self.session.ws_connect(self.url + "/v1/responses", max_msg_size=0, **options)
        return Client(ws)


class Client:
    """One WebSocket."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws

    async def create(self, **fields: Any) -> None:
        await self.ws.send_json({"type": "response.create", "model": "m", **fields})

    async def event(self) -> dict[str, Any]:
        return await self.ws.receive_json(timeout=HANG_SECONDS)

    async def until(self, *kinds: str) -> list[dict[str, Any]]:
        events = [await self.event()]
        while events[-1]["type"] not in kinds:
            events.append(await self.event())
        return events

    async def turn(self, **fields: Any) -> list[dict[str, Any]]:
        await self.create(**fields)
        return await self.until(
            "response.completed", "response.failed", "response.incomplete", "error"
        )


async def started(
    upstream: Scripted | None,
    config: dict[str, Any] | None = None,
    environ: dict[str, str] | None = None,
    **parts: Any,
) -> Running:
    """A bridge that serves; without ``upstream`` it asks real providers."""
    sections = long_limits.config({"models": MODELS, **(config or {})})
    settings = Config.model_validate(sections, strict=False)
    bridge = Bridge(Settings(settings, environ or {}), upstream=upstream, **parts)
    runner = web.AppRunner(bridge.app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", 0))
    listener = await serve_on(runner, [listening], settings)
    bridge.force.set()  # the end of a test waits for no client
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    return Running(bridge, url, aiohttp.ClientSession(), listener)


Serve = Callable[..., Awaitable[Running]]


@pytest.fixture
async def serve(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Serve]:
    """A function that starts a bridge; all of them end with the test.

    Where the test does not say how long something may take, it may take long.
    """
    for home, name, value in long_limits.found(long_limits.CONSTANTS):
        monkeypatch.setattr(home, name, value)
    ends: list[Callable[[], Awaitable[None]]] = []

    async def start(*given: Any, **parts: Any) -> Running:
        running = await started(*given, **parts)
        ends.extend((running.stop, running.session.close))
        return running

    yield start
    for end in reversed(ends):
        await end()
