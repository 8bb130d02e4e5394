"""A function call whose arguments come in pieces, each with the place of its value (pure).

`partialArgs` is a list of values with a JSON path; text values may go on in later pieces. The call
is whole when a piece of it does not say `willContinue`, or when the answer is over.

Rule 1: what has no place, or no value, is left out; nothing that a provider sends raises.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from ws_bridge.types import Json

_STEP = re.compile(r"""\.([^.\[\]]+)|\[(\d+)\]|\['((?:[^'\\]|\\.)*)'\]|\["((?:[^"\\]|\\.)*)"\]""")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_VALUES = ("stringValue", "numberValue", "boolValue")
LONGEST_LIST = 100_000  # places that a path may name

Step = str | int


class PartialCall:
    """One call while its pieces come."""

    def __init__(self) -> None:
        self.name = ""
        self.id: Any = None
        self.signature = ""
        self._whole: Json = {}
        self._values: dict[tuple[Step, ...], Any] = {}  # by their paths

    def take(self, call: Json, signature: str) -> None:
        """One piece."""
        name = call.get("name")
        self.name = self.name or (name if isinstance(name, str) else "")
        self.id = self.id or call.get("id")
        self.signature = self.signature or signature
        if isinstance(whole := call.get("args"), dict):
            self._whole |= whole
        pieces = call.get("partialArgs")
        for piece in pieces if isinstance(pieces, list) else ():
            if isinstance(piece, dict) and (path := _path(piece.get("jsonPath"))):
                self._put(path, piece)

    @property
    def arguments(self) -> Json:
        """What has come of the arguments."""
        arguments = dict(self._whole)
        for path, value in self._values.items():
            place: Any = arguments
            for step, after in pairwise(path):
                place = _child(place, step, [] if isinstance(after, int) else {})
            _child(place, path[-1], value)
        return arguments

    def _put(self, path: tuple[Step, ...], piece: Json) -> None:
        value = next((piece[name] for name in _VALUES if name in piece), None)
        if value is None and "nullValue" not in piece:
            return
        before = self._values.get(path)
        if isinstance(before, str) and isinstance(value, str):
            value = before + value
        self._values[path] = value


def _path(text: Any) -> tuple[Step, ...]:
    """The steps of a JSON path from the arguments on; none if it is no path."""
    if not isinstance(text, str) or not text.startswith("$"):
        return ()
    steps: list[Step] = []
    position = 1
    while found := _STEP.match(text, position):
        name, number, *quoted = found.groups()
        key = name if name is not None else next((one for one in quoted if one is not None), "")
        steps.append(int(number) if number is not None else _ESCAPE.sub(r"\1", key))
        position = found.end()
    is_sane = all(isinstance(step, str) or step < LONGEST_LIST for step in steps)
    return tuple(steps) if position == len(text) and is_sane else ()


def _child(place: Any, step: Step, new: Any) -> Any:
    """The value at a step, ``new`` where there was none."""
    if isinstance(place, dict) and isinstance(step, str):
        return place.setdefault(step, new)
    if isinstance(place, list) and isinstance(step, int):
        place.extend([None] * (step + 1 - len(place)))
        if place[step] is None:
            place[step] = new
        return place[step]
    return new  # the pieces contradict each other: it stands nowhere
