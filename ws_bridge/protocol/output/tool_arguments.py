"""The text of a tool call, read in fragments: what can be published now, and whether it is whole.

Rule 1: published text is never taken back: a fragment whose meaning is not certain yet waits.
Rule 2: reading never fails; text that is not JSON is taken as it is.
"""

from __future__ import annotations

import json
import re
from typing import Any, Protocol

import orjson

SMALL = 4096  # characters that are parsed in no time


class ArgumentReader(Protocol):
    """How one call's fragments become the text of its item."""

    def append(self, fragment: str) -> str:
        """The text that can be published now; "" while it must wait."""
        ...

    def flush(self, *, cut: bool) -> str:
        """The remaining text when no more fragments come; ``cut``: the model was interrupted."""
        ...

    def is_whole(self) -> bool:
        """Whether the model has certainly written all of it."""
        ...


class JsonArguments:
    """A function's arguments: published as they come."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._size = self._next_look = 0

    def append(self, fragment: str) -> str:
        """All of it."""
        self._pieces.append(fragment)
        self._size += len(fragment)
        return fragment

    def flush(self, *, cut: bool) -> str:
        """A call without arguments has an empty object of them, unless they were on their way."""
        return "" if cut or any(self._pieces) else "{}"

    def is_whole(self) -> bool:
        """A JSON object that is closed has no continuation.

        Large ones are looked at again only when they have grown by an eighth: a late yes delays the
        item's end, a look at every fragment would take quadratic time.
        """
        if self._size < self._next_look:
            return False
        if _object("".join(self._pieces)) is not None:
            return True
        self._next_look = self._size + max(0, self._size - SMALL) // 8
        return False


# Free text comes as {"content": "..."}: custom tools are declared to chat models as functions of
# one string. Its longest prefix that no later character can change:
_SAFE = re.compile(
    r"""(?: [^"\\]++
          | \\ ["\\/bfnrt]
          | \\u (?![dD][89a-fA-F]) [0-9a-fA-F]{4}
          | \\u [dD][89abAB][0-9a-fA-F]{2} \\u [dD][c-fC-F][0-9a-fA-F]{2}
        )*+""",
    re.VERBOSE,
)
_UNFINISHED_ESCAPE = re.compile(
    r"""\\ (?: u [0-9a-fA-F]{0,3}
             | u [dD][89abAB][0-9a-fA-F]{2}
               (?: \\ (?: u (?: [dD] (?: [c-fC-F] [0-9a-fA-F]? )? )? )? )?
           )? \Z""",
    re.VERBOSE,
)
_LONE_SURROGATE = re.compile(r"\\u[0-9a-fA-F]{4}")
_OPENING = re.compile(r'\s*\{\s*"content"\s*:\s*"')


class CustomInput:
    """A custom tool's free text, unwrapped; text that is not wrapped is taken as it is."""

    def __init__(self) -> None:
        self._waiting = ""
        self._buffered: list[str] = []  # JSON of another form: read at its end
        self._read = self._begin

    def append(self, fragment: str) -> str:
        """The part of the text that is certain."""
        return self._read(fragment)

    def flush(self, *, cut: bool) -> str:
        """The text of a wrapping that never opened; an interrupted wrapping has none."""
        if self._read == self._buffer_json:
            return _content("".join(self._buffered))
        return self._waiting if self._read == self._begin and not cut else ""

    def is_whole(self) -> bool:
        """True at the end of the wrapping; free text may always continue."""
        if self._read == self._buffer_json:
            return _object("".join(self._buffered)) is not None
        return self._read == self._end

    # How the next fragment is read: exactly one of these at a time.

    def _begin(self, fragment: str) -> str:
        """Whether this is the wrapping is not known yet."""
        self._waiting += fragment
        squeezed = "".join(self._waiting.split())
        if '{"content":"'.startswith(squeezed):
            return ""
        text, self._waiting = self._waiting, ""
        if opening := _OPENING.match(text):
            self._read = self._unescape
            return self._unescape(text[opening.end() :])
        self._read = self._buffer_json if squeezed.startswith("{") else self._pass_through
        return self._read(text)

    def _unescape(self, fragment: str) -> str:
        """Inside of the wrapping's string."""
        text = self._waiting + fragment
        pieces: list[str] = []
        position = 0
        while True:
            safe = _SAFE.match(text, position)
            assert safe is not None  # noqa: S101 - the pattern matches the empty string
            # not strict: models leave line breaks and tabs unescaped
            pieces.append(json.loads(f'"{safe.group()}"', strict=False))
            position = safe.end()
            if position == len(text) or _UNFINISHED_ESCAPE.match(text, position):
                break
            if text[position] == '"':
                self._read = self._end
                position = len(text)
                break
            lone = _LONE_SURROGATE.match(text, position)
            pieces.append(
                "\ufffd" if lone else "\\"
            )  # an escape that JSON does not know is literal
            position = lone.end() if lone else position + 1
        self._waiting = text[position:]
        return "".join(pieces)

    def _buffer_json(self, fragment: str) -> str:
        self._buffered.append(fragment)
        return ""

    def _pass_through(self, fragment: str) -> str:
        return fragment

    def _end(self, fragment: str) -> str:  # noqa: ARG002 - what follows the string is wrapping
        return ""


def _content(text: str) -> str:
    """The text of a wrapping that is written in some other way, or else the JSON itself."""
    wrapped = _object(text)
    if wrapped is None or "content" not in wrapped:
        return text
    content = wrapped["content"]
    return content if isinstance(content, str) else orjson.dumps(content).decode()


def _object(text: str) -> dict[str, Any] | None:
    if not text.rstrip().endswith("}"):
        return None
    try:
        parsed = orjson.loads(text)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None
