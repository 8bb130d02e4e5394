"""Values of a JSON object, replaced inside of its text: every other byte stays as it was (pure).

Rule 1: only the object's own keys count, never those of objects or strings inside of it.
Rule 2: the text is a valid, non-empty object: the caller has parsed it.
Rule 3: one member at most goes away, and not the only one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_KEY = re.compile(rb"[\s,]*(" + _STRING + rb")\s*:\s*")
_COLON = re.compile(rb"\s*:\s*")
_SCALAR = re.compile(_STRING + rb"|[^\s,}\]]+")
_BRACKET = re.compile(_STRING + rb"|[{}\[\]]")
_ODD_KEY = re.compile(rb'"[^"\\]*\\u00[^"]*"\s*:')
_AFTER = re.compile(rb"\s*,\s*")
_BEFORE = re.compile(rb",\s*\Z")

OWN_KEYS = (b'"sequence_number"', b'"stream_id"')  # of each event: a provider's values are replaced

Values = Mapping[bytes, bytes | None]  # key with its quotes → JSON; None: the member goes away
Place = tuple[int, int, int]  # of a member: its key, its value, and its end
Edit = tuple[int, int, bytes]


def is_plain(text: bytes, names: Iterable[bytes]) -> bool:
    """Whether no key of its own with one of the names is there twice, or in another spelling."""
    if any(text.count(name) > 1 for name in names):
        own = [key for key, *_ in _members(text)]
        if any(own.count(name) > 1 for name in names):
            return False
    return b"\\u00" not in text or _ODD_KEY.search(text) is None


def replaced(text: bytes, values: Values) -> bytes:
    """The object with other values; a key that is not there comes first."""
    places = _places(text, {key for key in values if key in text})
    edits: list[Edit] = []
    for key, (start, begin, end) in places.items():
        value = values[key]
        edits.append(_removal(text, start, end) if value is None else (begin, end, value))
    first = text.index(b"{") + 1
    for key, value in values.items():
        if key not in places and value is not None:
            edits.append((first, first, b"%b:%b," % (key, value)))
    return _edited(text, sorted(edits))


def _places(text: bytes, keys: set[bytes]) -> dict[bytes, Place]:
    """Where those of the keys are that the object has itself."""
    near = ((key, _near(text, key)) for key in keys)
    places = {key: place for key, place in near if place is not None}
    wanted = keys - places.keys()
    for key, start, begin, end in _members(text) if wanted else ():
        if key in wanted:
            places[key] = (start, begin, end)
            wanted.discard(key)
            if not wanted:
                break
    return places


def _near(text: bytes, key: bytes) -> Place | None:
    """A key that no inner object comes before: most are, and it saves the scan."""
    start = text.index(key)
    if text.count(b"{", 0, start) != 1:
        return None
    colon = _COLON.match(text, start + len(key))
    return (start, colon.end(), _end_of_value(text, colon.end())) if colon else None


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
