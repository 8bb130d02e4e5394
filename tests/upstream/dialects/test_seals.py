"""A seal opens for its maker only, and a forged one for nobody at all."""

import base64
import json

import pytest

from ws_bridge.protocol.history import SEAL_MARK
from ws_bridge.upstream.dialects.seals import MakerSeals

VALUES = {"signature": "s", "é": [1]}
KEY = b"k" * 32


def sealer(maker="m", *keys):
    return MakerSeals(maker, lambda: keys or (KEY,))


def test_its_maker_reads_it():
    assert sealer().open(sealer().seal(VALUES)) == VALUES


def test_another_maker_does_not():
    assert sealer("other").open(sealer().seal(VALUES)) is None


def test_an_older_key_still_opens():
    assert sealer("m", b"new", KEY).open(sealer().seal(VALUES)) == VALUES
    assert sealer("m", b"new").open(sealer().seal(VALUES)) is None


def test_it_shows_neither_address_nor_key():
    sealed = MakerSeals("anthropic|https://inner.host|acct").seal({})
    assert b"inner.host" not in base64.urlsafe_b64decode(sealed.removeprefix(SEAL_MARK))


@pytest.mark.parametrize("place", [0, 5, 20, 40])
def test_a_changed_byte_makes_it_nothing(place):
    raw = bytearray(base64.urlsafe_b64decode(sealer().seal(VALUES).removeprefix(SEAL_MARK)))
    raw[place] ^= 1
    assert sealer().open(SEAL_MARK + base64.urlsafe_b64encode(raw).decode()) is None


@pytest.mark.parametrize(
    "sealed",
    [
        None,
        5,
        "",
        SEAL_MARK,
        SEAL_MARK + "!!",
        SEAL_MARK + "QUJD",
        "gAAAA-of-openai",
        "[",
        "[1]",
        "{}",
    ],
)
def test_what_is_no_seal_of_ours_opens_to_nothing(sealed):
    assert sealer().open(sealed) is None


def test_without_keys_seals_are_made_and_opened():
    plain = MakerSeals("m")
    assert plain.open(plain.seal(VALUES)) == VALUES


def test_thinking_blocks_of_older_releases_are_read():
    blocks = [{"type": "thinking", "thinking": "t", "signature": "s"}]
    assert sealer().open(json.dumps(blocks)) == {"blocks": blocks}


def test_other_blocks_are_no_thinking():
    assert sealer().open(json.dumps([{"type": "tool_use", "id": "x"}])) is None


@pytest.mark.parametrize("odd", ["\ud800", 10**30])
def test_values_that_json_writers_differ_about_come_back_as_they_were(odd):
    assert sealer().open(sealer().seal({"a": odd})) == {"a": odd}
