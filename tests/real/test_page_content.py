"""What the chat page shows, takes and keeps: items, files, conversations, reports."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import expect
from support import browser
from support.browser import DEMO, Tab, Visit
from support.fleet import Bridge, models_for
from support.snippets import ROOT
from upstreams import FakeProviders

chromium, visit = browser.chromium, browser.visit  # the fixtures of these tests
pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "key-of-the-page-0123456789"
AXE = ROOT / ".venv-node/node_modules/axe-core/axe.min.js"
# A PNG of one pixel.
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
AS_FILES = """(given) => {
    const transfer = new DataTransfer();
    for (const { name, type, base64 } of given) {
        const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
        transfer.items.add(new File([bytes], name, { type }));
    }
    return transfer;
}"""

PASTE = """(node, clipboardData) => node.dispatchEvent(
    new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }))"""


@pytest.fixture(scope="module")
def providers() -> Iterator[FakeProviders]:
    with FakeProviders() as fake:
        yield fake


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bridge(providers: FakeProviders) -> AsyncIterator[str]:
    config = {
        "server": {"drain_seconds": 0, "max_message_mib": 2},
        "models": [*DEMO["models"], *models_for(providers)],
        "auth": {"keys_env": ["PAGE_KEYS"], "browser_subprotocol": True},
    }
    async with Bridge(config, {"PAGE_KEYS": KEY}) as running:
        await running.wait_ready()
        yield running.url


async def entered(visit: Visit, address: str, **options: Any) -> Tab:
    """A page that is connected, with the key."""
    tab = await visit(address, connected=False, **options)
    await tab.page.locator("#key").fill(KEY)
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.locator("#connection")).to_have_attribute("data-state", "open")
    tab.errors[:] = [error for error in tab.errors if "401" not in error]
    return tab


async def choose(tab: Tab, model: str) -> None:
    await tab.page.locator("#model").select_option(label="Another name…")
    await tab.page.locator("#model-other").fill(model)
    await tab.page.locator("#model-other").press("Enter")


async def test_hosted_tools_images_and_citations_of_a_provider_are_shown(
    bridge: str, visit: Visit
) -> None:
    tab = await entered(visit, bridge)
    page = tab.page
    await choose(tab, "native-annot-mcp-ci")
    await tab.ask("Search")
    await expect(page.get_by_role("group", name="Web search")).to_be_visible()
    sources = page.get_by_role("group", name="Sources").get_by_role("link")
    assert all(
        [
            await link.get_attribute("rel") == "noopener noreferrer nofollow"
            for link in await sources.all()
        ]
    )
    assert await sources.count() > 0
    await choose(tab, "native-image")
    await tab.ask("Paint")
    card = page.get_by_role("group", name="Image")
    assert (await card.get_by_role("img").get_attribute("src") or "").startswith("data:image/")


EVERY_ITEM = [
    {"type": "function_call", "name": "f", "arguments": '{"a": 1}', "status": "completed"},
    {"type": "custom_tool_call", "name": "say", "input": "words"},
    {"type": "mcp_call", "server_label": "crm", "name": "find", "arguments": "{}", "output": "two"},
    {"type": "mcp_list_tools", "server_label": "crm", "tools": [{"name": "find"}]},
    {"type": "mcp_approval_request", "server_label": "crm", "name": "drop", "arguments": "{}"},
    {
        "type": "web_search_call",
        "status": "searching",
        "action": {
            "type": "search",
            "query": "bridges",
            "sources": [{"type": "url", "url": "https://example.org/"}],
        },
    },
    {"type": "file_search_call", "queries": ["q"], "results": [{"filename": "a.pdf"}]},
    {
        "type": "code_interpreter_call",
        "code": "print(1)",
        "outputs": [
            {"type": "logs", "logs": "1"},
            {"type": "image", "url": f"data:image/png;base64,{PIXEL}"},
            {"type": "image", "url": "https://example.org/plot.png"},
        ],
    },
    {"type": "image_generation_call", "result": PIXEL, "revised_prompt": "A bridge"},
    {"type": "computer_call", "action": {"type": "click", "x": 1, "y": 2}},
    {"type": "local_shell_call", "action": {"type": "exec", "command": ["ls", "-l"]}},
    {"type": "shell_call", "action": {"commands": ["pwd"]}},
    {"type": "shell_call_output", "output": [{"stdout": "/home", "stderr": ""}]},
    {"type": "apply_patch_call", "operation": {"type": "update_file", "path": "a", "diff": "+b"}},
    {"type": "tool_search_call", "arguments": {"q": "x"}},
    {"type": "tool_search_output", "tools": [{"name": "found"}]},
    {"type": "compaction", "encrypted_content": "wsb1.x"},
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "I think"}]},
    {"type": "something_new", "status": "completed"},
]
SHOWN = [
    *('Tool call f done Arguments { "a": 1 }', "Tool call say Input words"),
    "MCP call crm · find Arguments {} Output two",
    *("MCP tools crm Tools find", "MCP call, waiting for approval crm · drop Arguments {}"),
    "Web search bridges searching Searched for bridges Sources https://example.org/",
    "File search Searched for q Found a.pdf",
    "Code interpreter Code print(1) Output 1 Image Save the image Image Image made by the code",
    "Image Save the image Prompt A bridge",
    'Computer Action { "type": "click", "x": 1, "y": 2 }',
    *("Shell Command ls -l", "Shell Commands pwd", "Shell output Output /home"),
    *("Patch a update_file +b", 'Tool search Searched for { "q": "x" }', "Tools found Tools found"),
    *("Earlier turns, made short Only the model can read them.", "Reasoning I think"),
    "Item something_new done",
]
DRAW_ITEMS = """async (items) => {
    const { TurnView } = await import("/static/view.js");
    const view = new TurnView("Show me everything", [], () => {});
    document.getElementById("empty").hidden = true;
    document.getElementById("turns").append(view.node);
    view.draw(items);
    view.finish();
    for (const detail of view.node.querySelectorAll("details")) detail.open = true;
    const texts = [...view.node.querySelector(".items").children].map((node) => node.innerText);
    return texts.map((text) => text.split(/\\s+/).join(" ").trim());
}"""


async def test_every_item_of_the_protocol_has_its_look(bridge: str, visit: Visit) -> None:
    """An image is shown if it came with the answer; one that is elsewhere is a link."""
    tab = await entered(visit, bridge)
    assert await tab.page.evaluate(DRAW_ITEMS, EVERY_ITEM) == SHOWN
    pictures = tab.page.locator(".card img")
    assert [await one.get_attribute("alt") for one in await pictures.all()] == [
        "Image made by the code",
        "A bridge",
    ]


async def test_files_reach_the_provider(
    bridge: str, visit: Visit, providers: FakeProviders
) -> None:
    """Chosen, pasted and dropped; an image as an image, all else as a file, in their order."""
    tab = await entered(visit, bridge)
    page = tab.page
    await choose(tab, "native-echo")
    text = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"two bridges"}
    await page.locator("#files").set_input_files([text])
    chips = page.locator("#attached > li")
    await expect(chips).to_have_count(1)
    image = [{"name": "dot.png", "type": "image/png", "base64": PIXEL}]
    transfer = await page.evaluate_handle(AS_FILES, image)
    await page.locator("#prompt").evaluate(PASTE, transfer)
    await expect(chips).to_have_count(2)
    other = [{"name": "a.pdf", "type": "application/pdf", "base64": "JVBERi0="}]
    transfer = await page.evaluate_handle(AS_FILES, [*other, *image])
    await page.locator("#conversation").dispatch_event("drop", {"dataTransfer": transfer})
    await expect(chips).to_have_count(4)
    await page.get_by_role("button", name="Remove dot.png").last.click()
    await tab.ask("What is in these?")
    [sent] = providers.requests("gpt-echo")
    content = sent["input"][0]["content"]
    assert [part["type"] for part in content] == [
        *("input_text", "input_file", "input_image", "input_file"),
    ]
    assert content[1]["file_data"] == "data:text/plain;base64,dHdvIGJyaWRnZXM="
    assert content[2]["image_url"] == f"data:image/png;base64,{PIXEL}"
    assert content[3]["filename"] == "a.pdf"
    await expect(chips).to_have_count(0)
    await page.reload()
    said = page.locator(".said")
    await expect(said.get_by_alt_text("An image you attached")).to_be_visible()
    await expect(said).to_contain_text("notes.txt")


async def test_more_than_the_server_takes_is_not_attached(bridge: str, visit: Visit) -> None:
    """The bound is the server's own: here 2 MiB for a message, of which a file may fill 1.3."""
    tab = await entered(visit, bridge)
    for size, count in ((1_400_000, 1), (50_000, 1)):
        file = {"name": "large.bin", "mimeType": "", "buffer": bytes(size)}
        await tab.page.locator("#files").set_input_files([file])
        await expect(tab.page.locator("#attached > li")).to_have_count(count)
    await expect(tab.page.locator("#banner")).to_contain_text("large.bin is too large")


