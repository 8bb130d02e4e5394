"""docs/clients.md: its snippets run as they stand, and print what is shown below them."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
import tomllib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
import pytest_asyncio
from agents.exceptions import UserError
from agents.models.multi_provider import MultiProvider
from agents.models.openai_responses import OpenAIResponsesModel
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser
from support import browser, snippets
from support.fleet import Bridge
from support.hang import HANG_SECONDS
from support.snippets import ADDRESS, ROOT, Snippet, fits, of_kind

from ws_bridge.config import load

chromium = browser.chromium  # the fixture
pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = (ROOT / "docs/clients.md").read_text(encoding="utf-8")
SNIPPETS = snippets.read(PAGE)
[CONFIG] = of_kind(SNIPPETS, "toml bridge")
[ENVIRONMENT] = of_kind(SNIPPETS, "sh environment")
VARIABLES = snippets.exported(ENVIRONMENT.text)

PROGRAMS = {"python": [sys.executable], "sh": ["bash", "-eu"]}
BY_HAND = ("js node", "toml codex", "sh codex")  # `tests/try_clients.py`
KINDS = {*PROGRAMS, *BY_HAND, "js browser", "toml bridge", "sh environment"}

each = pytest.mark.parametrize


WEB_PAGE = "localhost:3000"


@dataclass(frozen=True)
class Place:
    """A bridge like the one on the page, and a web page of another origin that it lets in."""

    bridge: Bridge
    origin: str

    def placed(self, text: str) -> str:
        """A text of the page with the addresses of this run."""
        host = self.bridge.url.removeprefix("http://")
        return text.replace(ADDRESS, host).replace(WEB_PAGE, self.origin.removeprefix("http://"))

    async def printed(self, kind: str, text: str, folder: Path) -> str:
        """What a program of the page prints."""
        variables = {name: self.placed(value) for name, value in VARIABLES.items()}
        environ = snippets.surroundings(variables)
        return await snippets.run(PROGRAMS[kind], self.placed(text), environ, folder)

    async def get(self, address: str) -> tuple[int, Any]:
        """The status and the JSON at an address of the page, with the page's key."""
        headers = {"Authorization": f"Bearer {VARIABLES['OPENAI_API_KEY']}"}
        async with (
            aiohttp.ClientSession() as session,
            session.get(self.placed(address), headers=headers) as answer,
        ):
            return answer.status, await answer.json()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place() -> AsyncIterator[Place]:
    async def empty(_request: web.Request) -> web.Response:
        return web.Response(
            text="<!doctype html><link rel=icon href=data:>", content_type="text/html"
        )

    app = web.Application()
    app.router.add_get("/", empty)
    async with TestServer(app) as pages:
        origin = f"http://localhost:{pages.port}"
        config = tomllib.loads(CONFIG.text.replace(f"http://{WEB_PAGE}", origin))
        keys = {name: VARIABLES[name] for name in config["auth"]["keys_env"]}
        async with Bridge(config, keys) as bridge:
            await bridge.wait_ready()
            yield Place(bridge, origin)


# What the page consists of


async def test_every_snippet_is_of_a_kind_that_is_tested_and_shows_its_output() -> None:
    """A block of any other kind is one that nothing looks at."""
    assert {snippet.kind for snippet in SNIPPETS} == KINDS
    silent = {snippet.kind for snippet in SNIPPETS if snippet.prints is None}
    assert silent == {"toml bridge", "toml codex", "sh environment"}


async def test_a_snippet_that_names_a_file_of_the_examples_is_that_file() -> None:
    blocks = re.findall(
        r"\]\(\.\./(examples/[\w.]+)\):\n\n```.*\n((?s:.*?))^```$", PAGE, re.MULTILINE
    )
    assert {path: (ROOT / path).read_text(encoding="utf-8") for path, _ in blocks} == dict(blocks)
    assert len(blocks) == 8


async def test_codexs_configuration_is_that_of_the_examples() -> None:
    [shown] = of_kind(SNIPPETS, "toml codex")
    assert shown.text in (ROOT / "examples/codex/config.toml").read_text(encoding="utf-8")


async def test_every_client_of_the_table_has_its_section() -> None:
    named = re.findall(r"^\| \[.*?\]\(#(.*?)\)", PAGE, re.MULTILINE)
    headings = [heading.lower() for heading in re.findall(r"^## (.+)$", PAGE, re.MULTILINE)]
    anchors = [re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in headings]
    assert named == anchors[1:]


@each(
    ("shown", "printed", "is_right"),
    [
        ("one\ntwo\n", "one \ntwo", True),
        ("one\n…\nfour", "one\ntwo\nthree\nfour", True),
        ("a.c", "abc", False),
        ("one", "one\ntwo", False),
        ("one\n…", "two\none\n…", False),
    ],
)
async def test_an_output_is_right_if_it_is_what_is_shown(
    shown: str, printed: str, is_right: bool
) -> None:
    """But for the ends of lines, and what stands in the place of an ellipsis."""
    assert fits(shown, printed) is is_right


# Snippets that are run


