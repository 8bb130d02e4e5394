"""Names, imports and log lines are read from the syntax, in every form they have."""

from pathlib import Path

import pytest
from support.sources import Name, imports, log_lines, names, prose, words

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


def test_log_lines_are_found_in_every_form():
    found = [("one", "info"), ("two", "error"), ("three", "info"), ("three", "error")]
    found += [("four five", "warning"), ("six", "info"), ("six", "warning")]
    assert sorted(log_lines(LINES + BY_VALUE)) == sorted(found)


def test_a_log_line_whose_words_are_a_value_is_refused():
    with pytest.raises(ValueError, match="is no text"):
        list(log_lines("def f():\n    log.info(text)\n"))


NAMES = """
import json as text
class HttpWatch(Base):
    size: int = 0
    def read(self, after, *more):
        self.position = kept[0] = after
        for one in more:
            yield one
"""


def test_every_name_that_a_file_gives_is_found():
    assert sorted(names(NAMES), key=lambda name: (name.line, name.name)) == [
        Name("class", "HttpWatch", 3),
        Name("variable", "size", 4),
        Name("parameter", "after", 5),
        Name("parameter", "more", 5),
        Name("function", "read", 5),
        Name("parameter", "self", 5),
        Name("attribute", "position", 6),
        Name("variable", "one", 7),
    ]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("HttpWatch", ["http", "watch"]),
        ("_SseWriter", ["sse", "writer"]),
        ("MAX_ANCESTORS", ["max", "ancestors"]),
        ("HTTPHandler2", ["http", "handler", "2"]),
        ("let_go", ["let", "go"]),
    ],
)
def test_a_name_is_split_into_its_words(name, found):
    assert words(name) == found


def test_what_is_imported_from_a_package_is_a_module_of_it(tmp_path):
    (tmp_path / "house" / "low").mkdir(parents=True)
    source = "import json, os.path\nfrom house.low import base\nfrom house.side import Right\n"
    expected = ["json", "os.path", "house.low.base", "house.side"]
    assert imports(source, Path(tmp_path)) == expected


def test_prose_is_comments_and_docstrings_and_no_other_text():
    source = '"""One."""\nx = "# no"  # two\nclass A:\n    """Three\n\n    four."""\n'
    assert sorted(prose(source)) == [(1, "One."), (2, "# two"), (4, "Three\n\n    four.")]
