"""Compaction: when it is asked for, and which items of it are this bridge's own.

Rule: an item holds a summary of all that came before it, the newest items included: clients may
drop what lies before it. `sealing` makes and opens the items.
"""

from __future__ import annotations

from collections.abc import Sequence

from ws_bridge.errors import InvalidRequest
from ws_bridge.types import Json

MARK = "wsb1."  # in clients' histories for ever

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


def own_seal(item: Json) -> str:
    """The seal of a compaction item that bears this bridge's mark, unopened; "" for all else."""
    sealed = item.get("encrypted_content")
    is_sealed = isinstance(sealed, str) and sealed.startswith(MARK)
    return str(sealed) if is_sealed and item.get("type") == "compaction" else ""


def summary_message(summary: str) -> Json:
    """A summary as a provider can read it."""
    return {"type": "message", "role": "user", "content": HEADING + summary}
