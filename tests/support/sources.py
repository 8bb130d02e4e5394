"""What source files import, name and log, read from their syntax; none of them is run."""

from __future__ import annotations

import ast
import functools
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
LEVELS = {level: level for level in ("debug", "info", "warning", "error")}
LEVELS |= {"exception": "error", "critical": "critical"}


@functools.cache
def syntax(source: str) -> ast.Module:
    """The syntax tree of a file, which nobody changes: many rules look at each file."""
    return ast.parse(source)


def imports(source: str, home: Path) -> list[str]:
    """The modules that a file names, at its top or anywhere else.

    ``home`` is the folder of the packages that are looked into: what is imported from a package
    there is a module of it, what is imported from any other module is a name in it.
    """
    found = []
    for node in ast.walk(syntax(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names = [f"{module}.{alias.name}" for alias in node.names]
            found += names if (home / module.replace(".", "/")).is_dir() else [module]
    return found


@dataclass(frozen=True)
class Name:
    """A name that a file gives to something of its own."""

    kind: str  # "class", "function", "parameter", "attribute" or "variable"
    name: str
    line: int


def names(source: str) -> Iterator[Name]:
    """Every name that a file gives; what it imports was named elsewhere."""
    for node in ast.walk(syntax(source)):
        if isinstance(node, ast.ClassDef):
            yield Name("class", node.name, node.lineno)
        elif isinstance(node, FUNCTIONS):
            yield Name("function", node.name, node.lineno)
        elif isinstance(node, ast.arg):
            yield Name("parameter", node.arg, node.lineno)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield Name("attribute", node.attr, node.lineno)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield Name("variable", node.id, node.lineno)


def prose(source: str) -> Iterator[tuple[int, str]]:
    """Every comment and docstring of a file, with the line where it begins."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(syntax(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, *FUNCTIONS)) and (
            text := ast.get_docstring(node, clean=False)
        ):
            yield node.body[0].lineno, text


def words(name: str) -> list[str]:
    """The words of a name, in lower case: those of ``HttpWatch`` are "http" and "watch"."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", name)
    return [part.lower() for part in parts]


def log_lines(source: str) -> Iterator[tuple[str, str]]:
    """The words that begin the log lines of a file, and their levels.

    Raises ``ValueError`` for a line whose words stand somewhere else.
    """
    for function in ast.walk(syntax(source)):
        if not isinstance(function, FUNCTIONS):
            continue
        for call in ast.walk(function):
            if not isinstance(call, ast.Call) or not (levels := _levels_of(call.func)):
                continue
            if "log" in levels:  # the level is a value: what the function names
                levels = {
                    part.attr.lower()
                    for part in ast.walk(function)
                    if isinstance(part, ast.Attribute) and ast.unparse(part.value) == "logging"
                }
            beginning = _beginning(call.args)
            yield from ((beginning, level) for level in levels if beginning)


def _levels_of(called: ast.expr) -> set[str]:
    """At which levels a call logs; ``log`` if that is a value, and none if it is no log's."""
    if isinstance(called, ast.IfExp):
        return _levels_of(called.body) | _levels_of(called.orelse)
    if not isinstance(called, ast.Attribute) or ast.unparse(called.value) != "log":
        return set()
    return {"log"} if called.attr == "log" else {LEVELS[called.attr]}


def _beginning(arguments: list[ast.expr]) -> str:
    """A line up to its first field or its explanation; "" if it is composed."""
    if isinstance(arguments[0], ast.Starred):
        return ""
    texts = [one.value for one in arguments if isinstance(one, ast.Constant)]
    if not texts or not isinstance(texts[0], str):
        raise ValueError(f"{ast.unparse(arguments[0])} is no text")
    return re.split(r" ?(?:\w+=)?%|:", texts[0])[0]
