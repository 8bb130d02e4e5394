"""Valid JSON and text made wrong, in the ways that break parsers. All chance comes from ``rng``."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

Json = dict[str, Any]

JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, 2**64 - 1, -(2**63)),
    *(0.5, -0.0, 1e-300, 1.7e308),
    *(
        "",
        " ",
        "x",
        "null",
        "true",
        "-1",
        "1e999",
        "resp_1",
        "__proto__",
        "constructor",
        "toString",
    ),
    *(
        "\x00",
        "\r\nX-Evil: 1",
        "\u202e",
        "\ufeff",
        "é" * 3,
        "\U0001f600",
        "../../etc/passwd",
        "%2e%2e",
    ),
    *("x" * 300, "{}", "[]", "<script>", "'; DROP", "*", "{p1}:m:", "data: {}\n\n"),
    *([], {}, [[]], [{}], [None], {"": {}}, {"type": {}}, {"type": "message"}, {"id": 7}),
)
NAMES = ("", "type", "id", "input", "output", "response", "item", "model", "__proto__", "\x00", "é")
BYTES = (
    b"",
    b"\x00",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\xff",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b'"',
    b"\\",
)
BYTES += (
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"NaN",
    b"1e999",
    b"\\ud800",
    b"\xef\xbb\xbf",
    b"9" * 400,
)


def wrong(value: Any, rng: Random, times: int = 2) -> Any:
    """A copy of the value with up to so many things in it changed, anywhere."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(0, times)):
        value = _changed(value, rng)
    return value


def _changed(value: Any, rng: Random) -> Any:
    places = list(_places(value))
    if not places or rng.random() < 0.03:
        return copy.deepcopy(rng.choice(JUNK))
    inside, key = rng.choice(places)
    change = rng.randrange(6)
    if change == 0:
        del inside[key]
    elif change == 1:
        other, name = rng.choice(places)
        inside[key] = copy.deepcopy(other[name])
    elif change == 2:
        inside[key] = [inside[key]] if rng.random() < 0.5 else {rng.choice(NAMES): inside[key]}
    elif change == 3 and isinstance(inside, dict):
        inside[rng.choice(NAMES)] = inside.pop(key)
    else:
        inside[key] = copy.deepcopy(rng.choice(JUNK))
    return value


def _places(value: Any) -> Any:
    """Every container and key in it."""
    keys = (
        list(value)
        if isinstance(value, dict)
        else range(len(value))
        if isinstance(value, list)
        else ()
    )
    for key in keys:
        yield value, key
        yield from _places(value[key])


def torn(text: bytes, rng: Random, times: int = 2) -> bytes:
    """The bytes with up to so many cuts, doublings and strange insertions."""
    for _ in range(rng.randint(0, times)):
        at, to = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
        change = rng.randrange(4)
        if change == 0:
            text = text[:at] + text[to:]
        elif change == 1:
            text = text[:to] + text[at:]
        elif change == 2:
            text = text[:at] + rng.choice(BYTES) + text[at:]
        else:
            text = text[:at] + bytes([rng.randrange(256)]) + text[at + 1 :]
    return text


def spelled(value: Any, rng: Random) -> bytes:
    """The value as JSON, in one of the ways that JSON can be written."""
    ways: tuple[Json, ...] = (
        {"separators": (",", ":")},
        {},
        {"indent": 1},
        {"ensure_ascii": False},
    )
    return json.dumps(value, **rng.choice(ways)).encode("utf-8", "surrogatepass")
