"""Token counts of Messages."""

import pytest

from ws_bridge.upstream.dialects.anthropic.usage import UsageCounter


def counted(*usages):
    counter = UsageCounter()
    for usage in usages:
        counter.update(usage)
    return counter.json()


def test_the_input_counts_the_cache():
    usage = {
        "input_tokens": 1,
        "cache_read_input_tokens": 20,
        "cache_creation_input_tokens": 300,
        "output_tokens": 4000,
        "output_tokens_details": {"thinking_tokens": 50},
        "server_tool_use": {"web_search_requests": 9},
    }
    assert counted(usage) == {
        "input_tokens": 321,
        "input_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 300},
        "output_tokens": 4000,
        "output_tokens_details": {"reasoning_tokens": 50},
        "total_tokens": 4321,
    }


def test_later_counts_replace_earlier_ones():
    first = {"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 1}
    last = {"input_tokens": 30, "cache_read_input_tokens": 0, "output_tokens": 2}
    assert counted(first, last)["total_tokens"] == 32


@pytest.mark.parametrize("last", [{"output_tokens": 2}, {"input_tokens": 0, "output_tokens": 2}])
def test_an_end_without_input_leaves_that_of_the_beginning(last):
    assert counted({"input_tokens": 10, "output_tokens": 1}, last)["total_tokens"] == 12


@pytest.mark.parametrize("usage", [None, {}, [], {"input_tokens": None}, {"output_tokens": True}])
def test_without_counts_there_is_no_usage(usage):
    assert counted(usage) is None


def test_counts_of_nothing_are_counts():
    assert counted({"input_tokens": 0, "output_tokens": 0})["total_tokens"] == 0


def test_messages_that_go_on_are_summed_and_a_lost_one_is_not():
    counter = UsageCounter()
    counter.update({"input_tokens": 1, "output_tokens": 1})
    counter.restart(keep=True)
    counter.update({"input_tokens": 10, "output_tokens": 10})
    counter.restart(keep=False)
    counter.update({"input_tokens": 100, "output_tokens": 100})
    assert counter.json()["total_tokens"] == 202
