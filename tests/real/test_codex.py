"""The Codex CLI through the bridge: its tools and those of an MCP server, over each family.

Each story is told once by a provider of Responses without a bridge. What Codex asks there in its
last turn is what each family's provider is to be asked through the bridge, in its own words.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from clients.servers import ENVIRONMENT, FAMILIES, KEY, UNLIMITED, Family, run
from codex.program import PROGRAM, Codex, weather
from codex.views import VIEWS, normal
from support import fleet
from support.redis_servers import Node, valkey_binary
from support.tcp_proxy import Proxy
from upstreams.agent_loop import step_name
from upstreams.sockets import FakeSockets

pytestmark = pytest.mark.skipif(
    not PROGRAM.exists(), reason="needs npm: make .venv-node/.installed"
)

Json = dict[str, Any]

GEMINI = Family("gemini", "gemini/gemini-", "/v1beta")
CODEX_FAMILIES = {family.name: family for family in (*FAMILIES, GEMINI)}
# Codex knows models by how their names begin. One that it does not know is offered the tools of MCP
# servers at once, in a namespace; the second one searches for them, and has `apply_patch`; the last
# one calls all tools in programs, by a tool in a namespace in an item (`additional_tools`).
MODELS = ("", "gpt-5.5-", "gpt-6-sol-")
STORIES = {
    "codexoffered": ("", "Oslo is noted.", "Oslo\n"),
    "codexfound": ("gpt-5.5-", "Oslo is noted.", "Oslo\n"),
    "codexbuiltin": ("gpt-5.5-", "The note says two.", "two\n"),
    "codexscripted": ("gpt-6-sol-", "The note says two.", "two\n"),
}
# Before which event a turn is cut (`upstreams`): before anything of it is whole. Codex keeps an
# item that was done before the cut, and what the next answer says of it again.
GATES = {"chat": "gate2", "gemini": "gate2"}
DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeSockets]:
    with FakeSockets() as running:
        yield running


@pytest.fixture(scope="module")
def pair(fake: FakeSockets) -> Iterator[tuple[fleet.Bridge, fleet.Bridge]]:
    """Two servers on one store."""
    with ExitStack() as ends:
        node = ends.enter_context(Node(valkey_binary()))
        models = [
            {
                "name": f"{known}{family.name}-*",
                "model": f"{family.route}*",
                "api_base": fake.base_url + family.path,
                "api_key_env": "PROVIDER_KEY",
                "retries": 0,
                "drop_params": True,
                "mode": "managed" if family.name == "native" else "auto",
            }
            for family in CODEX_FAMILIES.values()
            for known in MODELS
        ]
        shared = {
            "auth": {"keys_env": ["CLIENT_KEYS"]},
            "limits": UNLIMITED,
            "models": models,
            "store": {"url": node.url},
        }
        bridges = fleet.Bridge(shared, ENVIRONMENT), fleet.Bridge(shared, ENVIRONMENT)
        for bridge in bridges:
            ends.callback(bridge.close)
        run(_start(bridges))
        yield bridges


async def _start(bridges: tuple[fleet.Bridge, ...]) -> None:
    await asyncio.gather(*(bridge.start() for bridge in bridges))
    await asyncio.gather(*(bridge.wait_ready() for bridge in bridges))


def _port(bridge: fleet.Bridge) -> int:
    return int(bridge.url.rpartition(":")[2])


@pytest.fixture
async def line(fake: FakeSockets, pair) -> AsyncIterator[tuple[FakeSockets, Proxy]]:
    """The provider, and the way to the bridges before it."""
    async with Proxy(_port(pair[0])) as proxy:
        yield fake, proxy


@pytest.fixture(scope="module")
def direct(fake: FakeSockets, tmp_path_factory) -> dict[str, Json]:
    """By story: what Codex asks in its last turn where no bridge is between."""
    asked = {}
    for story, (known, answer, _) in STORIES.items():
        folder = tmp_path_factory.mktemp(story)
        model = f"{known}direct-{story}"
        assert run(told(folder, fake.base_url, model, is_http=True)) == answer
        asked[story] = normal(fake.asked(model)[-1], str(folder))
    return asked


async def told(folder: Path, base_url: str, model: str, *, is_http: bool) -> str:
    """What Codex says in the end."""
    codex = Codex(folder)
    tools = {**weather(codex.work / "notes.txt"), "tools.update_plan": {"enabled": True}}
    codex.settle(base_url, model, is_http=is_http, tools=tools)
    (codex.work / "dot.png").write_bytes(DOT)
    return await codex.run(KEY)


@dataclass
class Play:
    """One story over one family, between Codex and its provider."""

    fake: FakeSockets
    proxy: Proxy  # to the first bridge
    folder: Path
    direct: Json
    family: str
    story: str

    def model(self, way: str) -> str:
        """As the provider calls it; no other play has it."""
        route = CODEX_FAMILIES[self.family].route.partition("/")[2]
        return f"{route}{way}-{self.story}-{self.family}"

    async def run(self, way: str, *, is_http: bool = False) -> None:
        """Codex comes to the story's end."""
        known, answer, _ = STORIES[self.story]
        url = f"http://127.0.0.1:{self.proxy.port}"
        model = f"{known}{self.family}-{way}-{self.story}-{self.family}"
        assert await told(self.folder, url, model, is_http=is_http) == answer

    def check(self, model: str, count: int) -> None:
        """The tools did their work, and the provider heard all of it, asked so many times."""
        *_, note = STORIES[self.story]
        assert (self.folder / "work/notes.txt").read_text(encoding="utf-8") == note
        asked = self.fake.asked(model)
        assert len(asked) == count
        view = VIEWS[self.family](self.direct, model)
        assert normal(asked[-1], str(self.folder)) == view


@pytest.fixture(params=CODEX_FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=STORIES)
def story(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def play(line: tuple[FakeSockets, Proxy], tmp_path: Path, direct, family: str, story: str) -> Play:
    return Play(*line, tmp_path, direct[story], family, story)


@pytest.mark.parametrize("way", ["socket", "http"])
async def test_codex_tells_its_provider_all_that_its_tools_did(play: Play, way: str):
    await play.run(way, is_http=way == "http")
    play.check(play.model(way), count=4)


async def test_codex_goes_on_at_another_server_when_its_socket_is_cut_in_mid_turn(
    play: Play, fake: FakeSockets, pair
):
    """In the second turn and in the third, each time to the other server: it asks again there."""
    way = GATES.get(play.family, "gate")
    model = play.model(way)
    for number in (0, 3):
        fake.release(step_name(model, number))
    end = asyncio.create_task(play.run(way))
    for number, bridge in ((1, pair[1]), (2, pair[0])):
        await fake.reached(step_name(model, number))
        play.proxy.move(_port(bridge))
        asked = 2 * number + 1  # once in the first turn, twice in those that were cut
        await fake.until(lambda asked=asked: len(fake.asked(model)) == asked)
        fake.release(step_name(model, number))
    await end
    play.check(model, count=6)
