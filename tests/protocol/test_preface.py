"""What stands before an answer: its items come first, and everything after them is shifted."""

from typing import Any

import orjson
import pytest
from support.event_checker import check_events
from support.scripted_upstream import answer, completed, done_item, message, opening

from ws_bridge.protocol.events import COMPLETED, FAILED, IN_PROGRESS, INCOMPLETE, Draft
from ws_bridge.protocol.output.items import ADDED, DONE
from ws_bridge.protocol.preface import PrefacedDrafts
from ws_bridge.protocol.reducer import fold
from ws_bridge.protocol.response import Envelope
from ws_bridge.protocol.sequencer import Sequencer

Json = dict[str, Any]

SUMMARY = {"id": "cmp_1", "type": "compaction", "encrypted_content": "sealed"}
OTHER = {"id": "cmp_2", "type": "compaction", "encrypted_content": "sealed too"}
USAGE = {
    "input_tokens": 10,
    "output_tokens": 20,
    "total_tokens": 30,
    "input_tokens_details": {"cached_tokens": 4},
}


def new(*items: Json) -> PrefacedDrafts:
    return PrefacedDrafts(items or (SUMMARY,), USAGE)


def places(drafts: list[Draft]) -> list[tuple[str, int]]:
    """The drafts that have an index, and which."""
    return [
        (draft.type.removeprefix("response."), draft.fields["output_index"])
        for draft in drafts
        if "output_index" in draft.fields
    ]


def test_the_items_come_after_the_opening_and_before_all_else():
    drafts = new(SUMMARY, OTHER).of(answer("hi"))
    assert [draft.type for draft in drafts[:7]] == [
        "response.created",
        IN_PROGRESS,
        *(ADDED, DONE) * 2,
        ADDED,
    ]
    assert [draft.fields["item"] for draft in drafts[3:6:2]] == [SUMMARY, OTHER]
    assert [index for _, index in places(drafts)] == [0, 0, 1, 1, *[2] * len(message("hi"))]


def test_they_are_inserted_once_in_whichever_batch_the_output_begins():
    prefaced = new()
    assert prefaced.of(opening()) == opening()
    assert prefaced.of([]) == []
    first = prefaced.of(message("a", "b")[:3])
    assert [draft.fields["item"] for draft in first[:2]] == [SUMMARY, SUMMARY]
    rest = prefaced.of(message("a", "b")[3:])
    assert places(first + rest)[2:] == [
        (draft.type.removeprefix("response."), 1) for draft in message("a", "b")
    ]


@pytest.mark.parametrize("kind", [COMPLETED, INCOMPLETE])
def test_the_end_has_the_items_in_front_and_the_usage_of_both(kind):
    own = completed(done_item("hi")).fields["response"]
    end = new().of([Draft(kind, {"response": own})])[-1].fields["response"]
    assert end["output"] == [SUMMARY, done_item("hi")]
    usage = end["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (13, 22, 35)
    assert usage["input_tokens_details"] == {"cached_tokens": 4, "cache_write_tokens": 0}


def test_an_end_without_usage_has_that_of_the_preface():
    end = new().of([Draft(COMPLETED, {"response": {}})])[-1].fields["response"]
    assert end["usage"] == USAGE


def test_an_end_without_items_is_left_to_the_events():
    *inserted, end = new().of([Draft(COMPLETED, {"response": {"output": []}})])
    assert [draft.fields["item"] for draft in inserted] == [SUMMARY, SUMMARY]
    assert end.fields["response"]["output"] == []


def test_a_response_that_fails_at_once_has_no_preface_but_its_usage():
    failed = {"error": {"code": "server_error"}, "output": [done_item("x")]}
    [*begun, end] = new().of([*opening(), Draft(FAILED, {"response": failed})])
    assert begun == opening()
    assert end.fields["response"]["output"] == [done_item("x")]
    assert end.fields["response"]["usage"] == USAGE


def test_a_response_that_fails_later_keeps_it():
    drafts = new().of([*message("a"), Draft(FAILED, {"response": {"output": [done_item("a")]}})])
    assert drafts[-1].fields["response"]["output"] == [SUMMARY, done_item("a")]


@pytest.mark.parametrize("fields", [{}, {"response": None}, {"response": "x"}])
def test_an_end_without_an_object_is_no_failure(fields):
    assert new().of([Draft(COMPLETED, fields)])[-1].fields["response"] == {"usage": USAGE}


def test_a_providers_own_text_is_written_again_where_its_index_changes():
    shifted, kept = (
        Draft(kind, fields, orjson.dumps({"type": kind, **fields}))
        for kind, fields in (
            ("response.output_text.delta", {"output_index": 0, "delta": "a"}),
            ("response.theirs", {"note": "a"}),
        )
    )
    *_, first, second = new().of([shifted, kept])
    assert (first.fields["output_index"], first.text) == (1, b"")
    assert second == kept


@pytest.mark.parametrize("index", ["0", None, True, 1.0])
def test_an_index_that_is_none_stays(index):
    draft = Draft("response.theirs", {"output_index": index})
    assert new().of([draft])[-1] == draft


def test_a_client_sees_one_well_made_response():
    sequencer = Sequencer(Envelope("resp_1", "m", 1), None, lambda: 2.0)
    events = sequencer.sequence(new().of(answer("Hel", "lo")))
    assert check_events([event.json() for event in events]) == []
    assert fold(events) == events[-1].json()["response"]
    assert [item["id"] for item in fold(events)["output"]] == ["cmp_1", "msg_1"]
