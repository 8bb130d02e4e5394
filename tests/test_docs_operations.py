"""docs/operations.md has every word that the log may say, with its levels."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "operations.md"
HOUSE = ROOT / "ws_bridge"

LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error"}
LEVELS |= {"exception": "error", "critical": "critical"}
COMPOSED = {"response": {"info"}}  # `line_of` makes it of the fields of a `JobFinished`

Words = dict[str, set[str]]  # a line's word or words: its levels


def said(source: str) -> Iterator[tuple[str, str]]:
    """The words that begin the log lines of a file, and their levels.

    Raises ``ValueError`` for a line whose words stand somewhere else.
    """
    tree = ast.parse(source)
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for call in ast.walk(function):
            if not isinstance(call, ast.Call) or not (levels := levels_of(call.func)):
                continue
            if "log" in levels:  # the level is a value: what the function names
                levels = {
                    part.attr.lower()
                    for part in ast.walk(function)
                    if isinstance(part, ast.Attribute) and ast.unparse(part.value) == "logging"
                }
            words = words_of(call.args)
            yield from ((words, level) for level in levels if words)


def levels_of(called: ast.expr) -> set[str]:
    """At which levels a call logs; ``log`` if that is a value, and none if it is no log's."""
    if isinstance(called, ast.IfExp):
        return levels_of(called.body) | levels_of(called.orelse)
    if not isinstance(called, ast.Attribute) or ast.unparse(called.value) != "log":
        return set()
    return {"log"} if called.attr == "log" else {LEVELS[called.attr]}


def words_of(arguments: list[ast.expr]) -> str:
    """What a line begins with, up to its first field or its explanation; "" if it is composed."""
    if isinstance(arguments[0], ast.Starred):
        return ""
    texts = [one.value for one in arguments if isinstance(one, ast.Constant)]
    if not texts or not isinstance(texts[0], str):
        raise ValueError(f"{ast.unparse(arguments[0])} is no text")
    return re.split(r" ?(?:\w+=)?%|:", texts[0])[0]


def logged() -> Words:
    """What the code says."""
    found: Words = defaultdict(set, COMPOSED)
    for path in sorted(HOUSE.rglob("*.py")):
        for words, level in said(path.read_text(encoding="utf-8")):
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


LINES = """
def f():
    log.info("one id=%s", 1)
    log.exception("two")
    (log.info if x else log.error)("three %s", y)
    log.warning("four five: in words")
    log.info(*line)
    self.log.append("x")
"""
BY_VALUE = """
async def g():
    level = logging.INFO if x else logging.WARNING
    log.log(level, "six kind=%s", y)
"""


def test_lines_are_found_in_every_form():
    found = [("one", "info"), ("two", "error"), ("three", "info"), ("three", "error")]
    found += [("four five", "warning"), ("six", "info"), ("six", "warning")]
    assert sorted(said(LINES + BY_VALUE)) == sorted(found)


def test_a_line_whose_words_are_a_value_is_refused():
    with pytest.raises(ValueError, match="is no text"):
        list(said("def f():\n    log.info(text)\n"))
