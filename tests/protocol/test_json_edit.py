"""Splicing: one value of an object is another, and no other byte is."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_bridge.protocol.json_edit import is_plain, replaced

KEY = b'"n"'
SPELLINGS = [
    lambda value: json.dumps(value).encode(),
    lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(),
    lambda value: json.dumps(value, indent=3).encode(),
]
# Each with what becomes of it when "n" is 7, and when it is taken away.
TEXTS = [
    (b'{"n":1}', b'{"n":7}', b"{}"),
    (b'{ "n" : 1 }', b'{ "n" : 7 }', b"{  }"),
    (b'{"a":2, "n":1}', b'{"a":2, "n":7}', b'{"a":2}'),
    (b'{"n": 1, "a":2}', b'{"n": 7, "a":2}', b'{"a":2}'),
    (b'{"a":2,"n":"x","b":3}', b'{"a":2,"n":7,"b":3}', b'{"a":2,"b":3}'),
    (b'{"a":{"n":1},"n":1}', b'{"a":{"n":1},"n":7}', b'{"a":{"n":1}}'),
    (b'{"a":[{"n":1}],"n":null}', b'{"a":[{"n":1}],"n":7}', b'{"a":[{"n":1}]}'),
    (b'{"a":"\\"n\\":1","n":1}', b'{"a":"\\"n\\":1","n":7}', b'{"a":"\\"n\\":1"}'),
    (b'{"a":"n","b":"}","n":[1,{}]}', b'{"a":"n","b":"}","n":7}', b'{"a":"n","b":"}"}'),
    (b'{"a":"\\\\","n":true}', b'{"a":"\\\\","n":7}', b'{"a":"\\\\"}'),
    (b'{"a":{"n":1}}', b'{"n":7,"a":{"n":1}}', b'{"a":{"n":1}}'),
    (b'{"a":"\\"n\\":"}', b'{"n":7,"a":"\\"n\\":"}', b'{"a":"\\"n\\":"}'),
    (b'{"a":1}', b'{"n":7,"a":1}', b'{"a":1}'),
]


@pytest.mark.parametrize(("text", "changed", "removed"), TEXTS)
def test_only_the_objects_own_key_is_changed_or_taken_away(text, changed, removed):
    assert replaced(text, {KEY: b"7"}) == changed
    assert replaced(text, {KEY: None}) == removed


def test_several_values_are_changed_at_once_in_any_order():
    text = b'{"type":"x", "stream_id":"theirs", "delta":"stream_id", "sequence_number": 12}'
    changed = replaced(text, {b'"sequence_number"': b"3", b'"stream_id"': b'"ours"'})
    expected = b'{"type":"x", "stream_id":"ours", "delta":"stream_id", "sequence_number": 3}'
    assert changed == expected


KEYS = st.sampled_from(["n", "m", "a", '"n":', "é"])
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | KEYS
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
)


@given(st.dictionaries(KEYS, VALUES, min_size=1), st.sampled_from(SPELLINGS), st.booleans())
def test_the_parsed_object_differs_in_that_value_alone(value, spelling, keeps):
    changed = json.loads(replaced(spelling(value), {KEY: b"7" if keeps else None}))
    rest = {key: item for key, item in value.items() if key != "n"}
    assert changed == (rest | {"n": 7} if keeps else rest)


@given(st.dictionaries(KEYS, VALUES, min_size=1), st.sampled_from(SPELLINGS))
def test_putting_a_value_back_gives_the_same_bytes(value, spelling):
    text = spelling({"first": 0, **value, "n": 1, "last": []})
    there = replaced(text, {KEY: b"[2, 3]"})
    assert there != text
    assert replaced(there, {KEY: b"1"}) == text
    assert orjson.loads(there)["n"] == [2, 3]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (b'{"n":1,"a":2}', True),
        (b'{"a":{"n":1},"n":1}', True),
        (b'{"a":"\\"n\\":1","n":1}', True),
        (b'{"n":1,"a":"\\u003cb"}', True),
        (b'{"a":1}', True),
        (b'{"n":1,"n":2}', False),
        (b'{"n":1,"a":{},"n":2}', False),
        (b'{"n":1,"\\u006e":2}', False),
        (b'{"\\u006E" : 2}', False),
    ],
)
def test_a_key_twice_or_in_another_spelling_is_found(text, plain):
    assert is_plain(text, (KEY,)) is plain