@each("snippet", of_kind(SNIPPETS, *PROGRAMS), ids=str)
async def test_a_program_prints_what_is_shown(
    snippet: Snippet, place: Place, tmp_path: Path
) -> None:
    if snippet.section == "curl" and shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    said = await place.printed(snippet.kind, snippet.text, tmp_path)
    assert fits(snippet.prints, said), said


@each("snippet", of_kind(SNIPPETS, "js browser"), ids=str)
async def test_a_page_prints_what_is_shown(
    snippet: Snippet, place: Place, chromium: Browser
) -> None:
    """Of another origin than the bridge's: the one that the configuration lets in."""
    async with Visitor(chromium, place.origin) as visitor:
        await visitor.run(place.placed(snippet.text))
        said = [await visitor.line() for _ in snippet.prints.splitlines()]
    assert said == snippet.prints.splitlines()


class Visitor:
    """An empty web page, and what it logs."""

    def __init__(self, chromium: Browser, address: str) -> None:
        self._chromium, self._address = chromium, address
        self._lines: asyncio.Queue[str] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        self._context = await self._chromium.new_context()
        self._page = await self._context.new_page()
        self._page.set_default_timeout(1000 * HANG_SECONDS)
        self._page.on("console", lambda message: self._lines.put_nowait(message.text))
        self._page.on("pageerror", lambda error: self._lines.put_nowait(str(error)))
        await self._page.goto(self._address)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._context.close()

    async def run(self, script: str) -> None:
        """As a module of the page."""
        await self._page.add_script_tag(content=script, type="module")

    async def line(self) -> str:
        """The next one that the page logs, be it an error."""
        async with asyncio.timeout(HANG_SECONDS):
            return await self._lines.get()


# What the page says beside its snippets


@each(
    ("path", "status"),
    [
        ("models", 200),
        ("models?api_key=my-key", 400),
        ("models/demo", 200),
        ("models/other", 404),
        ("chat/completions", 404),
        ("embeddings", 404),
        ("files", 404),
    ],
)
async def test_there_is_the_responses_api_and_nothing_else(
    place: Place, path: str, status: int
) -> None:
    assert (await place.get(f"http://{ADDRESS}/v1/{path}"))[0] == status


async def test_agents_take_a_slash_for_another_provider_unless_told_otherwise() -> None:
    [snippet] = of_section("openai-agents")
    assert 'unknown_prefix_mode="model_id"' in snippet.text
    with pytest.raises(UserError, match="Unknown prefix: local"):
        MultiProvider(openai_api_key="any").get_model("local/qwen3")
    told = MultiProvider(
        openai_api_key="any", unknown_prefix_mode="model_id", openai_prefix_mode="model_id"
    )
    for name in ("local/qwen3", "openai/gpt"):
        model = told.get_model(name)
        assert isinstance(model, OpenAIResponsesModel)
        assert model.model == name


async def test_without_the_profile_pydantic_ai_speaks_http_beside_its_socket(
    place: Place, tmp_path: Path
) -> None:
    [snippet] = of_section("pydantic-ai")
    profile = (
        "    profile=OpenAIModelProfile(openai_responses_supports_websocket_stream_id=True),\n"
    )
    assert profile in snippet.text
    known = len(place.bridge.log())
    said = await place.printed(snippet.kind, snippet.text.replace(profile, ""), tmp_path)
    assert fits(snippet.prints, said), said
    ways = re.findall(r" transport=(\w+)", place.bridge.log()[known:])
    assert set(ways) == {"websocket", "http"}


def of_section(section: str) -> list[Snippet]:
    return [snippet for snippet in SNIPPETS if snippet.section == section]


# Snippets that are read


async def test_the_bridges_configuration_is_one(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.text, encoding="utf-8")
    config = load(path, VARIABLES).config
    assert [model.name for model in config.models] == ["demo"]
    assert config.auth.browser_subprotocol is True
    assert VARIABLES[config.auth.keys_env[0]] == VARIABLES["OPENAI_API_KEY"]


async def test_codex_is_sent_to_a_provider_that_its_configuration_has() -> None:
    [codex] = of_kind(SNIPPETS, "toml codex")
    config = tomllib.loads(codex.text)
    provider = config["model_providers"][config["model_provider"]]
    assert provider["env_key"] in VARIABLES
    assert provider["wire_api"] == "responses"
    assert provider["supports_websockets"] is True
    assert provider["base_url"] == VARIABLES["OPENAI_BASE_URL"]


@each("snippet", [one for one in of_kind(SNIPPETS, *BY_HAND) if one.kind != "sh codex"], ids=str)
async def test_what_a_snippet_by_hand_names_is_there(snippet: Snippet, place: Place) -> None:
    """Its address answers, its model is served, its key is the bridge's."""
    [address] = set(re.findall(r'"(http://.+?)"', snippet.text))
    status, served = await place.get(f"{address}/models")
    assert status == 200
    models = set(re.findall(r'\b(?:model ?= ?|MODEL \?\? )"(.+?)"', snippet.text))
    assert models == {model["id"] for model in served["data"]}
    keys = re.findall(r"\bOPENAI_API_KEY\b", snippet.text)
    assert set(keys) <= VARIABLES.keys()
