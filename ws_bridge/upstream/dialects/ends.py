"""How an answer ended, by the provider's word for it (pure).

Rule 1: a word is good, cuts the answer short, or is a failure: a dialect's table says which.
Rule 2: a word that no table has is no success, unless the model has said something. An answer
without any word was cut off.
"""

from __future__ import annotations

from collections.abc import Mapping

from ws_bridge.errors import UpstreamError
from ws_bridge.upstream.errors import truncated

GOOD = ""
CUT = "max_output_tokens"
FILTERED = "content_filter"
FAILURE = None

Ends = Mapping[str, str | None]  # the word → the reason of an incomplete answer, or one of these


def incomplete_reason(word: str, ends: Ends, *, has_output: bool) -> str:
    """Why the answer is incomplete; "" if it is whole. Raises ``UpstreamError`` for a failure."""
    if not word:
        raise truncated()
    unknown = GOOD if has_output else FAILURE
    reason = ends.get(word, unknown)
    if reason is FAILURE:
        raise failed(word)
    return reason


def failed(word: str, message: str = "", *, code: str | None = None) -> UpstreamError:
    """The error of an answer that ended with a failure's word, or as the provider words it."""
    shown = word[:64] if word.isascii() and word.isprintable() else "another word"
    return UpstreamError(
        message or f"The model provider ended the answer with '{shown}'.", code=code
    )
