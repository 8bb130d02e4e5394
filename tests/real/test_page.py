"""The chat page in a real browser, before a real bridge with the demo model."""

import json
import re
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import expect
from support import browser
from support.browser import DEMO, Relay, Visit
from support.fleet import Bridge
from support.hang import HANG_SECONDS

chromium, visit = browser.chromium, browser.visit  # the fixtures of these tests
pytestmark = pytest.mark.asyncio(loop_scope="module")

KEYED = DEMO | {"auth": {"keys_env": ["PAGE_TEST_KEYS"], "browser_subprotocol": True}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bridge() -> AsyncIterator[str]:
    async with Bridge(DEMO) as running:
        yield running.url


def counted(to: int) -> str:
    return " ".join(map(str, range(1, to + 1)))


def polled(bridge: str, response_id: str, method: str = "GET") -> dict[str, Any]:
    address = f"{bridge}/v1/responses/{response_id}"
    request = urllib.request.Request(address, method=method)  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=HANG_SECONDS) as answer:  # noqa: S310 - loopback
        body: dict[str, Any] = json.load(answer)
    return body


async def test_a_turn_streams_and_completes(bridge: str, visit: Visit) -> None:
    """The text is there before the answer has ended, and whole when it has."""
    tab = await visit(bridge)
    await tab.page.locator("#prompt").press_sequentially("Hello")
    await tab.ask("Hello there")  # the first answer introduces the program
    await tab.send_message("count to 60")
    await expect(tab.page.locator(".answer.live .message")).to_contain_text("4 5 6")
    await tab.settled()
    assert await tab.answer.inner_text() == counted(60)
    assert (await tab.turns())[-1]["status"] == "completed"


async def test_an_answer_is_announced_once_and_not_word_by_word(bridge: str, visit: Visit) -> None:
    tab = await visit(bridge)
    await tab.ask("Hello")
    spoken = await tab.page.locator("#announcer p").all_text_contents()
    assert spoken == ["The model is answering.", await tab.answer.inner_text()]


async def test_two_turns_remember(bridge: str, visit: Visit) -> None:
    tab = await visit(bridge)
    await tab.ask("My name is Ada")
    assert await tab.ask("What is my name?") == "You told me: your name is Ada."


async def test_escape_cancels_the_answer(bridge: str, visit: Visit) -> None:
    """The page keeps what came, the server ends the response, and the next turn knows of it."""
    tab = await visit(bridge)
    await tab.send_message("My name is Ada, count to 1200")
    await expect(tab.answer).to_contain_text("10 11 12")
    await tab.page.keyboard.press("Escape")
    await tab.settled()
    await expect(tab.page.locator(".note")).to_have_text("Stopped.")
    await expect(tab.answer).to_contain_text("10 11 12")
    [turn] = await tab.turns()
    assert polled(bridge, turn["id"])["status"] == "cancelled"
    assert await tab.ask("What is my name?") == "You told me: your name is Ada."


async def test_the_inspector_shows_every_event_in_order(bridge: str, visit: Visit) -> None:
    tab = await visit(bridge)
    await tab.page.get_by_role("button", name="Events", exact=True).click()
    await tab.ask("count to 5")
    rows = tab.page.locator("#events > li:not([data-type^=connection])")
    await expect(rows.last).to_have_attribute("data-type", "response.completed")
    types = await rows.evaluate_all("rows => rows.map(row => row.dataset.type)")
    numbers = await rows.evaluate_all("rows => rows.map(row => row.dataset.number)")
    assert types[:3] == ["response.create", "response.created", "response.in_progress"]
    assert numbers == ["", *map(str, range(len(types) - 1))]
    await expect(rows.last.locator(".event-gap")).to_have_text(re.compile(r"^\+[\d.]+ ms$"))


async def test_an_event_opens_with_enter(bridge: str, visit: Visit) -> None:
    tab = await visit(bridge)
    await tab.page.get_by_role("button", name="Events", exact=True).click()
    await tab.ask("Hello")
    row = tab.page.locator('#events > li[data-type="response.completed"]')
    await row.locator("button").press("Enter")
    event = json.loads(await row.locator("pre").inner_text())
    assert event["response"]["id"] == (await tab.turns())[0]["id"]
    await row.locator("button").press("Enter")
    await expect(row.locator("pre")).to_have_count(0)


