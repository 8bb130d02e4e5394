"""JSON of clients: what it may be, and that refusing it costs little."""

import tracemalloc
from typing import Any

import orjson
import pytest

from ws_bridge.errors import InvalidRequest
from ws_bridge.protocol.json_limits import (
    USUAL,
    JsonLimits,
    check_limits,
    read_object,
    reading_size,
    weigh,
)
from ws_bridge.protocol.request import check_depth


def refusal(text: str | bytes, shape: JsonLimits = USUAL) -> str:
    with pytest.raises(InvalidRequest) as refused:
        check_limits(read_object(text, shape, "message"), shape)
    assert refused.value.status == 400
    return refused.value.message


def nested(levels: int, wrap: Any = lambda inner: [inner]) -> Any:
    """So many lists or objects, inside of each other."""
    value: Any = "x"
    for _ in range(levels):
        value = wrap(value)
    return value


WRAPS = {
    "lists": lambda inner: [inner],
    "objects": lambda inner: {"a": inner},
    "among others": lambda inner: [1, {"b": []}, inner, {}],
}


@pytest.mark.parametrize("text", ['{"a": 1}', b' {"a": 1} ', '\n{"a":1}'])
def test_an_object_is_read(text):
    assert read_object(text, USUAL, "message") == {"a": 1}


@pytest.mark.catalogue("B12")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        *((text, "is not valid JSON") for text in ("", "{", '{"a":NaN}', "\ufeff{}", b"\xff", "'")),
        *((text, "is not valid JSON") for text in ("[" * 100_000, '{"a":' * 100_000)),
        *((text, "must be a JSON object") for text in ("[]", "null", "1", '"x"', "true")),
    ],
)
def test_anything_else_is_refused_in_words(text, words):
    assert refusal(text) == f"The message {words}."


@pytest.mark.catalogue("B12")
@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
@pytest.mark.parametrize("depth", [1, 5, 64, 200])
def test_so_deep_and_no_deeper(wrap, depth):
    shape = JsonLimits(depth=depth + 2)
    check_limits({"a": nested(depth - 1, wrap)}, shape)
    assert "nested more than" in refusal(orjson.dumps({"a": nested(depth + 2, wrap)}), shape)


def test_the_words_say_how_deep():
    assert refusal(orjson.dumps({"a": nested(64)})) == (
        "The request is nested more than 64 levels deep."
    )
    with pytest.raises(InvalidRequest):
        check_depth({"a": nested(64)})
    check_depth({"a": nested(63)})


@pytest.mark.catalogue("B12")
@pytest.mark.parametrize("at", [lambda wide: wide, lambda wide: {"a": [{"b": wide}]}])
def test_so_many_keys_and_no_more(at):
    shape = JsonLimits(keys=5)
    check_limits(at({str(key): key for key in range(5)}), shape)
    text = orjson.dumps(at({str(key): key for key in range(6)}))
    assert refusal(text, shape) == "An object of the request has more than 5 keys."


def test_a_list_may_be_longer_than_an_object_is_wide():
    check_limits({"a": list(range(100))}, JsonLimits(keys=5))


FEW = JsonLimits(values=100)
BULKS = {
    "objects": "{},",
    "lists": "[],",
    "numbers": "1,",
    "strings": '"",',
    "escaped strings": r'"\"","\\",',
    "signs in strings": '",[{",',
    "nested": "[[[[[[]]]]]],",
    "members": '{"a":1,"b":2},',
}


@pytest.mark.parametrize("bulk", BULKS.values(), ids=BULKS)
def test_so_many_values_and_no_more(bulk):
    few, many = (f'{{"a":[{bulk * count}1]}}' for count in (8, 200))
    assert len(read_object(few, FEW, "message")["a"]) > 8
    assert refusal(many, FEW) == "The message has more than 100 values."
    assert refusal(many.encode(), FEW) == "The message has more than 100 values."


@pytest.mark.parametrize("inside", [",[{", r"\",", r"\\,[", "],[", r"\\\"{[,", "\\u0022,"])
def test_what_stands_in_a_string_is_no_value(inside):
    text = f'{{"a":"{inside * 1000}","b,[":["{inside}"]}}'
    assert read_object(text, FEW, "message") == orjson.loads(text)


@pytest.mark.catalogue("B12")
@pytest.mark.parametrize("bulk", ["{},", "[],", '"ab",', "12345,", "[[[[[[]]]]]],"])
def test_what_would_be_many_times_its_text_is_refused_for_a_few_times_it(bulk):
    text = '{"a":[' + bulk * (2**20 // len(bulk)) + "1]}"
    tracemalloc.start()
    try:
        refusal(text, JsonLimits(values=5000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * len(text)  # read, it would be up to thirty times


WEIGHED = {
    "a text": ["x" * 10**6],
    "a text with one wide letter": ["x" * 10**6 + "\U0001f600"],
    "items": [{"role": "user", "content": "hi"} for _ in range(20_000)],
    "numbers": [float(number) for number in range(100_000)],
    "nothing in many": [[[]] for _ in range(50_000)],
    "nested": [{"a": [{"b": ["c" * 9] * 9}]} for _ in range(2000)],
}


@pytest.mark.catalogue("A7")
@pytest.mark.parametrize("values", WEIGHED.values(), ids=WEIGHED)
def test_values_weigh_what_they_take_in_memory(values):
    """120,000 items of 4 MB are 38 MB, and a text with one wide letter four times its bytes."""
    text = orjson.dumps(values)
    tracemalloc.start()
    try:
        read = orjson.loads(text)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.75 * taken < weigh([read]) < 1.25 * taken


@pytest.mark.parametrize("few", [[{"content": ["x"] * 100_000}], [{"role": "user"}] * 100_000])
def test_that_values_weigh_more_than_enough_is_found_without_weighing_them_all(few):
    assert 1000 < weigh(few, 1000) < weigh(few) / 2
    assert weigh(few, 10**9) == weigh(few)


@pytest.mark.parametrize("form", [bytes, bytes.decode])
def test_what_has_many_objects_takes_longer_to_be_read_than_its_length_says(form):
    many = form(b'{"input":[' + b",".join([b'{"a":[]}'] * 4000) + b"]}")
    assert reading_size(many, 2**18) > 2**18 > len(many)
    plain = form(b'{"input":"' + b"x" * len(many) + b'"}')
    assert reading_size(plain, 2**18) < len(plain) + 1000
    assert reading_size(many, 1000) == len(many), "of a long one that is enough"
