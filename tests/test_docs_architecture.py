"""The pages for contributors name files, classes and functions that exist, and every module."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.layout import read_package
from support.sources import FUNCTIONS, names, syntax
from test_house import FLOORS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MAP = DOCS / "architecture.md"
PAGES = [*(DOCS / f"{name}.md" for name in ("architecture", "extending", "glossary"))]
PAGES += sorted((DOCS / "decisions").glob("*.md"))
DECISIONS = sorted((DOCS / "decisions").glob("[0-9]*.md"))
SOURCES = read_package(ROOT / "ws_bridge")

PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)*(?:/|\.(?:py|md|lua|js|toml|txt))")
CLASS = re.compile(r"([A-Z]\w*[a-z]\w*)(?:\.(\w+))?")
FUNCTION = re.compile(r"(\w+)\(\)")
CONSTANT = re.compile(r"_?[A-Z][A-Z_]+[A-Z]")
BYTES_OF_A_DECISION = 2_600  # a page that is read at one sitting


def marked(page: str) -> list[str]:
    """What stands in code spans; blocks of code are none."""
    return re.findall(
        r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    )


def code_map(page: str) -> Iterator[tuple[str, str]]:
    """Each module of the code map, and what is said of it."""
    part = page.partition("\n## The code map\n")[2].partition("\n## ")[0]
    for section in re.split(r"^### ", part, flags=re.MULTILINE)[1:]:
        title, _, text = section.partition("\n")
        folder = "" if title == "The root" else title
        for module, words in re.findall(r"^- `(\w+)`: (\S.*)$", text, re.MULTILINE):
            yield f"{folder}{module}.py", words


def floors(page: str) -> list[set[str]]:
    """The rooms of the table of floors, the lowest floor first."""
    part = page.partition("\n## Floors\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| \d+ \| ([^|]+) \|", part, re.MULTILINE)
    return [set(re.findall(r"`([^`]+)`", rooms)) for rooms in reversed(rows)]


def members() -> dict[str, set[str]]:
    """What each class of the package has, its bases' of the package included."""
    own: dict[str, set[str]] = defaultdict(set)
    bases: dict[str, list[str]] = {}
    for source in SOURCES.values():
        for node in ast.walk(syntax(source)):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = [ast.unparse(base).rpartition(".")[2] for base in node.bases]
                own[node.name] |= {name.name for name in names(ast.unparse(node))}
    return {name: own[name].union(*(own[base] for base in bases[name])) for name in bases}


def written() -> str:
    """All code of the package and of its tests."""
    tests = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("*.py"))]
    return "\n".join((*SOURCES.values(), *tests))


MEMBERS = members()
WORDS = frozenset(re.findall(r"\w+", written()))
TYPES = frozenset({"Item", "Json", "Now"})
CALLABLES = {
    node.name
    for source in SOURCES.values()
    for node in ast.walk(syntax(source))
    if isinstance(node, FUNCTIONS)
}


def unknown(span: str) -> bool:
    """Whether a code span looks like a name of this project, and is none."""
    if PATH.fullmatch(span):
        places = (ROOT, ROOT / "ws_bridge", DOCS)
        return not any((place / span).exists() for place in places)
    if CONSTANT.fullmatch(span):
        return span not in WORDS
    if found := CLASS.fullmatch(span):
        name, member = found.groups()
        return (
            member not in MEMBERS.get(name, ())
            if member
            else name not in MEMBERS and name not in TYPES
        )
    found = FUNCTION.fullmatch(span)
    return bool(found) and found[1] not in CALLABLES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_a_page_names_what_exists(page):
    text = page.read_text(encoding="utf-8")
    assert sorted({span for span in marked(text) if unknown(span)}) == []


def test_the_code_map_has_every_module_once():
    modules = {file for file in SOURCES if not file.endswith("__init__.py")}
    mapped = [file for file, _ in code_map(MAP.read_text(encoding="utf-8"))]
    assert sorted(mapped) == sorted(modules)


def test_the_table_of_floors_is_the_rule():
    rooms = [{room.removesuffix(".py") for room in floor} for floor in FLOORS]
    rooms[0].discard("__init__")  # a version
    written = floors(MAP.read_text(encoding="utf-8"))
    assert [{room.removesuffix("/") for room in floor} for floor in written] == rooms


def test_a_decision_is_one_page_in_three_parts():
    for page in DECISIONS:
        text = page.read_text(encoding="utf-8")
        parts = re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE)
        assert parts == ["Context", "Decision", "Consequences"], page.name
        assert len(text.encode()) <= BYTES_OF_A_DECISION, page.name


def test_the_list_of_decisions_has_each_of_them():
    listed = re.findall(r"\((\d[^)]+\.md)\)", (DOCS / "decisions" / "README.md").read_text())
    assert listed == [page.name for page in DECISIONS]


@pytest.mark.parametrize(
    ("span", "is_unknown"),
    [
        ("protocol/connection.py", False),
        ("tests/defence/", False),
        ("protocol/gone.py", True),
        ("Connection", False),
        ("Connection.apply", False),
        ("Connection.gone", True),
        ("Gone", True),
        ("read_frame()", False),
        ("vanished()", True),
        ("TERMINAL", False),
        ("GONE" + "_FOREVER", True),
        ("response.created", False),
        ("Retry-After", False),
        ("/v1/responses", False),
    ],
)
def test_names_are_told_from_other_words(span, is_unknown):
    assert unknown(span) is is_unknown


def test_a_map_is_read_from_its_sections():
    page = (
        "## The code map\n### The root\n- `cli`: the\n  command line.\n### store/redis/\n"
        "- `keys`: names.\n## Where\n- `gone`: x\n"
    )
    assert list(code_map("\n" + page)) == [("cli.py", "the"), ("store/redis/keys.py", "names.")]
