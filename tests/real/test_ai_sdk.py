"""The AI SDK's loops of three turns of tools, as `tests/clients/test_agent_loops.py` has others."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from clients.loop_views import VIEWS, Loop
from clients.loops import QUESTION, Trip, Way
from clients.roads import (
    AGENT_FAMILIES,
    HISTORIES,
    HOSTED,
    WAYS,
    Pair,
    Road,
    normal,
    providers,
    road_to,
    two_servers,
)
from clients.servers import KEY, Family
from clients.tape import Tape
from support.hang import HANG_SECONDS
from support.snippets import ROOT, surroundings
from upstreams.sockets import FakeSockets

SCRIPTS = Path(__file__).parent / "node"
PACKAGES = ROOT / ".venv-node"
CASES = [
    *itertools.product(("journey",), WAYS, ("chained", "resent", "referred")),
    ("journey", "socket", "unstored"),
    ("namespaced", "elsewhere", "chained"),
    ("namespaced", "http", "resent"),
    ("namespaced", "http-elsewhere", "referred"),
]
# What the SDK itself sends to nobody where nothing is stored. Gemini takes no thoughts back.
UNSEALED = "Reasoning parts without encrypted content are not supported when store is false."
DROPPED = {
    "Results for OpenAI tool code_interpreter are not sent to the API when store is false",
    f"{UNSEALED} Skipping reasoning parts.",
}

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="no node on this machine")


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeSockets]:
    with providers() as running:
        yield running


@pytest.fixture(scope="module")
def pair(fake: FakeSockets) -> Iterator[Pair]:
    with two_servers(fake) as bridges:
        yield bridges


@pytest.fixture
async def road(pair: Pair) -> AsyncIterator[Road]:
    async with road_to(pair, Tape()) as road:
        yield road


@pytest.fixture(scope="module")
def script() -> Iterator[Path]:
    """The script, and what it imports, where node finds its packages: below their folder."""
    with TemporaryDirectory(dir=PACKAGES) as folder:
        for name in ("socket_fetch.mjs", "ai_sdk_loop.mjs"):
            copy = shutil.copy(SCRIPTS / name, folder)
        yield Path(copy)


async def loop_of_the_sdk(script: Path, way: Way, model: str, hosted: str) -> tuple[str, set[str]]:
    """A loop in a process of node, whose tools are run here: the answer, and the warnings."""
    node = await asyncio.create_subprocess_exec(
        "node", str(script), stdin=PIPE, stdout=PIPE, stderr=PIPE, env=surroundings({})
    )
    try:
        async with asyncio.timeout(HANG_SECONDS):
            return await _answer(node, Trip(way), _task(way, model, hosted))
    finally:
        if node.returncode is None:
            node.kill()
            await node.wait()


def _task(way: Way, model: str, hosted: str) -> dict[str, Any]:
    histories = {"isChained": way.is_chained, "isStored": way.is_stored}
    task = {"url": way.url, "key": KEY, "model": model, "hosted": hosted, "prompt": QUESTION}
    ways = {"isHttp": way.is_http, "isStreamed": way.is_streamed}
    return task | histories | ways | {"isNamespaced": "namespaced" in model}


async def _answer(
    node: asyncio.subprocess.Process, trip: Trip, task: dict[str, Any]
) -> tuple[str, set[str]]:
    warnings: set[str] = set()
    assert node.stdin
    assert node.stdout
    assert node.stderr
    node.stdin.write(json.dumps(task).encode() + b"\n")
    async for line in node.stdout:
        said = json.loads(line)
        if "answer" in said:
            return said["answer"], warnings
        if "warnings" in said:
            warnings |= {warning["message"] for warning in said["warnings"]}
            continue
        output = await getattr(trip, said["name"])(**said["arguments"])
        node.stdin.write(json.dumps({"id": said["id"], "output": output}).encode() + b"\n")
    raise AssertionError((await node.stderr.read()).decode())


@pytest.mark.parametrize("family", AGENT_FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("case", CASES, ids="-".join)
async def test_a_loop_ends_and_its_provider_gets_its_own_words_back(
    road: Road, fake: FakeSockets, script: Path, case: tuple[str, str, str], family: Family
):
    story, way, history = case
    model = "-".join((*case, family.name))
    ways, hosted = road.way(way, history), HOSTED[family.name]
    if story == "namespaced":
        hosted = "tool_search" if hosted == "web_search" else ""
    answer = await loop_of_the_sdk(script, ways, family.model(model), hosted)
    lost = DROPPED if (history, family.name) == ("resent", "gemini") else set()
    assert answer == ("Oslo is booked.", lost)
    model = family.route.partition("/")[2] + model
    asked = fake.asked(model)
    assert len(asked) == 4
    moves = 3 if WAYS[way][-1] else 0
    is_continued = ways.is_chained and not moves
    loop = Loop("ai_sdk", model, *HISTORIES[history], is_continued, ways.is_streamed)
    assert normal(asked[-1]) == VIEWS[family.name](loop)
    assert road.moves == moves
    assert ways.is_http or road.proxy.connections == 1 + moves