async def test_the_inspector_is_bounded(bridge: str, visit: Visit) -> None:
    """Of 5,000 events the last 2,000 have a row, and nothing older is kept."""
    tab = await visit(bridge)
    await tab.page.get_by_role("button", name="Events", exact=True).click()
    await tab.page.evaluate("""async () => {
        const { Inspector } = await import("/static/inspector.js");
        const inspector = new Inspector();
        for (let number = 0; number < 5000; number++) {
            inspector.add({ type: "test", sequence_number: number }, "socket");
        }
    }""")
    rows = tab.page.locator("#events > li")
    await expect(rows).to_have_count(2000)
    await expect(rows.first).to_have_attribute("data-number", "3000")
    await expect(rows.last).to_have_attribute("data-number", "4999")


async def test_the_answer_followed_over_http_becomes_equal(bridge: str, visit: Visit) -> None:
    """Polled beside the socket, it is seen while it runs, and in the end word for word."""
    tab = await visit(bridge)
    await tab.page.locator("#follow").check()
    await tab.send_message("count to 60")
    column = tab.page.locator(".polled")
    await expect(column).to_have_attribute("data-state", "in_progress")
    await expect(column).to_have_attribute("data-state", "equal")
    await tab.settled()
    assert await column.locator(".prose").inner_text() == await tab.answer.inner_text()
    await expect(column).to_contain_text("equal to the streamed text")


async def test_a_reload_resumes_the_running_answer(bridge: str, visit: Visit) -> None:
    """The conversation comes back, and the answer goes on to its end without gap or repeat."""
    tab = await visit(bridge)
    await tab.ask("My name is Ada")
    await tab.send_message("count to 120")
    await expect(tab.answer).to_contain_text("20 21 22")
    [_, running] = await tab.turns()
    assert running["status"] == "in_progress"
    await tab.page.reload()
    await expect(tab.answer).to_have_text(counted(120))
    await tab.settled()
    said = await tab.page.locator(".said").all_inner_texts()
    assert said == ["You said:\nMy name is Ada", "You said:\ncount to 120"]
    assert [turn["id"] for turn in await tab.turns()][1:] == [running["id"]]
    assert await tab.ask("What is my name?") == "You told me: your name is Ada."


async def test_a_lost_connection_resumes_over_http(bridge: str, visit: Visit) -> None:
    """Cut in the middle, the answer is whole in the end, and the socket carries the next turn."""
    relay = Relay(bridge)
    async with relay.open() as address:
        tab = await visit(address)
        await tab.ask("My name is Ada")
        await tab.send_message("count to 120")
        await expect(tab.answer).to_contain_text("20 21 22")
        relay.cut()
        await expect(tab.page.locator("#connection")).to_have_text("Reconnecting…")
        await expect(tab.page.locator("#banner")).to_contain_text("Reconnecting")
        relay.is_up = True
        await expect(tab.answer).to_have_text(counted(120))
        await expect(tab.page.locator("#connection")).to_have_text("Connected")
        await tab.settled()
        assert await tab.ask("What is my name?") == "You told me: your name is Ada."
        await tab.page.get_by_role("button", name="Events", exact=True).click()
        await expect(tab.page.locator("#events .event-way", has_text="HTTP").first).to_be_visible()
        numbers = await tab.page.locator("#events > li").evaluate_all(
            "rows => rows.map(row => row.dataset.number).filter(Boolean).map(Number)"
        )
        starts = [at for at, number in enumerate(numbers) if number == 0]
        ends = [*starts[1:], len(numbers)]
        turns = [numbers[start:end] for start, end in zip(starts, ends, strict=True)]
        assert len(turns) == 3, "a response began twice"
        assert turns == [list(range(len(turn))) for turn in turns]
    # The browser itself logs every refused connection; anything else is the page's error.
    tab.errors[:] = [error for error in tab.errors if "ERR_" not in error]


async def test_an_answer_that_had_not_begun_can_be_asked_again(bridge: str, visit: Visit) -> None:
    """A create on a socket that died is not sent twice by itself: the server may have it."""
    relay = Relay(bridge)
    async with relay.open() as address:
        tab = await visit(address)
        await tab.ask("My name is Ada")
        relay.cut()
        await tab.send_message(
            "What is my name?"
        )  # before or after the page noticed: both end well
        relay.is_up = True
        await tab.settled()
        again = tab.page.get_by_role("button", name="Ask again")
        if await again.is_visible():
            await again.click()
            await tab.settled()
        await expect(tab.answer).to_have_text("You told me: your name is Ada.")
        await expect(tab.page.locator(".turn")).to_have_count(2)
    tab.errors[:] = [error for error in tab.errors if "ERR_" not in error]


