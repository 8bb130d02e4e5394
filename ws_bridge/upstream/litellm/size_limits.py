"""What of a provider's answers is too large: refused, or, of an error, shortened for litellm.

Rule 1: an error is shortened before litellm reads it: litellm looks through its text for secrets
many times, on the event loop, with patterns that take seconds for some texts of 64 KiB.
Rule 2: what is told to clients of an error stays what it was, and no half of a secret is left.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import orjson

from ws_bridge.errors import UpstreamError

TOO_LARGE = "The model provider's answer is larger than this server takes."
DEEP = 20  # exceptions of litellm around one of ours
SHORT = 1000  # characters of each text of an error: twice what clients are told
TEXTS = 2 * SHORT  # of all of them
WIDE = 20  # entries of a list or an object
LEVELS = 8
# What a key, an address or a path may be made of, cut off at the end of a text.
CUT_OFF = "".join(map(chr, range(33, 127)))


class TooLarge(UpstreamError):
    """An answer went beyond a bound; the next try's would as well."""


def raised_here(failure: BaseException) -> UpstreamError | None:
    """The error that was raised here amid litellm's reading, if one was."""
    cause: BaseException | None = failure
    for _ in range(DEEP):
        if cause is None or isinstance(cause, UpstreamError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def shortened(body: bytes) -> bytes:
    """An error's body: JSON stays JSON, with less in it; any other text keeps its beginning."""
    if len(body) <= SHORT:
        return body
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body[:SHORT].rstrip(CUT_OFF.encode())
    return orjson.dumps(_Shortener().of(value))


class _Shortener:
    """Shortens one value; its texts share what there is room for."""

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
