"""README and documents: their links lead to a file and a heading in it, and their blocks hold.

Blocks that are programs are run: those of `docs/clients.md` by `test_docs_clients.py` and
`real/test_docs_clients.py`, those of the README by `real/test_readme.py`.
"""

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

import orjson
import pytest
import yaml
from support import snippets

from ws_bridge import cli
from ws_bridge.config import load

ROOT = Path(__file__).parents[1]
RUN_ELSEWHERE = ("docs/clients.md",)
RUN_IN_REAL = ("from openai import", "$ ws-bridge init")  # what the blocks of the README have
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


# Blocks

BLOCKS = [
    pytest.param(one, id=f"{name}: {one}")
    for page in PAGES
    if (name := page.relative_to(ROOT).as_posix()) not in RUN_ELSEWHERE
    for one in snippets.read(page.read_text(encoding="utf-8"))
    if one.kind and not (name == "README.md" and any(text in one.text for text in RUN_IN_REAL))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_is_what_it_says(block: snippets.Snippet, tmp_path: Path) -> None:
    """A block of any other kind is one that nothing looks at."""
    READERS[block.kind](block.text, tmp_path)


def read_configuration(text: str, folder: Path) -> None:
    """It is one that a server starts with, where the names of its secrets hold any."""
    path = folder / "config.toml"
    path.write_text(with_a_model(text).replace('"…"', f'"{"0" * 64}"'), encoding="utf-8")
    load(path, dict.fromkeys(re.findall(r'_env = "(\w+)"', text), "a-secret-of-tests"))


def read_console(text: str, _folder: Path) -> None:
    """Its lines name what there is."""
    assert [line for line in commands(text) if not is_known(line)] == []


def read_unit(text: str, _folder: Path) -> None:
    """Commands of systemd's units."""
    found = re.findall(r"^Exec\w+=(.+)$", text, re.MULTILINE)
    assert found
    assert [line for line in found if not is_known(line)] == []


READERS: dict[str, Callable[[str, Path], object]] = {
    "toml": read_configuration,
    "json": lambda text, _folder: orjson.loads(text),
    "yaml": lambda text, _folder: yaml.safe_load(text),
    "ini": read_unit,
    "console": read_console,
    "python": lambda text, _folder: compile(text, "a page", "exec"),  # protocol.md's: test_recipes
}


def with_a_model(text: str) -> str:
    """A configuration of a page, which may be about something else."""
    if "[[models]]" in text:
        return text
    return text + '[[models]]\nname = "gpt-*"\nmodel = "openai/gpt-*"\n'


def commands(text: str) -> list[str]:
    """The lines of a block that are typed, without their comments."""
    typed = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    return [line.partition(" #")[0].strip() for line in typed]


def is_known(line: str) -> bool:
    """A target of the Makefile, a program of the tests, or a command line of `ws-bridge`.

    Other programs are not looked at.
    """
    words = shlex.split(line)
    variables = [word.partition("=")[0] for word in words if re.match(r"[A-Z]+=", word)]
    command, *options = words[len(variables) :]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    if command == "make":
        return f"\n{options[0]}:" in makefile and all(
            f"$({name})" in makefile for name in variables
        )
    if command == ".venv/bin/python":
        source = ROOT / options[1].replace(".", "/") / "__main__.py"
        return all(option in source.read_text(encoding="utf-8") for option in options[2:])
    return Path(command).name != "ws-bridge" or bool(cli._parser().parse_args(options))