async def test_a_forgotten_conversation_can_be_told_again(bridge: str, visit: Visit) -> None:
    """When the server has lost the parent, one button sends everything said once more."""
    tab = await visit(bridge)
    await tab.ask("My name is Ada")
    [turn] = await tab.turns()
    polled(bridge, turn["id"], "DELETE")
    await tab.page.reload()  # a new socket has no cache of its own
    await expect(tab.page.locator("#connection")).to_have_text("Connected")
    await tab.send_message("What is my name?")
    await expect(tab.page.locator(".note.bad")).to_contain_text("no longer remembers")
    await tab.page.get_by_role("button", name="Ask again with the whole conversation").click()
    await expect(tab.answer).to_have_text("You told me: your name is Ada.")


async def test_a_tool_is_run_and_its_output_sent(bridge: str, visit: Visit) -> None:
    tab = await visit(bridge)
    await tab.page.locator("#offer-tool").check()
    answer = await tab.ask("What time is it?")
    card = tab.page.get_by_role("group", name="Tool call get_time")
    await expect(card).to_contain_text("done in this browser")
    assert "The tool says" in answer
    assert '"time_zone"' in answer
    [call, output] = await tab.turns()
    assert output["input"][0]["call_id"] == call["items"][0]["call_id"]


async def test_reasoning_stands_apart_and_closed(bridge: str, visit: Visit) -> None:
    tab = await visit(bridge)
    answer = await tab.ask("Think about it: who are you?")
    thought = tab.page.locator("details.reasoning")
    await expect(thought.locator(".prose")).to_be_hidden()
    await thought.locator("summary").press("Enter")
    await expect(thought.locator(".prose")).to_contain_text("I try")
    assert "I try" not in answer


async def test_an_error_is_a_note_with_a_way_out(bridge: str, visit: Visit) -> None:
    tab = await visit(bridge)
    await tab.page.locator("#model").select_option(label="Another name…")
    await tab.page.locator("#model-other").fill("no-such-model")
    await tab.send_message("Hello")
    await expect(tab.page.locator(".note.bad")).to_contain_text("no-such-model")
    await tab.page.locator("#model").select_option("demo")
    await tab.page.get_by_role("button", name="Ask again").click()
    await expect(tab.answer).to_contain_text("Hello")
    await expect(tab.page.locator(".note")).to_have_count(0)


async def test_an_answer_runs_on_while_another_conversation_is_open(
    bridge: str, visit: Visit
) -> None:
    """The new one has the lane for itself; whoever comes back finds the old answer whole."""
    tab = await visit(bridge)
    await tab.send_message("My name is Ada, count to 400")
    await expect(tab.answer).to_contain_text("4 5 6")
    await tab.page.get_by_role("button", name="New conversation").click()
    await expect(tab.page.locator(".turn")).to_have_count(0)
    assert "not told me" in await tab.ask("What is my name?")
    await tab.page.get_by_role("button", name="Conversations", exact=True).click()
    await tab.page.get_by_role("button", name="My name is Ada, count to 400", exact=True).click()
    await expect(tab.answer).to_contain_text(counted(400))
    await tab.settled()
    assert await tab.ask("What is my name?") == "You told me: your name is Ada."


async def test_a_turn_by_keyboard_alone(bridge: str, visit: Visit) -> None:
    """The field has the focus, Enter sends, Shift+Enter does not, Tab reaches the stop button."""
    tab = await visit(bridge)
    keyboard, prompt = tab.page.keyboard, tab.page.locator("#prompt")
    await expect(prompt).to_be_focused()
    await keyboard.type("please")
    await keyboard.press("Shift+Enter")
    await keyboard.type("count to 1200")
    await expect(prompt).to_have_value("please\ncount to 1200")
    await keyboard.press("Enter")
    await expect(tab.answer).to_contain_text("4 5 6")
    await keyboard.press("Tab")
    stop = tab.page.get_by_role("button", name="Stop the answer")
    await expect(stop).to_be_focused()
    assert await stop.evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
    await keyboard.press("Enter")
    await tab.settled()
    await expect(prompt).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1280])
