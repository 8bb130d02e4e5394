"""A provider that speaks this very protocol: its own text goes on, with the bridge's ids in it."""

from typing import Any

import orjson
import pytest

from ws_bridge.protocol.events import (
    COMPLETED,
    CREATED,
    FAILED,
    IN_PROGRESS,
    INCOMPLETE,
    QUEUED,
    Draft,
    Event,
)
from ws_bridge.protocol.response import Envelope
from ws_bridge.protocol.sequencer import Sequencer

Json = dict[str, Any]

ENVELOPE = Envelope("resp_ours", "m", 7, previous_response_id="resp_parent")
STATUS = {CREATED: "in_progress", QUEUED: "queued", IN_PROGRESS: "in_progress"} | {
    COMPLETED: "completed",
    INCOMPLETE: "incomplete",
    FAILED: "failed",
}
DELTA = "response.output_text.delta"


def draft(kind: str, **response: Any) -> Draft:
    """As a provider sends it, with a key that only it knows."""
    fields: Json = {}
    if kind in STATUS:
        base = {"id": "resp_theirs", "status": STATUS[kind], "output": [], "theirs": kind}
        fields["response"] = base | {"previous_response_id": None} | response
    return Draft(kind, fields, orjson.dumps({"type": kind, "sequence_number": 40, **fields}))


def run(*drafts: Draft, sequencer: Sequencer | None = None) -> list[Event]:
    sequencer = sequencer or Sequencer(ENVELOPE, None, lambda: 9.0)
    events = sequencer.sequence(drafts)
    assert [event.json()["sequence_number"] for event in events] == [e.number for e in events]
    for event in events:
        if event.type in STATUS:
            assert event.json()["response"]["id"] == "resp_ours"
            assert event.json()["response"]["previous_response_id"] == "resp_parent"
    return events


def kinds(events: list[Event]) -> list[str]:
    return [event.type for event in events]


def is_theirs(event: Event) -> bool:
    return event.json()["response"].get("theirs") == event.type


def test_a_whole_response_is_theirs_but_for_ids_and_numbers():
    said = [draft(CREATED), draft(IN_PROGRESS), draft(DELTA), draft(COMPLETED)]
    events = run(*said)
    for event, original in zip(events, said, strict=True):
        text = original.text.replace(b"resp_theirs", b"resp_ours")
        text = text.replace(b'"previous_response_id":null', b'"previous_response_id":"resp_parent"')
        text = text.replace(b'"sequence_number":40', b'"sequence_number":%d' % event.number)
        assert event.text == text


def test_the_result_is_what_was_told():
    sequencer = Sequencer(ENVELOPE, None, lambda: 9.0)
    *_, last = run(draft(CREATED), draft(IN_PROGRESS), draft(INCOMPLETE), sequencer=sequencer)
    assert sequencer.result == last.json()["response"]
    assert sequencer.is_ended
    assert run(draft(DELTA), draft(COMPLETED), sequencer=sequencer) == []


@pytest.mark.parametrize("kind", [COMPLETED, INCOMPLETE, FAILED])
def test_an_opening_that_was_left_out_is_said(kind):
    assert kinds(run(draft(kind))) == [CREATED, IN_PROGRESS, kind]
    assert kinds(run(draft(CREATED), draft(kind))) == [CREATED, IN_PROGRESS, kind]
    assert kinds(run(draft(IN_PROGRESS), draft(kind))) == [CREATED, IN_PROGRESS, kind]
    assert kinds(run(draft(DELTA), draft(kind))) == [CREATED, IN_PROGRESS, DELTA, kind]


def test_what_was_said_is_not_said_again():
    sequencer = Sequencer(ENVELOPE, None, lambda: 9.0)
    sequencer.open()
    assert run(draft(CREATED), draft(IN_PROGRESS), sequencer=sequencer) == []
    twice = [draft(CREATED), draft(CREATED), draft(IN_PROGRESS), draft(IN_PROGRESS)]
    assert kinds(run(*twice)) == [CREATED, IN_PROGRESS]


def test_a_queued_response_is_queued_before_it_is_in_progress_only():
    waits = [draft(CREATED, status="queued"), draft(QUEUED), draft(IN_PROGRESS)]
    assert kinds(run(*waits)) == [CREATED, QUEUED, IN_PROGRESS]
    assert kinds(run(draft(QUEUED), draft(IN_PROGRESS))) == [CREATED, QUEUED, IN_PROGRESS]
    assert kinds(run(draft(CREATED), draft(QUEUED), draft(COMPLETED))) == [
        CREATED,
        IN_PROGRESS,
        COMPLETED,
    ]


@pytest.mark.parametrize(
    "broken", [{"status": "weird"}, {"status": None}, {"output": None}, {"id": 5}, {"id": None}]
)
@pytest.mark.parametrize("kind", [CREATED, COMPLETED, FAILED])
def test_what_lacks_what_readers_rely_on_is_completed_instead(kind, broken):
    *_, last = run(draft(kind, **broken))
    response = last.json()["response"]
    assert (response["status"], response["output"]) == (STATUS[kind], [])
    assert response["id"] == "resp_ours"


def test_no_response_at_all_is_completed_too():
    text = b'{"type":"response.completed"}'
    *_, last = run(Draft(COMPLETED, {}, text), sequencer=Sequencer(ENVELOPE, "lane", lambda: 9.0))
    assert last.json()["response"]["status"] == "completed"


def test_lanes_are_named_and_unnamed():
    theirs = Draft(DELTA, {}, b'{"type":"%b","stream_id":"x","delta":"a"}' % DELTA.encode())
    assert b"stream_id" not in Event.of(theirs, 1, None).text
    assert Event.of(theirs, 1, "mine").json()["stream_id"] == "mine"


def test_a_text_of_many_lines_becomes_one_line():
    text = b'{\r\n "type": "x",\n "delta": "a\\nb"\n}'
    event = Event.of(Draft("x", {}, text), 3, None)
    assert event.text == b'{"sequence_number":3, "type": "x", "delta": "a\\nb"}'
