"""docs/protocol.md as data: its sections, the rows of its tables, the names in its code spans."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")


def headings() -> list[str]:
    """The numbers of all sections, in order."""
    return re.findall(r"^#{2,3} (\d+(?:\.\d+)?)\.? ", PAGE, re.MULTILINE)


def section(number: str) -> str:
    """The text under one heading, up to the next."""
    found = re.search(
        rf"^#+ {re.escape(number)}\.? .*?$(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL
    )
    assert found, f"no section {number}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of all tables of a text, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    rules = [place for place, line in enumerate(lines) if line.startswith("|---")]
    heads = {*rules, *(place - 1 for place in rules)}
    return [row for place, row in enumerate(table) if place not in heads]


def marked(text: str) -> list[str]:
    """What stands in code spans, `{a,b}` in them spelt out."""
    return [name for span in re.findall(r"`([^`]+)`", text) for name in spelt(span)]


def spelt(span: str) -> Iterator[str]:
    """The names that a span stands for."""
    found = re.fullmatch(r"([\w.]+)\{([\w.,]+)\}", span)
    if found:
        yield from (found[1] + one for one in found[2].split(","))
    else:
        yield span
