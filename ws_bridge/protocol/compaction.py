"""Compaction: when it is asked for, and the items of it that this bridge makes and opens.

Rule 1: an item holds a summary of all that came before it, the newest items included: clients may
drop what lies before it.
Rule 2: the seal is opaque, not secret: a client may read its own conversation. Items of other
makers are not opened here.
"""

from __future__ import annotations

import base64
import secrets
import zlib
from collections.abc import Sequence
from typing import Any

from ws_bridge.errors import InvalidRequest

Json = dict[str, Any]

MARK = "wsb1."
MAX_SUMMARY_BYTES = 1 << 20  # a seal that unfolds to more was not made here

PROMPT = (
    "Summarise the conversation so far for somebody who continues it without having read it. "
    "Keep every fact, name, number, decision, open question and tool result that may matter later. "
    "Write plain text without a preamble."
)
HEADING = "Summary of the conversation so far:\n"
# Where a client leaves the threshold to the server: what most models of today hold with ease.
DEFAULT_THRESHOLD = 80_000


def threshold_of(entries: Sequence[Json]) -> int | None:
    """The input tokens above which a request's ``context_management`` wants compaction, or None.

    Raises ``InvalidRequest`` for an entry that is not of its form.
    """
    thresholds = [_threshold(entry, f"context_management[{n}]") for n, entry in enumerate(entries)]
    return min(thresholds, default=None)


def _threshold(entry: Json, where: str) -> int:
    if entry.get("type") != "compaction":
        raise _refused(f"{where}.type", "expected 'compaction'")
    threshold = entry.get("compact_threshold")
    if threshold is None:
        return DEFAULT_THRESHOLD
    if type(threshold) is not int or threshold < 1:
        raise _refused(f"{where}.compact_threshold", "expected an integer above 0")
    return threshold


def _refused(where: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid value for '{where}': {why}.", param="context_management")


def seal(summary: str) -> Json:
    """A compaction item that holds the summary."""
    packed = base64.urlsafe_b64encode(zlib.compress(summary.encode())).decode()
    return {
        "type": "compaction",
        "id": "cmp_" + secrets.token_hex(24),
        "encrypted_content": MARK + packed,
    }


def unseal(item: Json) -> str | None:
    """The summary in a compaction item of this bridge; None for all else."""
    content = item.get("encrypted_content")
    if item.get("type") != "compaction" or not isinstance(content, str):
        return None
    if not content.startswith(MARK):
        return None
    unpack = zlib.decompressobj()
    try:
        packed = base64.b64decode(content.removeprefix(MARK), altchars=b"-_", validate=True)
        summary = unpack.decompress(packed, MAX_SUMMARY_BYTES)
        return summary.decode() if unpack.eof else None  # else cut short, or larger than the bound
    except (ValueError, zlib.error):  # not base64, not ASCII, not UTF-8, not compressed
        return None


def unfold(item: Json) -> Json:
    """The item as a provider can read it: a sealed summary becomes a message."""
    summary = unseal(item)
    if summary is None:
        return item
    return {"type": "message", "role": "user", "content": HEADING + summary}