async def test_conversations_survive_a_reload_and_a_closed_tab(bridge: str, visit: Visit) -> None:
    """Listed, opened, renamed, deleted and brought back."""
    tab = await entered(visit, bridge)
    page = tab.page
    await tab.ask("My name is Ada")
    await page.get_by_role("button", name="New conversation").click()
    await tab.ask("My name is Grace")
    await page.reload()
    await expect(page.locator(".said")).to_contain_text("Grace")
    await page.get_by_role("button", name="Conversations", exact=True).click()
    rows = page.locator("#conversations .row-open")
    assert await rows.all_text_contents() == ["My name is Grace", "My name is Ada"]
    await page.get_by_role("button", name="Rename My name is Ada").click()
    await page.get_by_label("Name of the conversation").fill("Of Ada")
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="Of Ada", exact=True).click()
    assert await tab.ask("What is my name?") == "You told me: your name is Ada."
    await page.get_by_role("button", name="Delete My name is Grace").click()
    await expect(rows).to_have_count(1)
    await page.get_by_role("button", name="Undo").click()
    await expect(rows).to_have_count(2)
    await page.get_by_role("button", name="Delete My name is Grace").click()
    await expect(rows).to_have_count(1)
    again = await page.context.new_page()  # another tab begins a conversation of its own
    await page.close()
    tab.page = again
    await again.goto(bridge)
    await again.locator("#key").fill(KEY)
    await again.keyboard.press("Enter")
    await expect(again.locator(".turn")).to_have_count(0)
    await again.get_by_role("button", name="Conversations", exact=True).click()
    await again.get_by_role("button", name="Of Ada", exact=True).click()
    assert await tab.ask("What is my name?") == "You told me: your name is Ada."


