"""Small answers of providers, as their bytes are: one file a family, one ``# name`` an answer.

Each line is one event, in the order of the wire. The first word after ``#`` is the answer's name;
a second one is the provider, where it is not the family's own. The names say what an answer shows;
``whole`` ones are JSON although a stream was asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from support.event_stream import event, exception

FOLDER = Path(__file__).parent
PROVIDERS = {
    "anthropic": "anthropic",
    "bedrock": "bedrock",
    "cohere": "cohere",
    "gemini": "gemini",
    "openai_chat": "openai",
    "responses": "openai",
}
NAMED = frozenset({"anthropic", "responses"})  # their events have a name beside the data


class Wire(NamedTuple):
    """One answer."""

    family: str
    name: str
    provider: str
    body: bytes
    is_json: bool

    def __str__(self) -> str:
        return f"{self.family}-{self.name}"


def _named(line: str) -> bytes:
    kind = json.loads(line).get("type")
    return (f"event: {kind}\n".encode() if kind else b"") + _data(line)


def _data(line: str) -> bytes:
    return f"data: {line}\n\n".encode()


def _message(line: str) -> bytes:
    [(kind, payload)] = json.loads(line).items()
    if kind.startswith("!"):
        return exception(kind[1:], **payload)
    return event(kind, **payload)


def _framing(family: str) -> Callable[[str], bytes]:
    if family == "bedrock":
        return _message
    return _named if family in NAMED else _data


def _wire(family: str, head: str, lines: Iterable[str]) -> Wire:
    name, *provider = head.split()
    is_json = name == "whole"
    frame = str.encode if is_json else _framing(family)
    body = b"".join(map(frame, lines))
    return Wire(family, name, (provider or [PROVIDERS[family]])[0], body, is_json)


@cache
def wires() -> tuple[Wire, ...]:
    """All answers, family by family."""
    found = []
    for family in PROVIDERS:
        text = (FOLDER / f"{family}.txt").read_text(encoding="utf-8")
        for block in text.removeprefix("# ").split("\n# "):
            head, *lines = block.strip("\n").split("\n")
            found.append(_wire(family, head, lines))
    return tuple(found)
