"""No half of a character leaves a text, and no whole one is lost."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_bridge.protocol.output.half_characters import HalfCharacters, all_whole, whole


def joined(*pieces):
    halves = HalfCharacters()
    return [*(halves.join(piece) for piece in pieces), halves.flush()]


def test_the_first_half_waits_for_the_second():
    assert joined("a\ud83d", "\ude00b") == ["a", "\U0001f600b", ""]


def test_a_half_whose_other_half_never_comes_is_replaced():
    assert joined("a\ud83d") == ["a", "\ufffd"]
    assert joined("\ud83d", "b") == ["", "\ufffdb", ""]


def test_a_second_half_alone_is_replaced():
    assert joined("\ude00b") == ["\ufffdb", ""]


def test_whole_characters_pass_at_once():
    assert joined("é", "\U0001f600", "") == ["é", "\U0001f600", "", ""]


@given(st.text(), st.data())
def test_a_text_cut_between_any_units_comes_out_whole(text, data):
    units = text.encode("utf-16-le", "surrogatepass")
    cut = 2 * data.draw(st.integers(0, len(units) // 2))
    halves = [part.decode("utf-16-le", "surrogatepass") for part in (units[:cut], units[cut:])]
    assert "".join(joined(*halves)) == units.decode("utf-16-le", "replace")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain é\U0001f600", "plain é\U0001f600"),
        ("\ud83d\ude00", "\U0001f600"),
        ("a\ud83db\ude00c", "a\ufffdb\ufffdc"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
    ],
)
def test_a_text_that_is_all_there_is_whole(text, expected):
    assert whole(text) == expected


def test_what_is_whole_can_be_written():
    value = {"\ud83d": ["\ud83d", {"x": "\ude00"}, 1, None, True]}
    expected = {"\ufffd": ["\ufffd", {"x": "\ufffd"}, 1, None, True]}
    assert all_whole(value) == expected
    assert json.dumps(all_whole(value), ensure_ascii=False).encode()