async def test_the_report_of_events_holds_no_secret(
    bridge: str, visit: Visit, tmp_path: Path
) -> None:
    """Neither the page's key, nor what looks like one, nor a file's bytes; but what happened."""
    tab = await entered(visit, bridge)
    page = tab.page
    picture = {"name": "dot.png", "mimeType": "image/png", "buffer": bytes(4000)}
    await page.locator("#files").set_input_files([picture])
    other = "sk-proj-abcdefghijklmnop0123"
    await tab.ask(f"count to 3, {KEY} and {other}, Bearer abc.def")
    await page.get_by_role("button", name="Events", exact=True).click()
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Export").click()
    file = tmp_path / "report.json"
    await (await download.value).save_as(file)
    text = file.read_text()
    for secret in (KEY, other, "abc.def", "A" * 100):
        assert secret not in text, secret
    report = json.loads(text)
    assert report["format"] == "ws-bridge-events-1"
    assert report["address"] == bridge + "/"
    types = [one["event"]["type"] for one in report["events"]]
    assert {"connection.open", "response.create", "response.completed"} <= set(types)
    sent = next(one for one in report["events"] if one["event"]["type"] == "response.create")
    assert "count to 3" in json.dumps(sent)
    assert "data:image/png;base64,[" in json.dumps(sent)


async def test_secrets_are_known_by_their_names(bridge: str, visit: Visit) -> None:
    tab = await entered(visit, bridge)
    cleaned = await tab.page.evaluate("""async () => {
        const { redact } = await import("/static/export.js");
        const mcp = { type: "mcp", server_url: "https://u:x@h/?sig=1", authorization: "t" };
        return redact({ tools: [{ ...mcp, headers: { "X-A": "b" } }], api_key: "k",
            access_token: "t", max_output_tokens: 5, usage: { input_tokens: 3 },
            encrypted_content: "a".repeat(600), text: "words" }, "");
    }""")
    assert cleaned == {
        "tools": [
            {
                "type": "mcp",
                "server_url": "https://[removed]@h/?[removed]",
                "authorization": "[removed]",
                "headers": "[removed]",
            }
        ],
        "api_key": "[removed]",
        "access_token": "[removed]",
        "max_output_tokens": 5,
        "usage": {"input_tokens": 3},
        "encrypted_content": "[600 characters]",
        "text": "words",
    }


