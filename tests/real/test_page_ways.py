"""How the chat page gets to its server when it cannot as it would, and what it says of that."""

import re
import shutil
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import expect
from support import browser
from support.browser import DEMO, Relay, Tab, Visit
from support.fleet import Bridge
from support.proxies import BufferingNginx, PortlessNginx, SocketlessNginx, find

chromium, visit = browser.chromium, browser.visit  # the fixtures of these tests
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(shutil.which(find("nginx")) is None, reason="no nginx on this machine"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bridge() -> AsyncIterator[Bridge]:
    async with Bridge(DEMO) as running:
        await running.wait_ready()
        yield running


def counted(to: int) -> str:
    return " ".join(map(str, range(1, to + 1)))


async def in_state(tab: Tab, state: str) -> None:
    await expect(tab.page.locator("#connection")).to_have_attribute("data-state", state)


async def ways(tab: Tab) -> set[str]:
    """How the events of answers came, as the inspector has it."""
    await tab.page.evaluate("document.getElementById('inspector').hidden || 0")
    await tab.page.locator("#inspector-toggle").click()
    rows = tab.page.locator("#events > li:not(.sent, [data-type^=connection]) .event-way")
    await expect(rows.first).to_be_attached()
    return set(await rows.all_text_contents())


def forgive_refusals(tab: Tab) -> None:
    """The browser itself logs what was refused or cut; all else is the page's error."""
    known = re.compile(r"ERR_|WebSocket connection|status of (401|403|405|502)")
    tab.errors[:] = [error for error in tab.errors if not known.search(error)]


async def test_where_sockets_are_blocked_a_turn_is_streamed_over_http(
    bridge: Bridge, visit: Visit
) -> None:
    """Before a real nginx without upgrades: it says so, and the text grows as on a socket."""
    with SocketlessNginx([bridge.port]) as proxy:
        tab = await visit(proxy.url, connected=False)
        await in_state(tab, "sse")
        await expect(tab.page.locator("#connection")).to_have_text("Streaming over HTTP")
        await expect(tab.page.locator("#notice-text")).to_contain_text("WebSockets do not get")
        await tab.ask("My name is Ada")
        await tab.send_message("count to 60")
        await expect(tab.page.locator(".answer.live .message")).to_contain_text("4 5 6")
        await tab.settled()
        assert await tab.answer.inner_text() == counted(60)
        assert await tab.ask("What is my name?") == "You told me: your name is Ada."
        assert await ways(tab) == {"HTTP"}
        await in_state(tab, "sse")
    forgive_refusals(tab)


async def test_where_streams_are_buffered_too_a_turn_is_polled(
    bridge: Bridge, visit: Visit
) -> None:
    """Of nginx's buffers nothing comes before the end; polls have it before, and say so."""
    with BufferingNginx([bridge.port]) as proxy:
        tab = await visit(proxy.url, connected=False)
        await in_state(tab, "sse")
        await tab.send_message("My name is Ada, count to 400")
        await expect(tab.page.locator(".answer.live .message")).to_contain_text("4 5 6")
        await in_state(tab, "poll")
        await expect(tab.page.locator("#notice-text")).to_contain_text("polled over HTTP")
        await tab.settled()
        await expect(tab.answer).to_contain_text(counted(400))
        [turn] = await tab.turns()
        assert turn["status"] == "completed"
        assert await tab.ask("What is my name?") == "You told me: your name is Ada."
        assert "poll" in await ways(tab)
    forgive_refusals(tab)


async def test_where_streams_are_cut_off_a_turn_is_polled(bridge: Bridge, visit: Visit) -> None:
    """Twice, while the server answers polls; one cut would only be resumed."""
    relay = Relay(bridge.url)
    relay.blocks_sockets = True
    async with relay.open() as address:
        tab = await visit(address, connected=False)
        await in_state(tab, "sse")
        await tab.page.route(
            re.compile("stream=true"), lambda route: route.abort("connectionreset")
        )
        await tab.ask("My name is Ada, count to 100")
        await in_state(tab, "poll")
        await expect(tab.answer).to_contain_text(counted(100))
        assert await ways(tab) == {"poll"}
        await tab.page.goto("about:blank")
    forgive_refusals(tab)


async def test_a_polled_answer_can_be_stopped(bridge: Bridge, visit: Visit) -> None:
    with BufferingNginx([bridge.port]) as proxy:
        tab = await visit(proxy.url, connected=False)
        await in_state(tab, "sse")
        await tab.send_message("count to 1200")
        await expect(tab.page.locator(".answer.live .message")).to_contain_text("4 5 6")
        await tab.page.keyboard.press("Escape")
        await tab.settled()
        await expect(tab.page.locator(".note")).to_have_text("Stopped.")
        await expect(tab.answer).to_contain_text("4 5 6")
    forgive_refusals(tab)


async def test_better_ways_are_tried_again_in_good_time(bridge: Bridge, visit: Visit) -> None:
    """When sockets get through again, a turn after a pause opens one, and the next one takes it."""
    relay = Relay(bridge.url)
    relay.blocks_sockets = True
    async with relay.open() as address:
        tab = await visit(address, connected=False, clock=True)
        await in_state(tab, "sse")
        await tab.ask("My name is Ada")
        relay.blocks_sockets = False
        await tab.page.clock.fast_forward("03:00")
        await in_state(tab, "open")
        await expect(tab.page.locator("#notice")).to_be_hidden()
        assert await tab.ask("What is my name?") == "You told me: your name is Ada."
        assert await ways(tab) == {"HTTP", ""}  # the second one came by the socket
        await tab.page.goto("about:blank")
    forgive_refusals(tab)


async def test_an_upgrade_that_is_never_answered_is_given_up(bridge: Bridge, visit: Visit) -> None:
    """After 10 s; what was asked meanwhile goes over HTTP."""
    relay = Relay(bridge.url)
    relay.swallows_sockets = True
    async with relay.open() as address:
        tab = await visit(address, connected=False, clock=True)
        await expect(tab.page.locator("#model option").first).to_have_text("demo")
        await tab.send_message("count to 5")
        await expect(tab.page.locator("#connection")).to_have_text("Connecting…")
        await tab.page.clock.fast_forward(11_000)
        await in_state(tab, "sse")
        await tab.settled()
        await expect(tab.answer).to_contain_text(counted(5))
        await tab.page.goto("about:blank")
    forgive_refusals(tab)


async def test_streams_rest_for_a_while_when_they_did_not_get_through(
    bridge: Bridge, visit: Visit
) -> None:
    """A later turn streams again; each time it fails the pause is longer."""
    tab = await visit(bridge.url, clock=True)
    states = await tab.page.evaluate("""async () => {
        const { Connection } = await import("/static/connection.js");
        const connection = new Connection({}, {}, { changed() {} });
        const states = [connection.streams];
        connection.streamFailed();
        states.push(connection.streams);
        window.connection = connection;
        return states;
    }""")
    rests = []
    for time in ("01:01", "01:01", "01:01"):
        await tab.page.clock.fast_forward(time)
        rests.append(await tab.page.evaluate("connection.streams"))
        await tab.page.evaluate("connection.streamFailed()")
    assert states == [True, False]
    assert rests == [True, False, True]


@pytest.mark.parametrize(
    ("key", "is_on", "said"),
    [
        ("right-key", False, "browser_subprotocol is off"),
        ("right/key=", True, "characters that a browser's WebSocket cannot send"),
    ],
)
async def test_where_no_key_can_go_with_a_socket_http_is_used(
    visit: Visit, key: str, is_on: bool, said: str
) -> None:
    """Not "Reconnecting…" for ever: the page says which setting it is, or that it is the key."""
    keyed = DEMO | {"auth": {"keys_env": ["PAGE_TEST_KEYS"], "browser_subprotocol": is_on}}
    async with Bridge(keyed, {"PAGE_TEST_KEYS": key}) as server:
        tab = await visit(server.url, connected=False)
        await tab.page.locator("#key").fill(key)
        await tab.page.keyboard.press("Enter")
        await in_state(tab, "sse")
        await expect(tab.page.locator("#notice-text")).to_contain_text(said)
        await tab.ask("My name is Ada")
        assert await tab.ask("What is my name?") == "You told me: your name is Ada."
        await tab.page.goto("about:blank")
    forgive_refusals(tab)


async def test_a_refused_origin_is_said(bridge: Bridge, visit: Visit) -> None:
    """A proxy that drops the port from `Host` makes every page one of another origin."""
    with PortlessNginx([bridge.port]) as proxy:
        tab = await visit(proxy.url, connected=False)
        await in_state(tab, "refused")
        notice = tab.page.locator("#notice-text")
        await expect(notice).to_contain_text(f"refuses pages of {proxy.url}")
        await expect(notice).to_contain_text("allowed_origins")
        await tab.send_message("Hello")  # it waits for a way, and can be taken back
        await expect(tab.page.locator(".waiting")).to_be_visible()
        await tab.page.keyboard.press("Escape")
        await expect(tab.page.locator(".note")).to_contain_text("Stopped before the answer began.")
        await tab.page.goto("about:blank")
    forgive_refusals(tab)


async def test_a_create_that_was_cut_off_is_sent_again_and_made_once(
    bridge: Bridge, visit: Visit
) -> None:
    """Over HTTP it has a key, with which the server finds it."""
    relay = Relay(bridge.url)
    relay.blocks_sockets = True
    async with relay.open() as address:
        tab = await visit(address, connected=False)
        await in_state(tab, "sse")
        keys: list[str | None] = []

        async def cut_once(route, request):
            if request.method != "POST":
                return await route.continue_()
            keys.append(request.headers.get("idempotency-key"))
            if len(keys) > 1:
                return await route.continue_()
            await route.fetch()  # the server has it, and its answer is lost
            return await route.abort("connectionreset")

        await tab.page.route("**/v1/responses", cut_once)
        await tab.ask("My name is Ada")
        assert len(keys) == 2
        assert len(set(keys)) == 1
        assert "2 turns" in await tab.ask("Hello")
        await tab.page.goto("about:blank")
    forgive_refusals(tab)
