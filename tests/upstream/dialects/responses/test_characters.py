"""Halves of characters are joined, held or replaced."""

import json

import pytest

from ws_bridge.upstream.dialects.responses.characters import all_whole, split_half, whole

FIRST, SECOND = "\ud83d", "\ude42"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("plain é🙂", "plain é🙂"),
        (FIRST + SECOND, "🙂"),
        (f"a{FIRST}b{SECOND}c", "a\ufffdb\ufffdc"),
        (SECOND + FIRST, "\ufffd\ufffd"),
    ],
)
def test_a_half_alone_is_replaced(text, expected):
    assert whole(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a" + FIRST, ("a", FIRST)),
        ("a" + SECOND, ("a\ufffd", "")),
        (FIRST + "a", ("\ufffda", "")),
        (FIRST + SECOND, ("🙂", "")),
        ("🙂", ("🙂", "")),
        ("", ("", "")),
    ],
)
def test_only_a_first_half_at_the_end_may_go_on(text, expected):
    assert split_half(text) == expected


def test_what_is_whole_can_be_written():
    value = {FIRST: [FIRST, {"x": SECOND}, 1, None, True]}
    assert json.dumps(all_whole(value), ensure_ascii=False).encode() == (
        '{"\ufffd": ["\ufffd", {"x": "\ufffd"}, 1, null, true]}'.encode()
    )
