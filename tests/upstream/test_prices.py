"""A cost is the wire's usage times the model's prices, as litellm's own arithmetic has it."""

import pytest

from ws_bridge.upstream.litellm.setup import litellm
from ws_bridge.upstream.prices import PriceRow

ROW = {
    "input_cost_per_token": 2.0,
    "output_cost_per_token": 8.0,
    "cache_read_input_token_cost": 0.5,
    "cache_creation_input_token_cost": 2.5,
}


def usage(into, out, cached=0, written=0, thought=0):
    return {
        "input_tokens": into,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "output_tokens": out,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": into + out,
    }


@pytest.mark.parametrize(
    ("counts", "cost"),
    [
        ((10, 3), 20 + 24),
        ((10, 3, 4), 12 + 2 + 24),
        ((10, 3, 4, 2), 8 + 2 + 5 + 24),
        ((10, 3, 0, 0, 2), 20 + 24),
        ((0, 0), 0),
    ],
)
def test_each_kind_of_token_has_its_price(counts, cost):
    assert PriceRow.of(ROW).cost(usage(*counts)) == pytest.approx(cost)


def test_a_long_prompt_costs_more_from_its_first_token():
    row = PriceRow.of({**ROW, "input_cost_per_token_above_200k_tokens": 4.0})
    assert row.cost(usage(200_000, 0)) == pytest.approx(400_000)
    assert row.cost(usage(200_001, 0)) == pytest.approx(800_004)


def test_a_model_without_prices_has_no_row():
    assert PriceRow.of({"mode": "chat"}) is None


def test_nonsense_in_a_usage_costs_nothing():
    assert PriceRow.of(ROW).cost({"input_tokens": "many", "output_tokens": None}) == 0


@pytest.mark.parametrize("model", ["gpt-4o", "claude-sonnet-4-5", "gemini/gemini-2.5-pro"])
@pytest.mark.parametrize("into", [1000, 300_000])
def test_the_arithmetic_is_litellms(model, into):
    counted = usage(into, 500, 200)
    types = litellm.types.utils
    theirs = litellm.cost_per_token(
        model=model,
        usage_object=types.Usage(
            prompt_tokens=into,
            completion_tokens=500,
            total_tokens=into + 500,
            prompt_tokens_details=types.PromptTokensDetailsWrapper(cached_tokens=200),
            completion_tokens_details=types.CompletionTokensDetailsWrapper(reasoning_tokens=0),
        ),
    )
    row = PriceRow.of(litellm.model_cost[model])
    assert row.cost(counted) == pytest.approx(sum(theirs))


def test_the_operators_prices_are_for_a_million_tokens_and_some_kinds_may_have_none():
    row = PriceRow.of_million({"input": 2.0, "output": 8.0, "cached": 0.5})
    assert row.cost(usage(1_000_000, 1_000_000)) == pytest.approx(10.0)
    assert row.cost(usage(1_000_000, 0, 1_000_000)) == pytest.approx(0.5)
    assert row.cost(usage(1_000_000, 1_000_000, 0, 1_000_000, 1_000_000)) == pytest.approx(10.0)
    row = PriceRow.of_million({"input": 2.0, "output": 8.0, "cache_write": 3.0, "reasoning": 9.0})
    assert row.cost(usage(1_000_000, 1_000_000, 0, 1_000_000, 1_000_000)) == pytest.approx(12.0)
