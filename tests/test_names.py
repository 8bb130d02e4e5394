"""How things are named and described: standard words, one meaning a name, a glossary of all nouns.

A name is checked wherever the code gives it: to a module, a class, a function, a parameter, an
attribute or a variable. What is stored keeps its names in strings, which are not checked.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path

import pytest
from support.layout import read_package
from support.sources import Name, names, prose, syntax, words

ROOT = Path(__file__).parents[1]
SOURCES = read_package(ROOT / "ws_bridge")
GLOSSARY = ROOT / "docs" / "glossary.md"

# Words of an earlier, private language, and general verbs. docs/glossary.md has the field's words.
REPLACED = frozenset(
    """tell telling tells told say says said saying speak spoken hear hears heard ear ears
    feed feeds fed food eat eats meal hunger door doorway entrance gate guard duty turnstile rounds
    patience orders hurry hasten leaving board standing wire wires seat refusals plan folds writing
    packing layout presence following stone splice merging budgets exchange whoever nobody anew
    somebody judged pay owed owes farewell rebirth mood
    manager utils helpers""".split()
)
GENERAL_VERBS = frozenset({"handle", "process"})  # which say nothing of what is done
REPLACED_PHRASES = (("see", "off"), ("let", "go"), ("let", "on"))
# Names that are not the project's own.
GIVEN = {
    "handle_error": "aiohttp's, of a request handler",
    "pause_writing": "asyncio's, of a protocol",
    "resume_writing": "asyncio's, of a protocol",
    "process_request": "socketserver's, of a server",
    "process_request_thread": "socketserver's, of a server",
}
# Files whose names are being replaced; the list only shrinks.
UNFINISHED = ("upstream/dialects/*", "upstream/litellm/direct.py*", "upstream/litellm/tap.py*")
UNEXPLAINED = frozenset({"Fed"})  # a class whose name is being replaced

# Words of sentences that want a subject.
UNCLEAR = re.compile(r"\b(?:whoever|nobody|somebody|anew)\b", re.IGNORECASE)
MOST_UNCLEAR = 12  # lines; the number only shrinks

ERRORS = frozenset({"Exception", "ValueError"})


def replaced_words(file: str, source: str) -> Iterator[str]:
    """The names of a file, its own included, that have a replaced word in them."""
    for one in (Name("module", Path(file).stem, 0), *names(source)):
        found = words(one.name)
        is_replaced = REPLACED & set(found) or set(REPLACED_PHRASES) & set(pairwise(found))
        is_general = one.kind == "function" and found and found[0] in GENERAL_VERBS
        if one.name not in GIVEN and (is_replaced or is_general):
            yield f"{file}:{one.line}: {one.name}"


def classes() -> dict[str, list[str]]:
    """Every class name, and the files that have a class of that name."""
    found = defaultdict(list)
    for file, source in SOURCES.items():
        for name in names(source):
            if name.kind == "class":
                found[name.name].append(file)
    return found


def errors() -> set[str]:
    """The classes that are exceptions: docs/protocol.md explains those that clients get."""
    bases: dict[str, set[str]] = {}
    for source in SOURCES.values():
        for node in ast.walk(syntax(source)):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
    found: set[str] = set()
    while more := {name for name, of in bases.items() if of & (ERRORS | found)} - found:
        found |= more
    return found


def entries(page: str) -> set[str]:
    """The words that the glossary explains: those in bold, of each line of its lists."""
    lines = re.findall(r"^- .*(?:\n  .*)*", page, re.MULTILINE)
    return {word.lower() for line in lines for word in re.findall(r"\*\*([^*]+)\*\*", line)}


def is_explained(name: str, explained: set[str]) -> bool:
    """Whether the words of a class name, or the last of them, are an entry, perhaps in singular."""
    spelled = " ".join(words(name))
    last = words(name)[-1]
    forms = {spelled, last} | {form.removesuffix("s") for form in (spelled, last)}
    return bool(forms & explained)


def test_no_name_has_a_replaced_word_in_it():
    found = [
        problem for file, source in SOURCES.items() for problem in replaced_words(file, source)
    ]
    assert [one for one in found if not any(fnmatch(one, part) for part in UNFINISHED)] == []


def test_sentences_have_a_subject():
    """In comments and docstrings, in the scripts of the store, and on the pages."""
    found = [
        f"{file}:{line}"
        for file, source in SOURCES.items()
        for line, text in prose(source)
        if UNCLEAR.search(text)
    ]
    pages = (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("ws_bridge/**/*.lua"))
    for page in pages:
        lines = page.read_text(encoding="utf-8").splitlines()
        found += [f"{page.name}:{n}" for n, line in enumerate(lines, 1) if UNCLEAR.search(line)]
    assert len(found) <= MOST_UNCLEAR, found


def test_no_class_name_stands_twice():
    assert {name: files for name, files in classes().items() if len(files) > 1} == {}


def test_the_glossary_explains_what_each_class_is():
    explained = entries(GLOSSARY.read_text(encoding="utf-8"))
    names_of_things = set(classes()) - errors() - UNEXPLAINED
    assert [name for name in sorted(names_of_things) if not is_explained(name, explained)] == []


def test_the_glossary_explains_no_word_that_the_code_has_not():
    code = "\n".join(SOURCES.values()).lower()
    explained = entries(GLOSSARY.read_text(encoding="utf-8"))
    assert [one for one in sorted(explained) if not all(word in code for word in one.split())] == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("server/door.py", ""),
        ("new.py", "class HttpDoor: ..."),
        ("new.py", "def _tell_all(): ..."),
        ("new.py", "def f(said): ..."),
        ("new.py", "class A:\n    is_told = 1"),
        ("new.py", "self._hunger = 1"),
        ("new.py", "def let_go(): ..."),
        ("new.py", "def handle_close(): ..."),
    ],
)
def test_a_replaced_word_is_found_in_every_name(file, source):
    assert len(list(replaced_words(file, source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "def handle_error(): ...",
        "def safeguard(): ...",  # another word
        "fields['said'] = 1",  # stored
        "from x import plan",
        "process = spawn()",
        "let, go = 1, 2",
    ],
)
def test_other_names_are_left_alone(source):
    assert list(replaced_words("new.py", source)) == []


def test_a_class_is_explained_by_its_whole_name_or_its_last_word():
    page = (
        "# Glossary\n- **lease** (`Lease`): a right.\n- **circuit breaker**, **probe**: a switch.\n"
    )
    explained = entries(page)
    assert explained == {"lease", "circuit breaker", "probe"}
    assert is_explained("LaneLease", explained)
    assert is_explained("Leases", explained)
    assert is_explained("CircuitBreaker", explained)
    assert not is_explained("LeaseTable", explained)
    assert not is_explained("Circuit", explained)
