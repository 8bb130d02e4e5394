"""Halves of characters: JSON may escape one beyond U+FFFF as two, and be cut between them (pure).

Rule: what leaves here can be written as UTF-8: pairs are joined, a half alone is U+FFFD.
"""

from __future__ import annotations

import re
from typing import Any

REPLACEMENT = "\ufffd"
_HALF = re.compile("[\ud800-\udfff]")
_FIRST_HALF = re.compile("[\ud800-\udbff]\\Z")


def joined(text: str) -> str:
    """The text with its pairs of halves as characters; a half alone stays."""
    if _HALF.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def whole(text: str) -> str:
    """The text with U+FFFD for each half that stands alone."""
    return _HALF.sub(REPLACEMENT, joined(text))


def split_half(text: str) -> tuple[str, str]:
    """The text in whole characters, and the first half of one at its end that may go on."""
    text = joined(text)
    if _FIRST_HALF.search(text) is None:
        return _HALF.sub(REPLACEMENT, text), ""
    return _HALF.sub(REPLACEMENT, text[:-1]), text[-1]


def all_whole(value: Any) -> Any:
    """A copy of parsed JSON in whole characters only."""
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, list):
        return [all_whole(each) for each in value]
    if isinstance(value, dict):
        return {whole(key): all_whole(each) for key, each in value.items()}
    return value
