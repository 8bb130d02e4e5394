"""Agents' loops of three turns of tools: what the provider is asked in the last turn, whole."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from clients.loop_views import VIEWS, Loop
from clients.loops import LOOPS, Way
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


# Way and history, where they go together.
WAYS = ("socket", "elsewhere", "http")
BRIEFLY = (("socket", "resent"), ("elsewhere", "chained"), ("http", "chained"), ("http", "resent"))
ROUTES = {
    "references": tuple((way, "referred") for way in WAYS),
    "journey": (*itertools.product(WAYS, ("chained", "resent")), ("socket", "unstored")),
    "namespaced": BRIEFLY,
    "handover": BRIEFLY[:2],
}
CASES = [
    (story, client, *route)
    for story, client in LOOPS
    for route in (ROUTES["references"] if client == "references" else ROUTES[story])
]
# How often a tool takes its client to another server.
MOVES = {"journey": 3, "namespaced": 3, "handover": 2}


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeSockets]:
    with FakeSockets() as running:
        yield running
    assert running.violations == []


@pytest.fixture(scope="module")
def pair(fake: FakeSockets) -> Iterator[tuple[fleet.Bridge, fleet.Bridge]]:
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


async def _start(bridges: tuple[fleet.Bridge, ...]) -> None:
    await asyncio.gather(*(bridge.start() for bridge in bridges))
    await asyncio.gather(*(bridge.wait_ready() for bridge in bridges))


@dataclass
class Road:
    """The way to the pair, and back and forth between them."""

    pair: tuple[fleet.Bridge, fleet.Bridge]
    proxy: Proxy
    tape: Tape
    moves: int = 0

    async def move(self) -> None:
        """To the other server; the client has seen its socket's end when this returns."""
        self.moves += 1
        self.proxy.move(_port(self.pair[self.moves % 2]))
        for socket in self.tape.sockets:
            await socket.owner.wait_closed()

    async def stay(self) -> None:
        """The way of all but one."""

    def way(self, name: str, history: str) -> Way:
        url = f"http://127.0.0.1:{self.proxy.port}/v1"
        move = self.move if name == "elsewhere" else self.stay
        return Way(url, name == "http", *HISTORIES[history], move)


def _port(bridge: fleet.Bridge) -> int:
    return int(bridge.url.rpartition(":")[2])


@pytest.fixture
async def road(pair, tape: Tape) -> AsyncIterator[Road]:
    async with Proxy(_port(pair[0])) as proxy:
        yield Road(pair, proxy, tape)


MINTED = re.compile(r"(call|resp)_(?:[0-9a-f]{32}|theirs\d+)")


def normal(body: Json) -> Json:
    """Ids that are made by chance, and by counting, are numbered in the order of their mention."""
    ids: dict[str, str] = {}
    text = json.dumps(body)
    for found in MINTED.finditer(text):
        ids.setdefault(found[0], f"{found[1]}_{len(ids) + 1}")
    return json.loads(MINTED.sub(lambda found: ids[found[0]], text))


@pytest.mark.parametrize("family", AGENT_FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("case", CASES, ids="-".join)
async def test_a_loop_ends_and_its_provider_gets_its_own_words_back(
    road: Road, fake: FakeSockets, case: tuple[str, str, str, str], family: Family
):
    story, client, way, history = case
    model = "-".join((*case, family.name))
    answer = LOOPS[story, client](road.way(way, history), family.model(model), HOSTED[family.name])
    assert await answer == "Oslo is booked."
    model = family.route.partition("/")[2] + model
    asked = fake.asked(model)
    assert len(asked) == 4
    is_chained, is_stored = HISTORIES[history]
    has_moved = way == "elsewhere" and story != "handover"  # the handoff itself is no such tool
    loop = Loop(client, model, is_chained, is_stored, is_chained and not has_moved)
    assert normal(asked[-1]) == VIEWS[family.name](loop)
    assert road.moves == (MOVES[story] if way == "elsewhere" else 0)
