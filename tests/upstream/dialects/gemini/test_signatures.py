"""A signature goes through a seal and comes back; ids with a signature in them are read."""

import pytest

from ws_bridge.upstream.dialects.gemini.signatures import (
    CALL,
    IMAGE,
    TEXT,
    Signature,
    fitting_id,
    read_signature,
    sealable,
    split_id,
)


@pytest.mark.parametrize(
    "signature",
    [
        Signature(CALL, "c2ln", call_id="a/b"),
        Signature(TEXT, "c2ln", length=7),
        Signature(IMAGE, "c2ln", media_type="image/png"),
        Signature(CALL),
    ],
)
def test_what_is_sealed_is_read_again(signature):
    assert read_signature(signature.json()) == signature


@pytest.mark.parametrize(
    "values",
    [
        None,
        {},
        {"blocks": []},
        {"on": "code", "signature": "x"},
        {"on": "text", "signature": 1},
        {"on": "text", "length": "1"},
        {"on": "text", "length": -1},
        {"on": "text", "length": True},
        {"on": ["text"]},
    ],
)
def test_values_of_another_form_are_no_signature(values):
    assert read_signature(values) is None


def test_an_id_fits_or_is_mapped_always_alike():
    assert fitting_id("96c1su3s") == "96c1su3s"
    assert fitting_id("a b") == fitting_id("a b") != fitting_id("a.b")
    assert len(fitting_id("x" * 65)) <= 64
    assert fitting_id("") is fitting_id(None) is fitting_id(7) is None


def test_half_of_a_character_is_not_sealed():
    assert sealable("a\ud83d") == sealable(None) == sealable(1) == ""
    assert sealable("é🎈") == "é🎈"


def test_an_old_id_has_its_signature_behind_it():
    assert split_id("call_1__thought__Ep+/w==") == ("call_1", "Ep+/w==")


@pytest.mark.parametrize("call_id", ["call_1", "__thought__abc", "a__thought__", "a__thought__b c"])
def test_an_id_that_only_resembles_one_is_an_id(call_id):
    assert split_id(call_id) == (call_id, "")
