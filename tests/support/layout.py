"""Which rooms of a package import which, level by level.

A level is a folder of the package; its rooms are the modules and the folders in it. An import from
one file into another is an arrow between two rooms of the deepest level that holds both files.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from support.sources import imports

Arrow = tuple[str, str]


def read_package(package: Path) -> dict[str, str]:
    """The text of each file of a package, by its path below the package's folder."""
    return {
        path.relative_to(package).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(package.rglob("*.py"))
    }


def file_of(module: str, package: str, files: Iterable[str]) -> str | None:
    """The file of a module, or of a name in a module; None if it is another package's."""
    top, *path = module.split(".")
    if top != package:
        return None
    wholes = ("/".join(path), "/".join(path[:-1]))
    wanted = [file for whole in wholes for file in (f"{whole}.py", f"{whole}/__init__.py")]
    return next((file for one in wanted if (file := one.lstrip("/")) in files), None)


def imports_between(files: Mapping[str, str], package: Path) -> set[Arrow]:
    """Which file of the package imports from which other one."""
    arrows = set()
    for file, source in files.items():
        for module in imports(source, package.parent):
            target = file_of(module, package.name, files)
            if target is not None and target != file:
                arrows.add((file, target))
    return arrows


def levels(between_files: Iterable[Arrow]) -> dict[str, set[Arrow]]:
    """The arrows between the rooms of each level, by the level's path; "" is the package itself."""
    found = defaultdict(set)
    for above, below in between_files:
        one, other = above.split("/"), below.split("/")
        depth = 0
        while one[depth] == other[depth]:
            depth += 1
        found["/".join(one[:depth])].add((one[depth], other[depth]))
    return dict(found)


def reachable(arrows: Iterable[Arrow]) -> dict[str, set[str]]:
    """Each room, and all that can be reached from it."""
    direct = defaultdict(set)
    for above, below in arrows:
        direct[above].add(below)
        direct[below] |= set()
    return {room: _reached(room, direct) for room in direct}


def cycles(arrows: Iterable[Arrow]) -> list[list[str]]:
    """Rooms that import each other, directly or around."""
    below = reachable(arrows)
    groups = {
        frozenset({room} | {other for other in below[room] if room in below[other]})
        for room in below
    }
    return sorted(sorted(group) for group in groups if len(group) > 1)


def arrows_in_cycles(arrows: Iterable[Arrow]) -> list[Arrow]:
    """The arrows inside of cycles: of each cycle one at least goes up."""
    arrows = set(arrows)
    found = [set(cycle) for cycle in cycles(arrows)]
    return sorted(arrow for arrow in arrows if any(set(arrow) <= cycle for cycle in found))


def _reached(room: str, direct: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [room]
    while waiting:
        for below in direct[waiting.pop()]:
            if below not in found:
                found.add(below)
                waiting.append(below)
    return found
