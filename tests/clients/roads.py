"""Two servers on one store, the ways to them, and what their providers were asked.

The loops of agents go along these roads: `test_agent_loops.py`, and `tests/real/test_ai_sdk.py`.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from clients.loops import Way
from clients.servers import ENVIRONMENT, FAMILIES, Family, config, run
from clients.tape import Tape
from support import fleet
from support.redis_servers import Node, valkey_binary
from support.tcp_proxy import Proxy
from upstreams.sockets import FakeSockets

Json = dict[str, Any]

GEMINI = Family("gemini", "gemini/gemini-", "/v1beta")
SOCKET = Family("socket", "openai/", "/v1")  # the provider's own WebSocket
AGENT_FAMILIES = (*FAMILIES, GEMINI, SOCKET)
MODES = {"native": "managed", "socket": "native"}
# What each family runs itself in the first turn.
HOSTED = {
    **dict.fromkeys(("native", "socket", "claude"), "web_search"),
    "gemini": "code_interpreter",
    "chat": "",
}
# Whether a client names the previous response, and whether it is stored.
HISTORIES = {
    "chained": (True, True),
    "unstored": (True, False),
    "resent": (False, False),
    "referred": (False, True),
}
# Whether a client speaks HTTP, is answered by a stream, and moves to another server at each tool.
WAYS = {
    "socket": (False, True, False),
    "elsewhere": (False, True, True),
    "http": (True, True, False),
    "http-elsewhere": (True, True, True),
    "whole": (True, False, False),
}

Pair = tuple[fleet.Bridge, fleet.Bridge]


@contextmanager
def providers() -> Iterator[FakeSockets]:
    """The providers, which tell what they were asked wrongly in the end."""
    with FakeSockets() as running:
        yield running
    assert running.violations == []


@contextmanager
def two_servers(fake: FakeSockets) -> Iterator[Pair]:
    """Two servers on one store."""
    with ExitStack() as ends:
        node = ends.enter_context(Node(valkey_binary()))
        models = [
            entry | {"mode": MODES.get(family.name, "auto")}
            for family in AGENT_FAMILIES
            for entry in family.entries(fake.base_url)
        ]
        shared = config(fake.base_url) | {"models": models, "store": {"url": node.url}}
        bridges = fleet.Bridge(shared, ENVIRONMENT), fleet.Bridge(shared, ENVIRONMENT)
        for bridge in bridges:
            ends.callback(bridge.close)
        run(_start(bridges))
        yield bridges


async def _start(bridges: Pair) -> None:
    await asyncio.gather(*(bridge.start() for bridge in bridges))
    await asyncio.gather(*(bridge.wait_ready() for bridge in bridges))


@dataclass
class Road:
    """The way to the pair, and back and forth between them."""

    pair: Pair
    proxy: Proxy
    tape: Tape
    moves: int = 0

    async def move(self) -> None:
        """To the other server; a client's connections are closed when this returns."""
        self.moves += 1
        self.proxy.move(_port(self.pair[self.moves % 2]))
        for socket in self.tape.sockets:
            await socket.owner.wait_closed()
        await self.proxy.wait_cut()

    async def stay(self) -> None:
        """The way of all but those that move."""

    def way(self, name: str, history: str) -> Way:
        url = f"http://127.0.0.1:{self.proxy.port}/v1"
        is_http, is_streamed, has_moves = WAYS[name]
        move = self.move if has_moves else self.stay
        return Way(url, is_http, is_streamed, *HISTORIES[history], move)


@asynccontextmanager
async def road_to(pair: Pair, tape: Tape) -> AsyncIterator[Road]:
    """A road for one client, whose own sockets are on the tape."""
    async with Proxy(_port(pair[0])) as proxy:
        yield Road(pair, proxy, tape)


def _port(bridge: fleet.Bridge) -> int:
    return int(bridge.url.rpartition(":")[2])


MINTED = re.compile(r"(call|resp|msg)_(?:[0-9a-f]{32}|[0-9a-f]{40}|theirs\d+)\b")


def normal(body: Json) -> Json:
    """Ids that are made by chance, and by counting, are numbered in the order of their mention."""
    ids: dict[str, str] = {}
    text = json.dumps(body)
    for found in MINTED.finditer(text):
        ids.setdefault(found[0], f"{found[1]}_{len(ids) + 1}")
    return json.loads(MINTED.sub(lambda found: ids[found[0]], text))
