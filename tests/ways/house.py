"""How a package is laid out, from its syntax: rooms, floors, arrows, names that stand twice.

A room is a folder, or a module of the root; it is above each room that it imports from. Rooms that
import each other, directly or around, stand on one floor. Neighbours are the modules and folders of
one folder: there a folder counts as one with all that is in it.
"""

from __future__ import annotations

import ast
import functools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from support.layout import (
    Arrow,
    arrows_in_cycles,
    cycles,
    imports_between,
    levels,
    reachable,
    read_package,
)
from support.sources import syntax

NO_MODULES_OF_THEIR_OWN = frozenset({"__init__.py", "__main__.py"})
METHODS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class House:
    """A package's files, by their path below its folder, and the paths of its tests' files."""

    package: Path
    files: Mapping[str, str]
    tests: frozenset[str]

    @classmethod
    def of(cls, package: Path, tests: Path) -> House:
        """Read it."""
        return cls(
            package,
            read_package(package),
            frozenset(path.relative_to(tests).as_posix() for path in tests.rglob("test_*.py")),
        )

    @functools.cached_property
    def between_files(self) -> set[Arrow]:
        """Which file imports from which other one."""
        return imports_between(self.files, self.package)

    @functools.cached_property
    def rooms(self) -> list[str]:
        """A folder's path, or a root module's file name; the root's own ``__init__`` is none."""
        return sorted({room for file in self.files if (room := _room(file))})

    @functools.cached_property
    def arrows(self) -> list[Arrow]:
        """Which room imports from which other one."""
        rooms = ((_room(above), _room(below)) for above, below in self.between_files)
        return sorted(
            {(above, below) for above, below in rooms if above != below and all((above, below))}
        )

    @property
    def outer_rooms(self) -> list[str]:
        """The same where a folder is one room with all folders in it."""
        return sorted({file.split("/")[0] for file in self.files} - {"__init__.py"})

    @property
    def outer_arrows(self) -> list[Arrow]:
        """Which outer room imports from which other one."""
        return sorted(levels(self.between_files).get("", set()))

    @property
    def cycles(self) -> list[list[str]]:
        """Rooms that import each other, directly or around."""
        return cycles(self.arrows)

    @property
    def arrows_up(self) -> list[Arrow]:
        """The arrows inside cycles: of each cycle one at least goes up."""
        return arrows_in_cycles(self.arrows)

    @property
    def neighbours_up(self) -> list[Arrow]:
        """The same between the modules and folders of one folder, of every folder."""
        return [
            (f"{level}/{above}".lstrip("/"), below)
            for level, arrows in sorted(levels(self.between_files).items())
            for above, below in arrows_in_cycles(arrows)
        ]

    @property
    def floors(self) -> int:
        """How many rooms the longest way down has; those of a cycle are one."""
        return max(self._heights.values(), default=0)

    @property
    def root_modules(self) -> list[str]:
        """The modules that stand in no folder."""
        return [file for file in self.files if "/" not in file and file != "__init__.py"]

    @property
    def lines(self) -> int:
        """Of all files."""
        return sum(source.count("\n") for source in self.files.values())

    @property
    def classes_twice(self) -> dict[str, list[str]]:
        """Class names that stand in several places, and the files."""
        places = defaultdict(list)
        for file, node in self._nodes():
            if isinstance(node, ast.ClassDef):
                places[node.name].append(file)
        return {name: files for name, files in sorted(places.items()) if len(files) > 1}

    @property
    def untested(self) -> list[str]:
        """The modules without a test file of their own: ``a/b.py`` has ``a/test_b.py``."""
        return [
            file
            for file in self.files
            if PurePosixPath(file).name not in NO_MODULES_OF_THEIR_OWN
            and PurePosixPath(file).with_name(f"test_{PurePosixPath(file).name}").as_posix()
            not in self.tests
        ]

    @property
    def methods(self) -> Counter[str]:
        """How often a method's name stands; not those that Python gives."""
        return Counter(
            method.name
            for _, node in self._nodes()
            if isinstance(node, ast.ClassDef)
            for method in node.body
            if isinstance(method, METHODS) and not method.name.startswith("__")
        )

    @property
    def longest(self) -> list[tuple[int, str]]:
        """Lines and path of each file, the longest first."""
        sizes = [(source.count("\n"), file) for file, source in self.files.items()]
        return sorted(sizes, key=lambda size: (-size[0], size[1]))

    def _nodes(self) -> Iterator[tuple[str, ast.AST]]:
        for file, source in self.files.items():
            for node in ast.walk(syntax(source)):
                yield file, node

    @functools.cached_property
    def _below(self) -> dict[str, set[str]]:
        """Each room, and all that can be reached from it."""
        return {room: set() for room in self.rooms} | reachable(self.arrows)

    def _together(self, room: str) -> set[str]:
        return {room} | {other for other in self._below[room] if room in self._below[other]}

    @functools.cached_property
    def _heights(self) -> dict[str, int]:
        """On which floor each room stands, counted from below."""
        heights: dict[str, int] = {}
        # A room reaches all that its lower rooms reach, and more.
        for room in sorted(self.rooms, key=lambda room: len(self._below[room] | {room})):
            lower = self._below[room] - self._together(room)
            heights[room] = 1 + max((heights[other] for other in lower), default=0)
        return heights


def _room(file: str) -> str:
    folder, _, name = file.rpartition("/")
    return folder or name.replace("__init__.py", "")


SHOWN = 10


def told(house: House) -> str:
    """The counts, as Markdown."""
    counts = {
        "rooms": len(house.rooms),
        "floors": house.floors,
        "arrows between rooms": len(house.arrows),
        "outer rooms (a folder with all in it)": len(house.outer_rooms),
        "arrows between outer rooms": len(house.outer_arrows),
        "arrows in cycles": len(house.arrows_up),
        "arrows in cycles of neighbours": len(house.neighbours_up),
        "modules": len(house.files),
        "root modules": len(house.root_modules),
        "lines": house.lines,
        "class names that stand twice": len(house.classes_twice),
        "modules without a test file of their own": len(house.untested),
    }
    often = [f"`{name}` {count}" for name, count in house.methods.most_common(SHOWN)]
    longest = [f"`{file}` {lines}" for lines, file in house.longest[:SHOWN]]
    twice = [f"`{name}`: {', '.join(files)}" for name, files in house.classes_twice.items()]
    return (
        "| what | count |\n| --- | --: |\n"
        + "".join(f"| {what} | {count} |\n" for what, count in counts.items())
        + _list("Methods' names that stand most often", often)
        + _list("Longest files, in lines", longest)
        + _list("Cycles", [" ".join(cycle) for cycle in house.cycles])
        + _list("Arrows in cycles", [f"{above} -> {below}" for above, below in house.arrows_up])
        + _list(
            "Arrows in cycles of neighbours",
            [f"{above} -> {below}" for above, below in house.neighbours_up],
        )
        + _list("Class names that stand twice", twice)
        + _list("Modules without a test file of their own", house.untested)
    )


def _list(title: str, lines: Sequence[str]) -> str:
    return f"\n{title}:\n\n" + "".join(f"- {line}\n" for line in lines or ["none"])
