"""What of a provider's output is output."""

from typing import Any

import orjson
import pytest

from ws_bridge.protocol.output.received import (
    DEEPEST,
    has_items,
    is_item,
    is_shallow,
    items_of,
    with_items,
)

GOOD: list[dict[str, Any]] = [
    {"type": "message", "id": "msg_1", "role": "assistant", "content": []},
    {"type": "message", "content": [{"type": "output_text", "text": "x", "annotations": []}]},
    {"type": "message", "content": "as some write it"},
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "x"}], "content": None},
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "status": None},
    {"type": "of_tomorrow", "more": {"a": [1, {"b": None}]}},
    {"note": "no type"},
    {},
]
BAD: list[Any] = [
    *(None, 1, "message", [], [{}], True),
    {"type": 5},
    {"type": []},
    {"type": "message", "id": 7},
    {"type": "function_call", "call_id": {}},
    {"type": "message", "content": 7},
    {"type": "message", "content": [1]},
    {"type": "message", "content": [{"type": {}}]},
    {"type": "message", "content": [{"type": "output_text", "text": 7}]},
    {"type": "message", "content": [{"type": "output_text", "annotations": 7}]},
    {"type": "reasoning", "summary": ["x"]},
]


@pytest.mark.parametrize("item", GOOD)
def test_an_item_passes_as_it_is(item):
    assert is_item(item)
    assert items_of([item]) == [item]


@pytest.mark.parametrize("item", BAD)
def test_what_is_no_item_is_left_out(item):
    assert not is_item(item)
    assert items_of([GOOD[0], item, GOOD[1]]) == GOOD[:2]


@pytest.mark.parametrize("output", [None, 5, "abc", {"type": "message"}, True])
def test_an_output_that_is_no_list_is_none(output):
    assert items_of(output) == []
    assert not has_items({"output": output})


def nested(depth):
    return orjson.loads('{"a":' * depth + "1" + "}" * depth)


def test_nothing_is_nested_deeper_than_it_can_be_written():
    assert is_shallow(nested(DEEPEST))
    assert not is_shallow(nested(DEEPEST + 1))
    assert is_shallow("x")
    assert not is_item({"type": "x", "more": nested(900)})
    orjson.dumps({"response": {"output": [{"type": "x", "more": nested(DEEPEST)}]}})


@pytest.mark.parametrize("response", [None, 5, [], {}, {"output": [1]}])
def test_items_are_put_where_there_are_none(response):
    assert not has_items(response)
    assert with_items(response, GOOD)["output"] == GOOD
