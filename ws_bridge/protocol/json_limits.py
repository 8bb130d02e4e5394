"""Objects out of JSON that clients sent: read once, and bounded as values, not only as bytes.

Rule 1: no text may become far larger than itself: 64 MiB of ``{},{},…`` would be 2 GiB of objects
and many seconds of work, so values are counted before they are made, in texts that can hold many.
Rule 2: what is read here can be copied and serialised: nothing is nested without end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from ws_bridge.errors import InvalidRequest
from ws_bridge.types import Json

Text = str | bytes | bytearray

CONTAINERS = frozenset({dict, list})
CONTAINER_WORK = 64  # characters of plain text that are read in the time of an object or a list
LEAST = 16  # bytes of memory that a value takes: null
GC_HEADER = 16  # bytes that the interpreter's garbage collector puts before each container


@dataclass(frozen=True, slots=True)
class JsonLimits:
    """How deep, how wide, how much."""

    depth: int = 64  # objects and lists inside of each other
    keys: int = 10_000  # of one object
    values: int = 500_000


USUAL = JsonLimits()


def reading_size(text: Text, enough: int) -> int:
    """How many bytes of plain text take about as long to be read, checked and weighed.

    Of a text that is longer than ``enough`` by itself only that is told.
    """
    if len(text) >= enough:
        return len(text)
    if isinstance(text, str):
        return len(text) + CONTAINER_WORK * (text.count("{") + text.count("["))
    return len(text) + CONTAINER_WORK * (text.count(b"{") + text.count(b"["))


def read_object(text: Text, limits: JsonLimits, what: str) -> Json:
    """The object that a text is, its shape not looked at. Raises ``InvalidRequest``."""
    try:
        if len(text) > limits.values and _has_too_many(text, limits.values):
            raise InvalidRequest(f"The {what} has more than {limits.values} values.")
        body = orjson.loads(text)
    except (UnicodeDecodeError, orjson.JSONDecodeError):
        raise InvalidRequest(f"The {what} is not valid JSON.") from None
    if not isinstance(body, dict):
        raise InvalidRequest(f"The {what} must be a JSON object.")
    return body


def _has_too_many(text: Text, most: int) -> bool:
    """Whether there are more values than that: each but the first follows one of three signs."""
    if _separators(text) <= most:
        return False
    return (
        _separators(_without_strings(text if isinstance(text, str) else text.decode(), most)) > most
    )


def _separators(text: Text) -> int:
    if isinstance(text, str):
        return text.count(",") + text.count("[") + text.count("{")
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def _without_strings(text: str, most: int) -> str:
    """What stands between the strings; after more of them than there may be, not looked at."""
    quoted = text.replace("\\\\", "").replace('\\"', "").split('"', 4 * most)
    return "".join(quoted[::2])


def check_limits(body: Json, limits: JsonLimits) -> None:
    """Refuse what is nested too deep or has too wide objects. Raises ``InvalidRequest``."""
    level: list[Any] = [body]
    for _ in range(limits.depth):
        if any(len(node) > limits.keys for node in level if type(node) is dict):
            raise InvalidRequest(f"An object of the request has more than {limits.keys} keys.")
        inner = (node.values() if type(node) is dict else node for node in level)
        level = [value for values in inner for value in values if type(value) in CONTAINERS]
        if not level:
            return
    raise InvalidRequest(f"The request is nested more than {limits.depth} levels deep.")


def weigh(values: Iterable[Any], enough: float = math.inf) -> int:
    """Bytes of memory that values out of JSON take, in step with their number, not their length.

    What several share counts for each. Of more than ``enough`` it is only found that it is more:
    that takes little time, however many there are.
    """
    total, level = 0, list(values)
    while level:
        least: int
        if (least := total + LEAST * len(level)) > enough:
            return least
        inner = [value for value in level if type(value) in CONTAINERS]
        total += sum([value.__sizeof__() for value in level]) + GC_HEADER * len(inner)
        if (least := total + LEAST * sum(map(len, inner))) > enough:
            return least
        nodes = (node.values() if type(node) is dict else node for node in inner)
        level = [value for node in nodes for value in node]
    return total