FOCUSED = """() => {
    const focused = document.activeElement;
    return focused.getAttribute("aria-label") ?? focused.innerText ?? "";
}"""


async def test_a_conversation_by_keyboard_alone(bridge: str, visit: Visit) -> None:
    """From the key to a turn, to the list and its row, and back to the field; no mouse."""
    tab = await visit(bridge, connected=False)
    page, keyboard = tab.page, tab.page.keyboard

    async def tab_to(name: str) -> None:
        for _ in range(40):
            await keyboard.press("Tab")
            if (await page.evaluate(FOCUSED)).strip() == name:
                return
        pytest.fail(f"Tab does not reach {name}")

    await expect(page.locator("#key")).to_be_focused()
    await keyboard.type(KEY)
    await keyboard.press("Enter")
    await expect(page.locator("#connection")).to_have_attribute("data-state", "open")
    await expect(page.locator("#prompt")).to_be_focused()
    await keyboard.type("My name is Ada")
    await keyboard.press("Enter")
    await tab.settled()
    await page.evaluate("document.activeElement.blur()")
    await tab_to("Conversations")
    await keyboard.press("Enter")
    await expect(page.locator("#list")).to_be_visible()
    await page.evaluate("document.activeElement.blur()")
    await tab_to("Rename My name is Ada")
    await keyboard.press("Enter")
    await keyboard.type("Ada")
    await keyboard.press("Enter")
    await tab_to("Delete Ada")
    await keyboard.press("Enter")
    await expect(page.locator("#conversations .row")).to_have_count(0)
    await tab_to("Undo")
    await keyboard.press("Enter")
    await expect(page.locator("#conversations .row")).to_have_count(1)
    tab.errors[:] = [error for error in tab.errors if "401" not in error]


@pytest.mark.skipif(not AXE.exists(), reason="no npm on this machine")
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everything_has_a_name_a_role_and_contrast(
    bridge: str, visit: Visit, scheme: str, width: int
) -> None:
    """By axe's rules, in each state that looks different."""
    tab = await visit(
        bridge, connected=False, viewport={"width": width, "height": 900}, color_scheme=scheme
    )
    page = tab.page
    await page.evaluate(AXE.read_text(encoding="utf-8"))
    problems: list[str] = []

    async def look(state: str) -> None:
        found = await page.evaluate("axe.run({resultTypes: ['violations']})")
        problems.extend(
            f"{state}: {one['id']} {node['html'][:120]} {node['failureSummary'][:200]}"
            for one in found["violations"]
            for node in one["nodes"]
        )

    await expect(page.locator("#key-form")).to_be_visible()
    await look("key")
    await page.locator("#key").fill(KEY)
    await page.keyboard.press("Enter")
    await expect(page.locator("#connection")).to_have_attribute("data-state", "open")
    await look("empty")
    await page.locator("#files").set_input_files(
        [{"name": "a.txt", "mimeType": "text/plain", "buffer": b"x"}]
    )
    await tab.ask("# Title\n\n| a | b |\n|-|-|\n| 1 | 2 |\n\n- [x] done\n\n```py\nx\n```\n\n> q")
    await page.evaluate(DRAW_ITEMS, EVERY_ITEM)
    await look("turns")
    await page.evaluate("""async () => {
        const { Status } = await import("/static/status.js");
        new Status(() => {}).show("sse", { code: "sockets_blocked", text: "Blocked." });
    }""")
    await look("notice")
    for panel in ("list", "inspector"):
        await page.locator(f"#{panel}-toggle").click()
        await look(panel)
        if width < 900:
            await page.keyboard.press("Escape")
    assert not problems, "\n".join(sorted(set(problems)))
    tab.errors[:] = [error for error in tab.errors if "401" not in error]
