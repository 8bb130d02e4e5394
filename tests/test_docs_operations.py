"""docs/operations.md has every word that the log may say, and alerts on series that there are."""

import re
from collections import defaultdict
from pathlib import Path

from support.sources import log_lines

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "operations.md"
HOUSE = ROOT / "ws_bridge"

COMPOSED = {"response": {"info"}}  # `line_of` makes it of the fields of a `JobFinished`

Words = dict[str, set[str]]  # a line's word or words: its levels


def logged() -> Words:
    """What the code says."""
    found: Words = defaultdict(set, COMPOSED)
    for path in sorted(HOUSE.rglob("*.py")):
        for words, level in log_lines(path.read_text(encoding="utf-8")):
            found[words].add(level)
    return found


def explained(page: str) -> Words:
    """What the section of the page says about the log."""
    section = page.partition("\n## Logs\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| ([a-z, ]+) \|", section, flags=re.MULTILINE)
    assert len(rows) == len(dict(rows)), "a word stands there twice"
    return {words: set(levels.split(", ")) for words, levels in rows}


def test_the_page_has_every_word_of_the_log_with_its_levels():
    assert explained(PAGE.read_text(encoding="utf-8")) == logged()


NAME = re.compile(r"\b(?:ws_bridge|gen_ai|process)_[a-z_]+")
ALERT = re.compile(r"^\| `([A-Z]\w+)` \| `(.+?)` \| (\d+m) \| (.+) \| (.+) \|$", re.MULTILINE)


def alerts(page: str) -> list[dict[str, str]]:
    """The page's alerts, as rules of Prometheus."""
    rows = ALERT.findall(page)
    return [
        {"alert": name, "expr": expression.replace("\\|", "|"), "for": wait}
        for name, expression, wait, _, _ in rows
    ]


def series(page: str) -> dict[str, set[str]]:
    """The labels of each metric that the page has."""
    section = page.partition("\n## Metrics\n")[2].partition("\n## ")[0]
    table, _, own = section.partition("\nThe page has two more: ")
    rows = re.findall(r"^\| `([a-z_]+)` \| [a-z]+ \|([^|]*)\|", table, flags=re.MULTILINE)
    found = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    return found | {name: set() for name in NAME.findall(own.partition("\n\n")[0])}


def names_in(expression: str) -> set[str]:
    """The metrics that an expression is on."""
    return {re.sub("_(bucket|count|sum)$", "", name) for name in NAME.findall(expression)}


def test_alerts_are_on_series_of_the_page():
    page = PAGE.read_text(encoding="utf-8")
    known = set(series(page))
    rules = alerts(page)
    assert len(rules) == len({rule["alert"] for rule in rules}) > 10
    for rule in rules:
        assert names_in(rule["expr"]), rule
        assert names_in(rule["expr"]) <= known, rule
