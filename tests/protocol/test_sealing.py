"""Seals: made and opened here, forged ones refused, never more unfolded than the bounds say."""

import base64
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ws_bridge.errors import InvalidEncryptedContent
from ws_bridge.protocol.compaction import MARK
from ws_bridge.protocol.history import Chain, Turn
from ws_bridge.protocol.sealing import (
    LITTLE,
    MAX_RATIO,
    MAX_SUMMARY_BYTES,
    SIGNATURE,
    UNSIGNED,
    Sealer,
)

Json = dict[str, Any]

HELLO = {"type": "message", "role": "user", "content": "hi"}
ONE, TWO = b"1" * 32, b"2" * 32


def signing(*keys: bytes) -> Sealer:
    return Sealer(lambda: keys)


def test_its_keys_are_those_that_are_known_by_then() -> None:
    known = [ONE]
    sealer = Sealer(lambda: known)
    known.insert(0, TWO)
    assert list(sealer.keys()) == [TWO, ONE]
    assert UNSIGNED.keys() == ()


def item(content: Any) -> Json:
    return {"type": "compaction", "id": "cmp_1", "encrypted_content": content}


def plain(data: bytes, level: int = -1) -> Json:
    """A seal as releases without signatures made it."""
    return item(MARK + base64.urlsafe_b64encode(zlib.compress(data, level)).decode())


def text_in(sealer: Sealer, *written: Json) -> str | None:
    summary = sealer.open(Chain(None, written)).summary
    return summary.text if summary else None


def changed(sealed: Json, place: int) -> Json:
    content = sealed["encrypted_content"]
    other = "A" if content[place] != "A" else "B"
    end = content[place + 1 :] if place != -1 else ""
    return {**sealed, "encrypted_content": content[:place] + other + end}


@pytest.fixture
def unfolded(monkeypatch) -> list[int]:
    """How much each unfolding has made, of all there were."""
    made: list[int] = []
    real = zlib.decompressobj

    class Counted:
        def __init__(self, *arguments):
            self._real = real(*arguments)

        def decompress(self, data, max_length=0):
            out = self._real.decompress(data, max_length)
            made.append(len(out))
            return out

        @property
        def eof(self):
            return self._real.eof

    monkeypatch.setattr(zlib, "decompressobj", Counted)
    return made


# What was sealed


