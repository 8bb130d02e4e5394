"""Halves of characters at the ends of deltas, joined (pure).

Some providers cut a surrogate pair between two deltas. Half of a character cannot be sent on: it
waits for the other half, which comes with the next delta of the same text.
"""

from __future__ import annotations

import re
from typing import Any

_HALF = re.compile("[\ud800-\udfff]")
REPLACEMENT = "\ufffd"


class HalfCharacters:
    """The pieces of one text, whole characters only.

    While nothing is ``held``, a piece of plain ASCII is whole as it is.
    """

    def __init__(self) -> None:
        self.held = ""  # half of a character

    def join(self, text: str) -> str:
        """The characters that are whole now; a lone half in the middle is replaced."""
        if not self.held and (text.isascii() or not _HALF.search(text)):
            return text
        text = self.held + text
        self.held = text[-1] if "\ud800" <= text[-1:] <= "\udbff" else ""
        text = text[: len(text) - len(self.held)]
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def flush(self) -> str:
        """What takes the place of a half whose other half did not come."""
        held, self.held = self.held, ""
        return REPLACEMENT if held else ""


def whole(text: str) -> str:
    """A text that is all there: a half alone is replaced."""
    halves = HalfCharacters()
    return halves.join(text) + halves.flush()


def all_whole(value: Any) -> Any:
    """A copy of parsed JSON in whole characters only."""
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, list):
        return [all_whole(each) for each in value]
    if isinstance(value, dict):
        return {whole(key): all_whole(each) for key, each in value.items()}
    return value
