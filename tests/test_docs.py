"""The links of README and documents lead somewhere: to a file, and to a heading in it."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]
WRITTEN = (ROOT / folder for folder in ("docs", "examples"))
PAGES = sorted((*ROOT.glob("*.md"), *(page for folder in WRITTEN for page in folder.rglob("*.md"))))

CODE = re.compile(r"^(```|~~~).*?^\1|`[^`\n]*`", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(<?([^()\s>]+)>?(?: \"[^\"]*\")?\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
NAMED = re.compile(r"<a (?:id|name)=\"([^\"]+)\"")
ELSEWHERE = ("http://", "https://", "mailto:")


def anchors(text: str) -> set[str]:
    """The names of a page's headings, as GitHub makes them."""
    text = FENCE.sub("", text)
    seen: dict[str, int] = {}
    names = set(NAMED.findall(text))
    for heading in HEADING.findall(text):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        count = seen.get(slug, 0)
        names.add(f"{slug}-{count}" if count else slug)
        seen[slug] = count + 1
    return names


def dead_links(page: Path) -> Iterator[str]:
    """The links of a page that lead nowhere in this repository."""
    for link in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        if link.startswith(ELSEWHERE):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (
            anchor
            and target.suffix == ".md"
            and anchor not in anchors(target.read_text(encoding="utf-8"))
        ):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page):
    assert list(dead_links(page)) == []


def test_dead_links_are_found(tmp_path):
    (tmp_path / "other.md").write_text('# Two words\n\n## `code`: a "sign"\n\n# Two words\n')
    page = tmp_path / "page.md"
    page.write_text(
        "# Here\n[a](#here) [b](other.md#two-words-1) [c](other.md#code-a-sign) "
        "[d](https://example.org/x) `[e](gone.md)` [f](#gone) [g](gone.md) [h](other.md#gone)\n"
        "```\n[i](gone.md)\n```\n"
    )
    assert list(dead_links(page)) == ["#gone", "gone.md", "other.md#gone"]