@settings(deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_what_was_sealed_is_opened_signed_or_not_and_without_its_key(summary):
    for sealer in (UNSIGNED, signing(ONE)):
        for reader in (sealer, UNSIGNED, signing(TWO), signing(TWO, ONE)):
            assert text_in(reader, sealer.seal(summary)) == summary


@pytest.mark.parametrize(
    "summary", ["a" * MAX_SUMMARY_BYTES, "a" * 5000, "word " * 100_000, "é" * (2**19)]
)
def test_what_folds_very_well_is_readable_without_its_key_too(summary):
    sealed = signing(ONE).seal(summary)
    for reader in (signing(ONE), UNSIGNED, signing(TWO)):
        assert text_in(reader, sealed) == summary


def test_a_summary_beyond_the_bound_is_cut_there():
    sealed = signing(ONE).seal("é" + "a" * MAX_SUMMARY_BYTES)
    assert text_in(signing(ONE), sealed) == "é" + "a" * (MAX_SUMMARY_BYTES - 2)
    assert text_in(UNSIGNED, signing(ONE).seal("a" + "é" * 2**19)) == "a" + "é" * (2**19 - 1)


def test_a_seal_is_a_compaction_item_with_an_id_of_its_own():
    sealed = signing(ONE).seal("summary")
    assert sorted(sealed) == ["encrypted_content", "id", "type"]
    assert sealed["type"] == "compaction"
    assert sealed["id"] != signing(ONE).seal("summary")["id"]


def test_keys_that_become_known_later_are_used_from_then_on():
    keys: list[bytes] = []
    sealer = Sealer(lambda: keys)
    before = sealer.seal("They met.")
    keys.append(ONE)
    after = sealer.seal("They met.")
    assert len(after["encrypted_content"]) == len(before["encrypted_content"]) + SIGNATURE
    assert text_in(sealer, before) == text_in(sealer, after) == "They met."


# Old seals, old readers


def test_a_seal_of_an_older_release_is_opened():
    for summary in ("They met.", "word " * 500, "é" * 1000):
        assert text_in(signing(ONE), plain(summary.encode())) == summary


def unsealed_by_an_older_release(sealed: Json) -> str | None:
    """As release 0.1.0 before signatures reads a seal, word for word."""
    content = sealed["encrypted_content"]
    unpack = zlib.decompressobj()
    packed = base64.b64decode(content.removeprefix("wsb1."), altchars=b"-_", validate=True)
    summary = unpack.decompress(packed, 1 << 20)
    return summary.decode() if unpack.eof else None


@pytest.mark.parametrize("summary", ["", "They met.", "é" * 999, "a" * 100_000, "a b c " * 3])
def test_an_older_release_reads_what_is_sealed_now(summary):
    for sealer in (UNSIGNED, signing(ONE)):
        assert unsealed_by_an_older_release(sealer.seal(summary)) == summary


# Forged ones


@pytest.mark.parametrize("place", [len(MARK), 20, -SIGNATURE - 1, -1, -20, -42])
def test_a_signed_seal_that_was_changed_is_refused(place, unfolded):
    forged = changed(signing(ONE).seal("They met, and talked of tea and herons."), place)
    for sealer in (signing(ONE), signing(TWO, ONE)):
        for written in ([forged], [forged, signing(ONE).seal("later")], [HELLO, forged, HELLO]):
            with pytest.raises(InvalidEncryptedContent) as refused:
                sealer.open(Chain(None, tuple(written)))
            assert (refused.value.status, refused.value.param) == (400, "input")
            assert refused.value.code == "invalid_encrypted_content"
        with pytest.raises(InvalidEncryptedContent):
            sealer.check([HELLO, forged])
    assert unfolded == []  # nothing was, before the signature was known to be wrong


def test_one_seals_signature_is_not_anothers():
    one, other = (signing(ONE).seal(text)["encrypted_content"] for text in ("They met.", "Never."))
    with pytest.raises(InvalidEncryptedContent):
        text_in(signing(ONE), item(other[:-SIGNATURE] + one[-SIGNATURE:]))


BROKEN = [
    MARK,
    MARK + "é",
    MARK + "not base64!",
    MARK + "AAAA",
    MARK + "\ud800",
    plain(b"\xff\xfe")["encrypted_content"],
    plain(b"cut short" * 100)["encrypted_content"][:-8],
    MARK + base64.urlsafe_b64encode(b"not compressed").decode(),
    MARK + base64.urlsafe_b64encode(b"signed" + bytes(42)).decode(),
]


@pytest.mark.parametrize("content", BROKEN)
def test_what_bears_the_mark_and_is_no_seal_is_refused_as_the_newest_of_a_request(content):
    for sealer in (UNSIGNED, signing(ONE)):
        with pytest.raises(InvalidEncryptedContent):
            text_in(sealer, HELLO, item(content), HELLO)


@pytest.mark.parametrize("content", BROKEN)
def test_in_earlier_turns_it_counts_for_nothing(content):
    """A provider may have said it, or an older release taken it: the chain can be continued."""
    good = signing(ONE).seal("They met.")
    first = Turn("resp_1", (good,), (), "m")
    for turn in (
        Turn("resp_2", (item(content),), (), "m", first),
        Turn("resp_2", (), (item(content), HELLO), "m", first),
    ):
        assert signing(ONE).open(Chain(turn, (HELLO,))).summary.text == "They met."
        alone = Turn(turn.id, turn.input, turn.output, "m")
        chain = signing(ONE).open(Chain(alone, (HELLO,)))
        assert chain.summary is None
        assert item(content) not in chain.items_for("m")


def test_a_forged_one_in_an_earlier_turn_is_not_opened(unfolded):
    forged = changed(signing(ONE).seal("They met, and talked of tea."), 20)
    turn = Turn("resp_1", (), (forged, HELLO), "m")
    assert signing(ONE).open(Chain(turn, ())).summary is None
    assert unfolded == []


def test_what_others_have_sealed_is_theirs():
    foreign = [item(content) for content in (None, 5, "", "gAAAAABprovider")]
    chain = Chain(None, (*foreign, {**signing(ONE).seal("x"), "type": "reasoning"}))
    assert signing(ONE).open(chain) is chain


# Bombs


def bomb(size: int = MAX_SUMMARY_BYTES, letter: bytes = b"a") -> Json:
    return plain(letter * size, 9)


@pytest.mark.catalogue("A5")
def test_a_bomb_is_refused_when_it_has_unfolded_to_more_than_any_text(unfolded):
    small = bomb()["encrypted_content"]
    assert len(small) < 1500  # and would be a MiB
    with pytest.raises(InvalidEncryptedContent):
        text_in(signing(ONE), item(small))
    assert len(unfolded) == 1
    assert unfolded[0] <= MAX_RATIO * len(small)


@pytest.mark.catalogue("A5")
@pytest.mark.parametrize("is_last_good", [True, False])
def test_of_ten_thousand_bombs_one_seal_is_unfolded(unfolded, is_last_good):
    bombs = [bomb(MAX_SUMMARY_BYTES - number) for number in range(100)] * 100
    if is_last_good:
        assert text_in(signing(ONE), *bombs, signing(ONE).seal("They met.")) == "They met."
    else:
        with pytest.raises(InvalidEncryptedContent):
            text_in(signing(ONE), *bombs)
    assert len(unfolded) == 1
    assert unfolded[0] < 50_000


@pytest.mark.catalogue("A5")
def test_what_a_chain_unfolds_in_vain_is_bounded_in_sum(unfolded):
    """Bombs in earlier turns, put there by an older release, or by a provider."""
    said = tuple(bomb(2**16 - number) for number in range(300))
    turn = Turn("resp_1", said, (*said, HELLO), "m", Turn("resp_0", said, (), "m"))
    chain = signing(ONE).open(Chain(turn, (HELLO,)))
    assert chain.summary is None
    assert sum(unfolded) <= 2 * MAX_SUMMARY_BYTES
    assert len(unfolded) <= MAX_SUMMARY_BYTES // LITTLE
    assert len(chain.items_for("m")) == 2


def test_a_signed_seal_may_unfold_to_the_bound_and_no_further(unfolded):
    with_bomb = bomb(2 * MAX_SUMMARY_BYTES)["encrypted_content"]
    signed = signing(ONE).seal("a" * MAX_SUMMARY_BYTES)
    assert text_in(signing(ONE), signed) == "a" * MAX_SUMMARY_BYTES
    with pytest.raises(InvalidEncryptedContent):
        text_in(signing(ONE), item(with_bomb))
    assert max(unfolded) == MAX_SUMMARY_BYTES
