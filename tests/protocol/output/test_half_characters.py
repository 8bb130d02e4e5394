"""No half of a character leaves a text, and no whole one is lost."""

from hypothesis import given
from hypothesis import strategies as st

from ws_bridge.protocol.output.half_characters import HalfCharacters


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
