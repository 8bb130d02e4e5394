"""The files of `examples/`: each says what it should, and fails when the server stops half-way.

They run against what `make serve` runs, with a provider on loopback in the place of the demo model.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from support.browser import NAMES
from support.example_runs import FOLDER, PACKAGES, Running, started
from support.fleet import Fresh
from support.snippets import ROOT, fits
from upstreams.demo import DemoProvider

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "key-of-the-examples"
WHO = "I am a demo program, not an AI."
COUNT = f"{WHO} {' '.join(map(str, range(1, 21)))}"
WEATHER = f'{WHO} The tool says: "rain in Paris".'
TURNS = f"""\
{WHO} Noted: your name is Ada. Ask me "What is my name?" and I say it back.
You told me: your name is Ada."""
RECALLED = f"{WEATHER}\nYou told me: your name is Ada."
LANES = f"""\
short: {WHO} 1 2 3
middle: {WHO} 1 2 3 4 5
long: {WHO} 1 2 3 4 5 6 7 8"""

CODEX = "codex"  # it waits for a server without end, and has its limit from `timeout`
SAYS = {
    "openai_turns.py": TURNS,
    "openai_tools.py": WEATHER,
    "openai_lanes.py": LANES,
    "openai_background.py": f"queued\ncompleted\n{COUNT}",
    "openai_resume.py": f"{COUNT}\nresponse.completed",
    "openai_agents.py": RECALLED,
    "pydantic_ai_lanes.py": RECALLED,
    "langchain_turns.py": TURNS,
    "node_turns.mjs": TURNS,
    "ai_sdk.mjs": RECALLED,
    "browser.html": TURNS,
    "curl.sh": f"{WHO} 1 2 3\n{COUNT}\n14 15 16 17 18 19 20",
    CODEX: "The tool says: …rain in Paris…",
}
# Which of the answers that it gets is an example's last one.
LAST = dict.fromkeys(SAYS, 2) | {
    "openai_lanes.py": 3,
    "openai_background.py": 1,
    "openai_resume.py": 1,
    "openai_agents.py": 4,
    "pydantic_ai_lanes.py": 4,
    "ai_sdk.mjs": 4,
}
GATE = "gate3"  # before the third word of an answer, or of a call
HAS_NPM = (PACKAGES / ".installed").exists()
HAS_CHROMIUM = any(map(shutil.which, NAMES))
NEEDS = {
    ".mjs": (HAS_NPM, "needs npm: make .venv-node/.installed"),
    "": (HAS_NPM, "needs npm: make .venv-node/.installed"),
    ".html": (HAS_CHROMIUM, "no Chromium on this machine"),
}


def need(name: str) -> tuple[bool, str]:
    """Whether this machine has what an example needs, and what it lacks."""
    return NEEDS.get(Path(name).suffix, (True, ""))


EXAMPLES = [
    pytest.param(name, marks=pytest.mark.skipif(not need(name)[0], reason=need(name)[1]))
    for name in SAYS
]


class Server(Fresh):
    """The command line of `make serve`, with another file."""

    program = (str(Path(sys.executable).parent / "ws-bridge"),)

    def __init__(self, provider: DemoProvider, origin: str) -> None:
        config = {
            "server": {"allowed_origins": [origin], "drain_seconds": 0},
            "auth": {"keys_env": ["CLIENT_KEYS"], "browser_subprotocol": True},
            "models": [
                {
                    "name": "demo-*",
                    "model": "groq/demo-*",
                    "api_base": f"{provider.base_url}/v1",
                    "api_key_env": "KEY",
                    "drop_params": True,
                }
            ],
        }
        super().__init__(config, {"CLIENT_KEYS": KEY})
        self._config["server"]["listen"] = [self.url.removeprefix("http://")]

    def variables(self, pages: str, model: str) -> dict[str, str]:
        """What an example is told."""
        told = {"OPENAI_BASE_URL": f"{self.url}/v1", "OPENAI_API_KEY": KEY, "MODEL": model}
        return told | {"PAGES": pages}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider() -> AsyncIterator[DemoProvider]:
    with DemoProvider() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pages() -> AsyncIterator[str]:
    """Where a browser finds the folder: another origin than the bridge's."""
    app = web.Application()
    app.router.add_static("/", FOLDER)
    async with TestServer(app) as running:
        yield str(running.make_url("/"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(provider: DemoProvider, pages: str) -> AsyncIterator[Server]:
    async with Server(provider, pages.removesuffix("/")) as running:
        await running.wait_ready()
        yield running


async def test_the_folder_has_these_and_nothing_else() -> None:
    names = {path.name for path in FOLDER.iterdir() if not path.name.startswith(("__", "."))}
    assert names == {*SAYS, "README.md"}


async def test_the_index_has_a_line_for_each() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| \[`(.+?)/?`\]", page, re.MULTILINE)) == SAYS.keys()


async def test_make_serve_runs_the_program_that_runs_here() -> None:
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nserve:")[2]
    assert "\t.venv/bin/ws-bridge serve --config config.toml\n" in recipe


@pytest.mark.parametrize("name", EXAMPLES)
async def test_an_example_says_what_its_model_says(name: str, server: Server, pages: str) -> None:
    async with started(name, server.variables(pages, f"demo-{Path(name).stem}")) as running:
        ended = await running.outcome()
    assert ended.exit_code == 0, ended
    assert fits(SAYS[name], ended.out), ended


@pytest.mark.parametrize("place", ["first", "last"])
@pytest.mark.parametrize("how", ["terminated", "killed"])
async def test_every_example_fails_when_the_server_stops_half_way(
    how: str, place: str, server: Server, provider: DemoProvider, pages: str
) -> None:
    """In its first answer, or in its last one: some of it was sent, the rest waits."""
    names = [name for name in SAYS if need(name)[0]]
    async with contextlib.AsyncExitStack() as ends:
        running = {}
        for name in names:
            answer = LAST[name] if place == "last" else 1
            model = f"demo-{Path(name).stem}-{how}-{place}-answer{answer}-{GATE}"
            running[name] = await ends.enter_async_context(
                started(name, server.variables(pages, model))
            )
            await reached(provider, model, running[name])
        await (server.kill() if how == "killed" else server.terminate())
        if CODEX in running:
            running[CODEX].interrupt()
        ended = {name: await one.outcome() for name, one in running.items()}
    await server.start()
    await server.wait_ready()
    wrong = {
        name: one for name, one in ended.items() if not one.exit_code or fits(SAYS[name], one.out)
    }
    assert wrong == {}


async def reached(provider: DemoProvider, model: str, example: Running) -> None:
    """Return when an example's answer stands at its gate. Raises if it has ended before."""
    waiting = asyncio.create_task(provider.reached(model))
    await asyncio.wait({waiting, example.said}, return_when=asyncio.FIRST_COMPLETED)
    assert waiting.done(), await example.outcome()
    await waiting