async def test_no_width_and_no_scheme_scrolls_sideways(
    bridge: str, visit: Visit, width: int, scheme: str
) -> None:
    """Nor logs an error: `visit` checks that."""
    tab = await visit(bridge, viewport={"width": width, "height": 740}, color_scheme=scheme)
    await tab.page.locator("#follow").check()
    await tab.ask("```\n" + ("code" * 30 + " ") * 3 + "\n```\n" + "long" * 100)
    await tab.page.get_by_role("button", name="Events", exact=True).click()
    await tab.page.locator("#events > li button").last.click()
    boxes = tab.page.locator("html, #conversation, #inspector, #inspector .scroller")
    wider = (
        "nodes => nodes.filter(node => node.scrollWidth > node.clientWidth).map(node => node.id)"
    )
    assert await boxes.evaluate_all(wider) == []
    paper = "getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0] < 128"
    assert await tab.page.evaluate(paper) is (scheme == "dark")


async def test_on_a_phone_the_events_are_a_drawer(bridge: str, visit: Visit) -> None:
    """It takes the focus, Escape closes it without stopping the answer, the focus comes back."""
    tab = await visit(bridge, viewport={"width": 360, "height": 740})
    await tab.send_message("count to 100")
    await tab.page.get_by_role("button", name="Events", exact=True).click()
    await expect(tab.page.locator("#inspector-close")).to_be_focused()
    await tab.page.keyboard.press("Escape")
    await expect(tab.page.locator("#inspector")).to_be_hidden()
    await expect(tab.page.locator("#inspector-toggle")).to_be_focused()
    await tab.settled()
    await expect(tab.answer).to_contain_text(counted(100))


async def test_the_reader_may_leave_the_end_of_a_growing_answer(bridge: str, visit: Visit) -> None:
    """The page stays at the end while the reader is there, and leaves a reader alone who is not."""
    tab = await visit(bridge, viewport={"width": 360, "height": 360})
    scroller = tab.page.locator("#conversation")
    await tab.send_message("count to 1000")
    await expect(tab.answer).to_contain_text("119 120")
    at_end = "node => node.scrollHeight - node.scrollTop - node.clientHeight < 80"
    assert await scroller.evaluate(at_end)
    assert await scroller.evaluate("node => node.scrollTop") > 0
    await scroller.hover()
    await tab.page.mouse.wheel(0, -10_000)
    await expect(tab.answer).to_contain_text("159 160")
    assert await scroller.evaluate("node => node.scrollTop") == 0


async def test_a_refusal_and_a_cut_off_answer_are_said_plainly(bridge: str, visit: Visit) -> None:
    tab = await visit(bridge)
    shown = await tab.page.evaluate("""async () => {
        const { TurnView } = await import("/static/view.js");
        const { noteOn } = await import("/static/notes.js");
        const view = new TurnView("question", [], () => {});
        view.draw([{ type: "message", content: [{ type: "refusal", refusal: "I must not." }] }]);
        view.finish();
        const incomplete = { reason: "max_output_tokens" };
        const { kind, text } = noteOn({ status: "incomplete", incomplete });
        view.note(kind, text);
        document.getElementById("turns").append(view.node);
        const notes = [...view.node.querySelectorAll(".note")];
        return notes.map((note) => note.innerText.split(/\\n+/).join(" "));
    }""")
    assert shown == [
        "The model declined. I must not.",
        "The answer was cut off: it reached the limit of tokens.",
    ]


async def test_a_key_is_asked_for_only_where_one_is_wanted(visit: Visit, bridge: str) -> None:
    """A wrong key is refused, the right one opens HTTP and the socket and stays in the tab."""
    open_tab = await visit(bridge)
    await expect(open_tab.page.locator("#key-form")).to_be_hidden()
    async with Bridge(KEYED, {"PAGE_TEST_KEYS": "right-key"}) as keyed:
        tab = await visit(keyed.url, connected=False)
        key = tab.page.locator("#key")
        await expect(tab.page.locator("#key-why")).to_have_text("This server asks for an API key.")
        await key.fill("wrong-key")
        await key.press("Enter")
        await expect(tab.page.locator("#key-why")).to_contain_text("did not accept")
        await key.fill("right-key")
        await key.press("Enter")
        await expect(tab.page.locator("#connection")).to_have_attribute("data-state", "open")
        await tab.ask("My name is Ada")
        assert await tab.ask("What is my name?") == "You told me: your name is Ada."
        await expect(key).to_be_hidden()
        assert await tab.page.evaluate("localStorage.length + document.cookie.length") == 0
        assert "right-key" not in json.dumps(await tab.turns())
        assert "right-key" not in tab.page.url
        await tab.page.goto("about:blank")  # or it would look for the server
    # The browser itself logs every answer of 401.
    tab.errors[:] = [error for error in tab.errors if "401" not in error and "ERR_" not in error]
