"""Compaction items: asked for in one form, known by their mark."""

import pytest

from ws_bridge.errors import InvalidRequest
from ws_bridge.protocol.compaction import (
    DEFAULT_THRESHOLD,
    HEADING,
    MARK,
    own_seal,
    summary_message,
    threshold_of,
)


@pytest.mark.parametrize("content", [MARK, MARK + "AAAA", MARK + "é"])
def test_a_seal_of_this_bridge_is_known_by_its_mark(content):
    item = {"type": "compaction", "id": "cmp_1", "encrypted_content": content}
    assert own_seal(item) == content
    assert own_seal({**item, "type": "reasoning"}) == ""


@pytest.mark.parametrize("content", [None, 5, "", "gAAAAABprovider", [MARK], "WSB1."])
def test_what_others_have_sealed_is_not(content):
    item = {"type": "compaction", "id": "cmp_1", "encrypted_content": content}
    assert own_seal(item) == ""


def test_a_summary_is_told_as_a_message_that_any_provider_can_read():
    assert summary_message("They met.") == {
        "type": "message",
        "role": "user",
        "content": HEADING + "They met.",
    }


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
