"""Frames of a provider's stream of events, and what every reader of them keeps to (pure).

Rule 1: a frame is taken only if each key and value in it has a meaning that is known here, or is
known to have none. All others are litellm's to judge: the start of things, errors, usage, the end.
Rule 2: after a frame that was not understood nothing is taken any more: what it began is unknown.
Rule 3: litellm reads the first frame that says something (it names the model), and is owed what was
taken, joined to one frame, before the next frame it reads and before the end: its usage, its logs
and its state are then what they would have been.
Rule 4: what is owed is ASCII, and never looks like the end: litellm cuts lines at characters that
end none in a stream of events (U+2028), and takes any chat chunk with "[DONE]" in it for the last.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from types import NoneType
from typing import Protocol

import orjson

from ws_bridge.protocol.output.chat import Chunk
from ws_bridge.types import Json

Shape = Mapping[str, Collection[type]]

# One line of data, perhaps under its type, and the frame's end. Nothing else is understood.
FRAME = re.compile(rb"(?:event: ?([a-z_]+)\r?\n)?data: ?(\{.*\})[\r\n]{2,}")
SILENCE = re.compile(rb"(?::[^\r\n]*|[\r\n])*")  # comments keep a connection open, no more

TEXT = frozenset({str})
NUMBER = frozenset({int})
OBJECT = frozenset({dict})
LIST = frozenset({list})
NULL = frozenset({NoneType})


class NotUnderstoodError(Exception):
    """The frame says something that is not known here."""


class Plain(Protocol):
    """The reader of one stream; it is shown every frame of it, in order."""

    def take(self, frame: bytes) -> Chunk | None:
        """What litellm would make of the frame, but for the model's name; None: it is litellm's."""
        ...

    def owed(self) -> bytes | None:
        """The frames taken since the last call, as one of the provider's own form; None: none.

        litellm is to read it, and what it makes of it is thrown away, before each frame that
        ``take`` left to it, and before the end of the stream, whichever end that is.
        """
        ...


class Reader(ABC):
    """A ``Plain`` without its dialect; subclasses judge, and raise ``NotUnderstoodError``."""

    def __init__(self) -> None:
        self._is_over = False
        self._has_begun = False  # litellm has read a frame that says something

    def take(self, frame: bytes) -> Chunk | None:
        """See ``Plain``."""
        if self._is_over:
            return None
        try:
            data = read_frame(frame)
            return self._judge(data) if data is not None else None
        except NotUnderstoodError:
            self._is_over = True
            return None

    @abstractmethod
    def _judge(self, data: Json) -> Chunk | None:
        """As ``take``, of what the frame carries. Raises ``NotUnderstoodError``."""


def read_frame(frame: bytes) -> Json | None:
    """The object a frame carries; None if it carries nothing. Raises ``NotUnderstoodError``."""
    match = FRAME.fullmatch(frame)
    if match is None:
        if SILENCE.fullmatch(frame):
            return None
        raise NotUnderstoodError
    name, text = match.groups()
    if b"\r" in text:  # two lines
        raise NotUnderstoodError
    try:
        data: Json = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise NotUnderstoodError from None
    if name is not None and name.decode() != data.get("type"):
        raise NotUnderstoodError
    return data


def write_frame(data: Json) -> bytes:
    """A frame that litellm reads as one line, and as no end (rule 4)."""
    text = json.dumps(data).replace("[DONE]", "\\u005bDONE]")
    return f"data: {text}\n\n".encode()


def check(fields: Json, shape: Shape) -> None:
    """Raise ``NotUnderstoodError`` unless every key, and the type of its value, is known."""
    for name, value in fields.items():
        if type(value) not in shape.get(name, ()):
            raise NotUnderstoodError
