"""Compaction items: asked for in one form, sealed and opened here, harmless whoever wrote them."""

import base64
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ws_bridge.errors import InvalidRequest
from ws_bridge.protocol.compaction import (
    DEFAULT_THRESHOLD,
    HEADING,
    MARK,
    MAX_SUMMARY_BYTES,
    seal,
    threshold_of,
    unfold,
    unseal,
)


def packed(data: bytes) -> str:
    return MARK + base64.urlsafe_b64encode(data).decode()


@settings(deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_what_was_sealed_is_unsealed(summary):
    assert unseal(seal(summary)) == summary


def test_a_seal_is_a_compaction_item_with_an_id_of_its_own():
    item = seal("summary")
    assert sorted(item) == ["encrypted_content", "id", "type"]
    assert item["type"] == "compaction"
    assert item["id"] != seal("summary")["id"]


def test_a_sealed_summary_becomes_a_message_a_provider_can_read():
    assert unfold(seal("They met.")) == {
        "type": "message",
        "role": "user",
        "content": HEADING + "They met.",
    }


@pytest.mark.parametrize(
    "content",
    [
        None,
        5,
        "",
        "gAAAAABprovider",
        MARK,
        MARK + "é",
        MARK + "not base64!",
        MARK + "AAAA",
        packed(b"not compressed"),
        packed(zlib.compress(b"\xff\xfe")),
        packed(zlib.compress(b"cut short" * 100)[:-8]),
    ],
)
def test_what_was_not_sealed_here_is_left_as_it_is(content):
    item = {"type": "compaction", "id": "cmp_1", "encrypted_content": content}
    assert unseal(item) is None
    assert unfold(item) is item


def test_other_items_are_left_as_they_are():
    item = {**seal("x"), "type": "reasoning"}
    assert unfold(item) is item


def test_a_seal_that_unfolds_to_more_than_the_bound_is_not_opened():
    bomb = packed(zlib.compress(b"a" * (MAX_SUMMARY_BYTES + 1)))
    full = packed(zlib.compress(b"a" * MAX_SUMMARY_BYTES))
    assert unseal({"type": "compaction", "encrypted_content": bomb}) is None
    assert unseal({"type": "compaction", "encrypted_content": full}) == "a" * MAX_SUMMARY_BYTES


def entry(**fields):
    return {"type": "compaction", **fields}


@pytest.mark.parametrize(
    ("entries", "threshold"),
    [
        ([], None),
        ([entry()], DEFAULT_THRESHOLD),
        ([entry(compact_threshold=None)], DEFAULT_THRESHOLD),
        ([entry(compact_threshold=1)], 1),
        ([entry(compact_threshold=2000), entry(compact_threshold=1000)], 1000),
    ],
)
def test_the_lowest_threshold_counts(entries, threshold):
    assert threshold_of(entries) == threshold


@pytest.mark.parametrize(
    ("entries", "where"),
    [
        ([{}], "context_management[0].type"),
        ([{"type": "pruning"}], "context_management[0].type"),
        ([{"type": 5}], "context_management[0].type"),
        *(
            ([entry(), entry(compact_threshold=bad)], "context_management[1].compact_threshold")
            for bad in (0, -1, 1.5, True, "1000", [1000])
        ),
    ],
)
def test_a_bad_entry_is_refused_by_name(entries, where):
    with pytest.raises(InvalidRequest) as refused:
        threshold_of(entries)
    assert (refused.value.status, refused.value.param) == (400, "context_management")
    assert f"'{where}'" in refused.value.message
