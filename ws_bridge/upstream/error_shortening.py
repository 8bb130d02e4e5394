"""A provider's error, shortened before litellm reads it (pure).

Rule 1: litellm searches an error's text for secrets many times, on the event loop, with patterns
that take seconds for some texts of 64 KiB.
Rule 2: what clients get of an error stays what it was, and no half of a secret is left.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import orjson

SHORT = 1000  # characters of each text of an error: twice what clients get
TEXTS = 2 * SHORT  # of all of them
WIDE = 20  # entries of a list or an object
LEVELS = 8
# A key, an address or a path is made of these: they are cut off at the end of a shortened text.
CUT_OFF = "".join(map(chr, range(33, 127)))


def shortened(body: bytes) -> bytes:
    """An error's body with less in it: JSON stays JSON, any other text keeps its start."""
    if len(body) <= SHORT:
        return body
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body[:SHORT].rstrip(CUT_OFF.encode())
    return orjson.dumps(_Shortener().of(value))


class _Shortener:
    """Shortens one value; all of its texts together have at most ``TEXTS`` characters."""

    def __init__(self) -> None:
        self._left = TEXTS

    def of(self, value: Any, levels: int = LEVELS) -> Any:
        """The value, with less in it."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return [self.of(each, levels - 1) for each in value[:WIDE]] if levels else []
        if isinstance(value, dict):
            entries = islice(value.items(), WIDE if levels else 0)
            return {self._text(key): self.of(each, levels - 1) for key, each in entries}
        return value

    def _text(self, text: str) -> str:
        most = min(SHORT, self._left)
        kept = text if len(text) <= most else text[:most].rstrip(CUT_OFF)
        self._left -= len(kept)
        return kept
