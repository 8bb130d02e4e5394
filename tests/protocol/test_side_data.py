"""What of side data is kept, and how large it is."""

from typing import Any

import orjson
import pytest

from ws_bridge.protocol.side_data import is_side_data, side_data_size


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = {"a": value}
    return value


def test_its_size_is_that_of_its_json():
    side_data = {"blocks": [{"type": "ü", "n": 2**63}], "none": None}
    assert side_data_size(side_data) == len(orjson.dumps(side_data))
    assert side_data_size(nested(100)) == 1 + len(b'{"a":}') * 100 + 2
    assert side_data_size({}) == 2
    assert side_data_size(None) == 0


@pytest.mark.parametrize(
    "value",
    [[{}], "text", 7, {"a": "\ud800"}, {"a": 2**80}, {"a": object()}, {1: 2}, nested(1000)],
)
def test_what_could_not_be_stored_and_read_back_has_none(value):
    assert side_data_size(value) == -1


def test_only_an_object_that_can_be_copied_is_side_data():
    assert is_side_data(nested(100))
    assert not any(map(is_side_data, (None, [], "x", nested(1000))))
