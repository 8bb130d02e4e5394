"""Token counts of Messages → a Responses usage (pure).

Rule 1: counts are the wire's; what it does not say is 0, and without any there is no usage.
Rule 2: later counts of a message replace earlier ones; those of messages that go on are summed.
Rule 3: the input counts what was read from the cache and written to it; Anthropic leaves it out.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from ws_bridge.types import Json

READ, WRITTEN = "cache_read_input_tokens", "cache_creation_input_tokens"
INPUT = ("input_tokens", READ, WRITTEN)
THOUGHT = "thinking_tokens"
COUNTS = (*INPUT, "output_tokens")


class UsageCounter:
    """The counts of an answer of one or more messages."""

    def __init__(self) -> None:
        self._before: Counter[str] = Counter()  # of messages that are over
        self._now: dict[str, int] = {}
        self._is_known = False

    def update(self, usage: Any) -> None:
        """Counts of the message so far."""
        if not isinstance(usage, dict):
            return
        counts = {name: usage[name] for name in COUNTS if _is_count(usage.get(name))}
        if not any(counts.get(name) for name in INPUT):  # some leave the input out at the end
            counts = {name: count for name, count in counts.items() if name == "output_tokens"} | {
                name: count for name, count in counts.items() if name not in self._now
            }
        details = usage.get("output_tokens_details")
        if isinstance(details, dict) and _is_count(details.get(THOUGHT)):
            counts[THOUGHT] = details[THOUGHT]
        self._is_known = self._is_known or bool(counts)
        self._now |= counts

    def restart(self, *, keep: bool) -> None:
        """Another message begins; ``keep``: it goes on with the answer."""
        if keep:
            self._before.update(self._now)
        self._now = {}

    def json(self) -> Json | None:
        """The usage so far; None if the wire said nothing."""
        if not self._is_known:
            return None
        total = self._before + Counter(self._now)
        taken = sum(total[name] for name in INPUT)
        written = total["output_tokens"]
        return {
            "input_tokens": taken,
            "input_tokens_details": {
                "cached_tokens": total[READ],
                "cache_write_tokens": total[WRITTEN],
            },
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": total[THOUGHT]},
            "total_tokens": taken + written,
        }


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0
