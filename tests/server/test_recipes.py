"""docs/protocol.md: its recipes run as they stand, through a proxy that cuts their connections."""

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from contract.page import PAGE
from store.opened import until
from support import snippets
from support.scripted_upstream import Scripted, answer, completed, done_item, message, opening
from support.snippets import ADDRESS, fits, of_kind
from support.tcp_proxy import Proxy

from ws_bridge.upstream.litellm.demo_rules import DemoConversation
from ws_bridge.upstream.litellm.demo_rules import answer as answer_of_demo

RECIPES = of_kind(snippets.read(PAGE), "python")
CONFIG = {
    "auth": {"keys_env": ["KEYS"]},
    "models": [{"name": "demo", "model": "openai/demo"}],
}
ENVIRON = {"KEYS": "my-key"}
VARIABLES = {"OPENAI_API_KEY": "my-key"}
DELTAS = 2  # with a gate before each; the rest is told at once


class SlowDemo:
    """An upstream that says what the demo model says, and waits at gates that the test opens."""

    def __init__(self) -> None:
        self.gates = [asyncio.Event() for _ in range(DELTAS + 2)]
        self.upstream = Scripted(self._steps)

    def _steps(self, request):
        asked = DemoConversation.of(request.input(), {})
        words = re.findall(r"\S+\s*", answer_of_demo(asked).text)
        item_id = "msg_1"
        told = message(*words, item_id=item_id)
        first, *gates, last = self.gates
        yield first
        yield opening()
        for gate in gates:
            yield gate
            yield [told.pop(0)]
        yield told
        yield last
        yield completed(done_item("".join(words), item_id))


def recipe(section: str) -> snippets.Snippet:
    [found] = [one for one in RECIPES if one.section.startswith(section)]
    return found


async def run(text: str, port: int, folder) -> str:
    environ = snippets.surroundings(VARIABLES)
    placed = text.replace(ADDRESS, f"127.0.0.1:{port}")
    return await snippets.run([sys.executable], placed, environ, folder)


async def test_every_program_of_the_page_is_a_recipe_that_shows_what_it_prints():
    assert [one.section[:3] for one in RECIPES] == ["8.1", "8.2", "8.3"]
    assert [one for one in RECIPES if one.prints is None] == []


@pytest.mark.parametrize("section", ["8.1", "8.2", "8.3"])
async def test_a_recipe_gets_its_answer_through_cut_connections(serve, tmp_path, section):
    """One answer is lost, and each connection is cut: before the response has begun, and amid it.

    The answer of a plain create is its end; of the others it is the first thing that comes back.
    """
    demo = SlowDemo()
    bridge = await serve(demo.upstream, CONFIG, ENVIRON)
    async with Proxy(int(bridge.url.rpartition(":")[2])) as proxy:
        proxy.swallow_answers(1)
        running = asyncio.create_task(run(recipe(section).text, proxy.port, tmp_path))
        if section != "8.3":
            await until(one_that(lambda: proxy.swallowed), "an answer is lost")
        await until(one_that(lambda: demo.upstream.requests), "the provider is asked")
        known = 0
        for gate in demo.gates:
            asks = partial(asks_again, running, proxy, known)
            await until(one_that(asks), "the recipe asks again")
            proxy.cut()
            await proxy.wait_cut()
            known = proxy.bytes_up
            gate.set()
        printed = await running
    assert fits(recipe(section).prints, printed), printed
    assert proxy.cuts >= len(demo.gates)
    assert proxy.swallowed == 1
    assert len(demo.upstream.requests) == 1


def asks_again(running: asyncio.Task[str], proxy: Proxy, known: int) -> bool:
    """Whether a request has passed since so many bytes had; one that has ended asks no more."""
    return running.done() or (proxy.open_now > 0 and proxy.bytes_up > known)


def one_that(is_true: Callable[[], Any]) -> Callable[[], Awaitable[Any]]:
    async def ask() -> Any:
        return is_true()

    return ask


@pytest.mark.parametrize("section", ["8.1", "8.2", "8.3"])
async def test_a_recipe_does_not_ask_again_for_what_is_refused(serve, tmp_path, section):
    bridge = await serve(Scripted(answer("x")), CONFIG, ENVIRON)
    port = int(bridge.url.rpartition(":")[2])
    refused = recipe(section).text.replace('"demo"', '"none"')
    with pytest.raises(AssertionError, match="exit code 1"):
        await run(refused, port, tmp_path)
    with pytest.raises(AssertionError, match=r"\b401\b"):
        await run(recipe(section).text.replace("Bearer", "Bearer no"), port, tmp_path)


async def test_a_recipe_finds_an_end_whose_number_it_has_already(serve, tmp_path):
    """As after the death of a server that was ahead of the log (docs/protocol.md §9)."""
    bridge = await serve(Scripted(answer("x")), CONFIG, ENVIRON)
    asked = {"model": "demo", "input": "hi"}
    _, response = await bridge.json("POST", "/v1/responses", "my-key", **asked)
    functions = recipe("8.1").text.partition("\nfor event in")[0]
    last = f"for event in resumed('{response['id']}', 10_000): print(event['response']['status'])\n"
    printed = await run(functions + last, int(bridge.url.rpartition(":")[2]), tmp_path)
    assert printed == "completed\n"
