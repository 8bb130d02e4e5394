"""The marks in the sources of the tests, and docs/faults.md, which is made of them."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from catalogue.cases import CASES, ELSEWHERE, GROUPS

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "faults.md"
MARK = "catalogue"
PREFACE = """\
# Faults

Every fault that the bridge is to survive has a number. The tests that inject it carry the number
as a mark: `@pytest.mark.catalogue("W1")`. A number keeps its meaning for ever and is not used
again. `python -m tests.catalogue` makes this page of the marks and of
[`tests/catalogue/cases.py`](../tests/catalogue/cases.py), and `tests/test_catalogue.py` fails where
they differ: change the cases or the marks, not this page.

A case is one line: what happens, a colon, and what is seen then. Its tests assert all of that line
and no more. They run on real parts: a real Redis or Valkey, real sockets, real processes, and a
scripted provider on loopback.

There are random faults besides:

- `make faults` kills, freezes and restarts servers and store, and cuts the lines between them,
  under load and for ten minutes, and checks what every reader saw. `FAULTS=1000 make faults` goes
  on until there were so many faults.
- `make soak` runs ten minutes of clients that come, cancel, leave and stall.
- `python -m tests.rolling --chains 100` restarts servers and workers under chains of turns.
- `python -m tests.attack` attacks with one key beside fifty streams of another.
- `python -m tests.defence.fuzz` sends random bad input.
"""

Shown = Mapping[str, list[str]]  # number: the files whose tests show it


def shown() -> Shown:
    """Which files of the tests show which cases."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("*.py")):
        file = path.relative_to(TESTS).as_posix()
        for number in sorted(set(marks(path.read_text(encoding="utf-8")))):
            found[number].append(file)
    return found


def marks(source: str) -> Iterator[str]:
    """The numbers that a file's tests are marked with. Raises ``ValueError`` for what is no mark.

    A mark stands above a test, above a class of tests, or in a parameter's ``marks``.
    """
    if MARK not in source:
        return
    tree = ast.parse(source)
    for node in ast.walk(tree):
        name = getattr(node, "name", "test_")
        for mark in getattr(node, "decorator_list", ()):
            if _is_mark(mark) and not name.startswith(("test_", "Test")):
                raise ValueError(f"{name} is marked and is no test")
    for node in ast.walk(tree):
        if _is_mark(node):
            yield from _numbers(node)


def _is_mark(node: ast.AST) -> bool:
    is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    return is_call and ast.unparse(node.func) == f"pytest.mark.{MARK}"


def _numbers(mark: ast.Call) -> Iterator[str]:
    for argument in mark.args:
        if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
            raise ValueError(f"{ast.unparse(mark)} does not name its cases")  # noqa: TRY004 - of a text
        yield argument.value


def problems(found: Shown) -> Iterator[str]:
    """What does not fit: unknown numbers, cases without a test or a reason, or with both."""
    for number, files in found.items():
        if number not in CASES:
            yield f"{number} of {', '.join(files)} is no case"
    for number in CASES:
        if number in found and number in ELSEWHERE:
            yield f"{number} has a test, and a reason to have none"
        if number not in found and number not in ELSEWHERE:
            yield f"{number} has neither a test nor a reason to have none"
    yield from (f"{number} is no case" for number in ELSEWHERE if number not in CASES)


def page(found: Shown) -> str:
    """The whole page."""
    count = len(CASES.keys() & found.keys())
    lines = [PREFACE, f"{count} of {len(CASES)} numbered faults are tests of `make test`."]
    for letter, title in GROUPS.items():
        numbers = [number for number in CASES if number[0] == letter]
        done = sum(number in found for number in numbers)
        lines += ["", f"## {title}: {done} of {len(numbers)}", ""]
        lines += ["| | what happens, and what is seen then | tests |", "|---|---|---|"]
        lines += [_row(number, found.get(number, ())) for number in numbers]
    return "\n".join(lines) + "\n"


def _row(number: str, files: list[str] | tuple[()]) -> str:
    links = " ".join(f"[{file.removesuffix('.py')}](../tests/{file})" for file in files)
    return f"| {number} | {CASES[number]} | {links or 'none: ' + ELSEWHERE.get(number, '?')} |"
