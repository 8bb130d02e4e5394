"""A real Chromium before a real bridge: the fixtures of the page's tests.

Chromium is the one of this machine, never fetched; where there is none the tests are skipped, and
say so. Every browser context is new and empty; what the page logs as an error fails the test.
"""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, async_playwright, expect
from support.hang import HANG_SECONDS

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
HANG_MS = 1000 * HANG_SECONDS

KEPT = """async () => {
    const { Shelf } = await import("/static/shelf.js");
    const found = await new Shelf().get(sessionStorage.getItem("ws-bridge.open"));
    return found?.turns ?? [];
}"""

# Answers that a test leaves running do not hold up the end of its module.
DEMO = {"server": {"drain_seconds": 0}, "models": [{"name": "demo", "model": "demo/demo"}]}

expect.set_options(timeout=HANG_MS)


class Relay:
    """A relay before the bridge that can be cut: what a lost network looks like to the page."""

    def __init__(self, address: str) -> None:
        host, _, port = address.removeprefix("http://").rpartition(":")
        self._target = (host, int(port))
        self._ends: set[asyncio.StreamWriter] = set()
        self.is_up = True
        # Of connections that begin with one, as a browser's do: closed at once, or never answered.
        self.blocks_sockets = self.swallows_sockets = False

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        """Relay until left; yields the address for the page."""
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self.cut()
        server.close()

    def cut(self) -> None:
        """Drop every connection, and refuse new ones until ``is_up`` is set."""
        self.is_up = False
        for end in self._ends:
            end.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.read(65536) if self.is_up else b""
        is_socket = b"upgrade: websocket" in head.lower()
        if not self.is_up or (self.blocks_sockets and is_socket):
            writer.transport.abort()
            return
        if self.swallows_sockets and is_socket:
            self._ends.add(writer)
            await reader.read()
            return
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        far_writer.write(head)
        ends = {writer, far_writer}
        self._ends |= ends
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        self._ends -= ends


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@dataclass
class Tab:
    """A page in the browser, and what a person does with it."""

    page: Page
    errors: list[str] = field(default_factory=list)  # what the page logged as errors

    @property
    def answer(self) -> Locator:
        """The text of the newest answer."""
        return self.page.locator(".turn .answer .message").last

    async def send_message(self, text: str) -> None:
        """Write a message and send it."""
        await self.page.locator("#prompt").fill(text)
        await self.page.keyboard.press("Enter")

    async def ask(self, text: str) -> str:
        """Send a message, and return the whole answer."""
        await self.send_message(text)
        await self.settled()
        return await self.answer.inner_text()

    async def settled(self) -> None:
        """Return when no answer runs."""
        await expect(self.page.locator("#stop")).to_be_hidden()

    async def turns(self) -> list[dict[str, Any]]:
        """What the browser keeps of the tab's conversation."""
        turns: list[dict[str, Any]] = await self.page.evaluate(KEPT)
        return turns


Visit = Callable[..., Awaitable[Tab]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no Chromium on this machine (looked for {', '.join(NAMES)})")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def visit(chromium: Browser) -> AsyncIterator[Visit]:
    """Open an address in an empty browser context; resolves when the page is connected."""
    tabs: list[Tab] = []

    async def open_tab(
        address: str, *, connected: bool = True, clock: bool = False, **options: Any
    ) -> Tab:
        context = await chromium.new_context(**options)
        tab = Tab(await context.new_page())
        tabs.append(tab)
        page = tab.page
        page.set_default_timeout(HANG_MS)
        page.on("pageerror", lambda error: tab.errors.append(str(error)))
        page.on(
            "console", lambda message: message.type == "error" and tab.errors.append(message.text)
        )
        if clock:  # the test's own
            await page.clock.install()
        await page.goto(address)
        if connected:
            await expect(page.locator("#connection")).to_have_attribute("data-state", "open")
        return tab

    yield open_tab
    for tab in tabs:
        await tab.page.context.close()
    errors = [error for tab in tabs for error in tab.errors]
    assert not errors, errors
