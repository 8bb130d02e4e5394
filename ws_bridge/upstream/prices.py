"""What an answer cost: the wire's usage times the prices of its model (pure).

Rule 1: prices are the operator's, or else litellm's, in USD for one token; a model without prices
has no cost.
Rule 2: cached, written and reasoning tokens have their own price where there is one, and else the
price of all input or output.
Rule 3: where a long prompt costs more, the whole answer is at the higher price.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ws_bridge.types import Json

MILLION = 1_000_000
_ABOVE = re.compile(r"input_cost_per_token_above_(\d+)k_tokens")


@dataclass(frozen=True, slots=True)
class Prices:
    """USD for one token of each kind."""

    input: float
    output: float
    cached: float
    cache_write: float
    reasoning: float

    @classmethod
    def of(cls, row: Mapping[str, Any], suffix: str = "") -> Prices | None:
        """The prices in a row of litellm's price map; None if it has none."""

        def price(name: str) -> float | None:
            value = row.get(name + suffix, row.get(name))
            return float(value) if isinstance(value, int | float) else None

        into, out = price("input_cost_per_token"), price("output_cost_per_token")
        if into is None or out is None:
            return None
        others = {
            "cached": (price("cache_read_input_token_cost"), into),
            "cache_write": (price("cache_creation_input_token_cost"), into),
            "reasoning": (price("output_cost_per_reasoning_token"), out),
        }
        return cls(into, out, **{n: b if a is None else a for n, (a, b) in others.items()})


@dataclass(frozen=True, slots=True)
class PriceRow:
    """The prices of one model; ``above`` has those of longer prompts, by their tokens."""

    usual: Prices
    above: tuple[tuple[int, Prices], ...] = ()  # ascending

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> PriceRow | None:
        """The row of litellm's price map, read; None if the model has no prices."""
        usual = Prices.of(row)
        if usual is None:
            return None
        steps = sorted(int(found[1]) for name in row if (found := _ABOVE.fullmatch(name)))
        above = ((k * 1000, Prices.of(row, f"_above_{k}k_tokens") or usual) for k in steps)
        return cls(usual, tuple(above))

    @classmethod
    def of_million(cls, prices: Mapping[str, float]) -> PriceRow:
        """The operator's prices, in USD for a million tokens; some kinds may have none."""
        into, out = prices["input"], prices["output"]
        usual = {"cached": into, "cache_write": into, "reasoning": out} | dict(prices)
        return cls(Prices(**{kind: price / MILLION for kind, price in usual.items()}))

    def cost(self, usage: Json) -> float:
        """USD of a Responses usage."""
        into, out = _count(usage, "input_tokens"), _count(usage, "output_tokens")
        details = usage.get("input_tokens_details"), usage.get("output_tokens_details")
        cached, written = (_count(details[0], f"{n}_tokens") for n in ("cached", "cache_write"))
        thought = _count(details[1], "reasoning_tokens")
        at = next((prices for most, prices in reversed(self.above) if into > most), self.usual)
        return (
            max(0, into - cached - written) * at.input
            + cached * at.cached
            + written * at.cache_write
            + max(0, out - thought) * at.output
            + thought * at.reasoning
        )


def _count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and value > 0 else 0
