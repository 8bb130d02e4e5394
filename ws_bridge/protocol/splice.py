"""Values of a JSON object, replaced inside of its text: every other byte stays as it was (pure).

Rule 1: only the object's own keys count, never those of objects or strings inside of it.
Rule 2: the text is a valid object that is not empty; whoever calls has parsed it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_KEY = re.compile(rb"[\s,]*(" + _STRING + rb")\s*:\s*")
_SCALAR = re.compile(_STRING + rb"|[^\s,}\]]+")
_BRACKET = re.compile(_STRING + rb"|[{}\[\]]")
_AFTER = re.compile(rb"\s*,\s*")
_BEFORE = re.compile(rb",\s*\Z")

Values = Mapping[bytes, bytes | None]  # key with its quotes → JSON; None: the member goes away
Edit = tuple[int, int, bytes]


def replaced(text: bytes, values: Values) -> bytes:
    """The object with other values; a key that is not there comes first."""
    wanted = {key for key in values if key in text}
    edits: list[Edit] = []
    missing = {key: value for key, value in values.items() if value is not None}
    for key, start, begin, end in _members(text) if wanted else ():
        if key not in wanted:
            continue
        value = values[key]
        edits.append(_removal(text, start, end) if value is None else (begin, end, value))
        missing.pop(key, None)
        wanted.discard(key)
        if not wanted:
            break
    if missing:
        first = text.index(b"{") + 1
        added = b"".join(b"%b:%b," % member for member in missing.items())
        edits.insert(0, (first, first, added))
    return _edited(text, edits)


def replaced_within(text: bytes, key: bytes, values: Values) -> bytes:
    """The object with other values in the object that it has under ``key``."""
    for found, _, begin, end in _members(text):
        if found == key:
            return text[:begin] + replaced(text[begin:end], values) + text[end:]
    return text


def _members(text: bytes) -> Iterator[tuple[bytes, int, int, int]]:
    """Each key with its quotes, where it begins, and where its value begins and ends."""
    at = text.index(b"{") + 1
    while key := _KEY.match(text, at):
        at = _end_of_value(text, key.end())
        yield key[1], key.start(1), key.end(), at


def _end_of_value(text: bytes, begin: int) -> int:
    if text[begin] not in b"{[":
        scalar = _SCALAR.match(text, begin)
        return scalar.end() if scalar else len(text)
    depth = 0
    for token in _BRACKET.finditer(text, begin):
        first = text[token.start()]
        depth += (first in b"{[") - (first in b"}]")
        if depth == 0:
            return token.end()
    return len(text)


def _removal(text: bytes, start: int, end: int) -> Edit:
    """A member and one of the commas at its sides."""
    if after := _AFTER.match(text, end):
        return start, after.end(), b""
    before = _BEFORE.search(text[:start])
    return before.start() if before else start, end, b""


def _edited(text: bytes, edits: list[Edit]) -> bytes:
    pieces, at = [], 0
    for start, end, value in edits:
        pieces += [text[at:start], value]
        at = end
    return b"".join((*pieces, text[at:]))
