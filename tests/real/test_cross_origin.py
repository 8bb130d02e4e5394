"""A page of another origin in a real browser: sockets and HTTP, allowed and not."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, Page
from support import browser
from support.fleet import Bridge
from support.hang import HANG_SECONDS

chromium = browser.chromium  # the fixture
pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "key-of-the-page"
CALLS = """
const base = `${bridge}/v1/responses`;
const head = {Authorization: `Bearer ${key}`, "Content-Type": "application/json"};
const call = async (path, options) => {
  try {
    const got = await fetch(base + path, {headers: head, ...options});
    const type = got.headers.get("content-type") ?? "";
    const body = type.includes("json") ? await got.json() : await got.text();
    const read = (name) => got.headers.get(name);
    return {status: got.status, body, number: read("x-sequence-number"),
      request: read("x-request-id"), retry: read("retry-after"), served: read("server")};
  } catch (error) { return {error: String(error)}; }
};
const post = (body, more = {}) => call("", {method: "POST",
  headers: {...head, ...more},
  body: JSON.stringify({model: "demo", input: "count to 3", ...body})});
const socket = (protocols) => new Promise((resolve) => {
  const ws = new WebSocket(base.replace("http", "ws"), protocols);
  ws.onopen = () => ws.send(JSON.stringify({type: "response.create", model: "demo", input: "hi"}));
  ws.onmessage = (message) => {
    const event = JSON.parse(message.data);
    if (event.type === "response.completed") { resolve(ws.protocol); ws.close(); }
  };
  ws.onclose = (event) => resolve(event.code);
});
"""

Visit = Callable[[], Awaitable[Page]]


async def _empty(_: web.Request) -> web.Response:
    return web.Response(text="<!doctype html><title>a page</title>", content_type="text/html")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pages() -> AsyncIterator[list[str]]:
    """Two origins: the page of the first one is let in."""
    app = web.Application()
    app.router.add_get("/", _empty)
    servers = [TestServer(app), TestServer(app)]
    for server in servers:
        await server.start_server()
    yield [f"http://127.0.0.1:{server.port}" for server in servers]
    for server in servers:
        await server.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bridge(pages: list[str]) -> AsyncIterator[str]:
    config = {
        "server": {"drain_seconds": 0, "allowed_origins": pages[:1]},
        "auth": {"keys_env": ["KEYS"], "browser_subprotocol": True},
        "models": [{"name": "demo", "model": "demo/demo"}],
    }
    async with Bridge(config, {"KEYS": KEY}) as running:
        await running.wait_ready()
        yield running.url


@pytest_asyncio.fixture(loop_scope="module")
async def run(
    chromium: Browser, pages: list[str], bridge: str
) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """Run a script in a page, as the allowed origin or as the other one."""
    contexts = []

    async def in_page(script: str, *, key: str = KEY, allowed: bool = True) -> Any:
        contexts.append(await chromium.new_context())
        page = await contexts[-1].new_page()
        page.set_default_timeout(1000 * HANG_SECONDS)
        await page.goto(pages[0 if allowed else 1])
        return await page.evaluate(
            f"async ([bridge, key]) => {{ {CALLS} {script} }}", [bridge, key]
        )

    yield in_page
    for context in contexts:
        await context.close()


async def test_an_allowed_page_creates_polls_streams_and_deletes(run: Any) -> None:
    """With a preflight before each: the key, the type and the idempotency key need leave."""
    found = await run("""
      const made = await post({background: true}, {"Idempotency-Key": "one"});
      const again = await post({background: true}, {"Idempotency-Key": "one"});
      let polled = {number: -1};
      do polled = await call(`/${made.body.id}?wait=20&after=${polled.number}`);
      while (polled.body.status !== "completed");
      const stream = await post({stream: true});
      const gone = await call(`/${made.body.id}`, {method: "DELETE"});
      return {made, again, polled, stream, gone};
    """)
    assert [found[name]["status"] for name in ("made", "again", "polled", "stream", "gone")] == (
        [200] * 5
    )
    assert found["again"]["body"]["id"] == found["made"]["body"]["id"]
    assert found["polled"]["body"]["id"] == found["made"]["body"]["id"]
    assert int(found["polled"]["number"]) > 3
    assert found["stream"]["body"].endswith("data: [DONE]\n\n")
    assert found["gone"]["body"]["deleted"] is True
    assert found["made"]["served"] is None  # what is not exposed


async def test_an_allowed_page_reads_errors(run: Any) -> None:
    """A page that could not would take a wrong key for a server that is away."""
    found = await run("""
      const wrong = await call("/resp_1", {headers: {Authorization: "Bearer wrong"}});
      const unknown = await call("/resp_1");
      const reused = [await post({}, {"Idempotency-Key": "two"}),
        await post({input: "other"}, {"Idempotency-Key": "two"})][1];
      return {wrong, unknown, reused};
    """)
    codes = {name: (one["status"], one["body"]["error"]["code"]) for name, one in found.items()}
    assert codes == {
        "wrong": (401, "invalid_api_key"),
        "unknown": (404, None),
        "reused": (422, "idempotency_key_reused"),
    }
    assert all(one["request"].startswith("req_") for one in found.values())


@pytest.mark.catalogue("S5")
async def test_another_page_gets_nothing(run: Any) -> None:
    found = await run("return [await call('/resp_1'), await post({})];", allowed=False)
    assert found == [{"error": "TypeError: Failed to fetch"}] * 2
    protocols = f'["responses", "openai-insecure-api-key.{KEY}"]'
    assert await run(f"return socket({protocols});", allowed=False) == 1006


async def test_a_socket_needs_a_second_subprotocol_beside_the_key(run: Any) -> None:
    """The key is never answered, and Chromium fails a socket of whose offers none is."""
    key = f"openai-insecure-api-key.{KEY}"
    assert await run(f'return socket(["responses", "{key}"]);') == "responses"
    assert await run(f'return socket(["{key}", "realtime"]);') == "realtime"
    assert await run(f'return socket(["{key}"]);') == 1006
