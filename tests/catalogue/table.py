"""The marks in the sources of the tests, and the README's section that is made of them."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from catalogue.cases import CASES, ELSEWHERE, GROUPS

TESTS = Path(__file__).parents[1]
README = TESTS.parent / "README.md"
BEGIN, END = "<!-- catalogue: begin -->", "<!-- catalogue: end -->"
MARK = "catalogue"

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


def section(found: Shown) -> str:
    """The section, without the two lines around it."""
    count = len(CASES.keys() & found.keys())
    lines = [f"{count} of {len(CASES)} numbered faults are tests of `make test`, on real parts:"]
    for letter, title in GROUPS.items():
        numbers = [number for number in CASES if number[0] == letter]
        done = sum(number in found for number in numbers)
        lines += ["", "<details>", f"<summary>{title}: {done} of {len(numbers)}</summary>", ""]
        lines += ["| | what happens, and what is seen then | tests |", "|---|---|---|"]
        lines += [_row(number, found.get(number, ())) for number in numbers]
        lines += ["", "</details>"]
    return "\n".join(lines)


def _row(number: str, files: list[str] | tuple[()]) -> str:
    links = " ".join(f"[{file.removesuffix('.py')}](tests/{file})" for file in files)
    return f"| {number} | {CASES[number]} | {links or 'none: ' + ELSEWHERE.get(number, '?')} |"


def replaced(readme: str, new: str) -> str:
    """The README with another section. Raises ``ValueError`` if it has no place for it."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the README has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{new}\n{END}{after}"
