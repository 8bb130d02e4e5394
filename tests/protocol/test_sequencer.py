"""What an upstream says → what every reader of the response sees."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response
from support.scripted_upstream import answer, completed, done_item, message, opening, tool_call

from ws_bridge.errors import BridgeError, RateLimited, ServerLost, ServerShutdown, UpstreamError
from ws_bridge.protocol.events import (
    COMPLETED,
    CREATED,
    FAILED,
    IN_PROGRESS,
    INCOMPLETE,
    LIFECYCLE,
    OPENING,
    QUEUED,
    TERMINAL,
    Draft,
    Event,
)
from ws_bridge.protocol.reducer import fold
from ws_bridge.protocol.response import Envelope
from ws_bridge.protocol.sequencer import Sequencer, end_after_loss

Json = dict[str, Any]

NOW = 1_795_200_007.9
ENVELOPE = Envelope("resp_ours", "m", 1_795_200_000, {"user": "u"}, previous_response_id="resp_0")
GOLDEN = Path(__file__).parents[1] / "golden"


def new(lane: str | None = None, now: float = NOW) -> Sequencer:
    return Sequencer(ENVELOPE, lane, lambda: now)


def run(*drafts: Draft, sequencer: Sequencer | None = None) -> list[Event]:
    sequencer = sequencer or new()
    return sequencer.sequence(drafts)


def kinds(events: list[Event]) -> list[str]:
    return [event.type.removeprefix("response.") for event in events]


def statuses(events: list[Event]) -> list[str]:
    return [event.json()["response"]["status"] for event in events if event.type in LIFECYCLE]


def check(events: list[Event]) -> None:
    """What holds for every response: numbers, order, ids, complete objects."""
    assert [event.number for event in events] == list(range(len(events)))
    assert events[0].type == CREATED
    assert [event.is_terminal for event in events[:-1]] == [False] * (len(events) - 1)
    for event in events:
        fields = event.json()
        assert fields["sequence_number"] == event.number
        if event.type in LIFECYCLE:
            check_response(fields["response"])


def check_response(response: Json) -> None:
    assert response["id"] == "resp_ours"
    assert response["previous_response_id"] == "resp_0"
    reason = (response["incomplete_details"] or {}).get("reason")
    if reason == "interrupted":  # codex's own reason, outside of the SDK's enum
        response = response | {"incomplete_details": None}
    Response.model_validate_json(orjson.dumps(response), strict=True)


# The order


@pytest.mark.parametrize("script", [answer("Hel", "lo"), tool_call()])
def test_a_whole_response_is_told_as_it_came_with_the_bridges_numbers_and_id(script):
    events = run(*script)
    assert [event.type for event in events] == [draft.type for draft in script]
    check(events)
    assert events[-1].is_terminal
    assert fold(events) == events[-1].json()["response"]


def test_an_upstream_that_says_no_opening_is_opened():
    events = run(*message("hi"), completed(done_item("hi")))
    assert kinds(events)[:3] == ["created", "in_progress", "output_item.added"]
    check(events)


def test_an_upstream_that_says_only_its_end_is_opened():
    events = run(completed())
    assert kinds(events) == ["created", "in_progress", "completed"]
    check(events)


def test_in_progress_without_created_is_preceded_by_it():
    assert kinds(run(opening()[1])) == ["created", "in_progress"]


def test_openings_are_said_once_however_often_they_come():
    created, progress = opening()
    events = run(created, created, progress, created, progress, Draft(QUEUED, {"response": {}}))
    assert kinds(events) == ["created", "in_progress"]


def test_what_was_opened_early_is_not_opened_again():
    sequencer = new()
    events = sequencer.open() + run(*answer("hi"), sequencer=sequencer)
    assert kinds(events).count("created") == kinds(events).count("in_progress") == 1
    assert sequencer.open() == []
    check(events)


def test_a_queued_response_is_queued_first_and_its_status_only_goes_forward():
    sequencer = new()
    events = sequencer.open(queued=True) + run(*answer("hi"), sequencer=sequencer)
    assert kinds(events)[:3] == ["created", "queued", "in_progress"]
    assert statuses(events) == ["queued", "queued", "in_progress", "completed"]
    check(events)


def test_a_queued_response_of_the_provider_is_told_as_such():
    queued = {"response": {"status": "queued"}}
    events = run(Draft(CREATED, queued), Draft(QUEUED, queued), *answer("hi"))
    assert statuses(events) == ["queued", "queued", "in_progress", "completed"]
    check(events)


def test_a_response_that_is_in_progress_is_never_queued_again():
    (created, _), queued = opening(), {"response": {"status": "queued"}}
    events = run(created, Draft(QUEUED, queued), *answer("hi"))
    assert kinds(events)[:3] == ["created", "in_progress", "output_item.added"]
    assert statuses(events) == ["in_progress", "in_progress", "completed"]


@pytest.mark.parametrize("late", [*opening(), *message("x"), completed(), Draft(FAILED, {})])
def test_nothing_comes_after_the_end(late):
    sequencer = new()
    run(*answer("hi"), sequencer=sequencer)
    result = sequencer.result
    assert sequencer.sequence([late]) == []
    assert sequencer.fail(ServerShutdown(), []) == []
    assert sequencer.cancel() == []
    assert sequencer.interrupt([]) == []
    assert sequencer.keepalive({}) == []
    assert sequencer.result is result


def test_what_a_batch_has_after_its_end_is_ignored():
    events = run(*answer("hi"), *message("late"), completed(done_item("late")))
    assert [event.type for event in events] == [draft.type for draft in answer("hi")]
    check(events)


def test_how_drafts_are_batched_makes_no_difference():
    script = answer("a", "b", "c")
    one_by_one = new()
    assert run(*script) == [event for draft in script for event in one_by_one.sequence([draft])]


UNWRITABLE = Draft("response.output_text.delta", {"delta": object()})


@pytest.mark.parametrize("begun", [0, 2, 5])
def test_a_draft_that_cannot_be_written_ends_its_batch_and_takes_no_number(begun):
    sequencer = new()
    assert sequencer.failure is None
    drafts = [*opening(), *message("a", "b")]
    events = run(*drafts[:begun], UNWRITABLE, *drafts[begun:], sequencer=sequencer)
    assert len(events) == max(begun, 2)  # it is opened in any case
    assert isinstance(sequencer.failure, UpstreamError)
    check(events + sequencer.fail(sequencer.failure, []))


def test_every_event_of_a_named_lane_carries_it_and_none_of_the_default_lane():
    named = run(*answer("hi"), sequencer=new("main"))
    assert {event.json()["stream_id"] for event in named} == {"main"}
    assert all("stream_id" not in event.json() for event in run(*answer("hi")))


# The object


def test_openings_are_empty_whatever_the_provider_says():
    said = {"output": [{"id": "x"}], "usage": {"input_tokens": 5}, "completed_at": 3}
    for event in run(Draft(CREATED, {"response": said}), Draft(IN_PROGRESS, {"response": said})):
        response = event.json()["response"]
        assert (response["output"], response["usage"], response["completed_at"]) == ([], None, None)


def test_the_providers_model_is_told_once_it_is_known():
    assert run(*opening("gpt-x"))[-1].json()["response"]["model"] == "gpt-x"
    assert new().open()[0].json()["response"]["model"] == "m"


def test_a_completed_response_knows_when_in_whole_seconds_and_never_before_it_began():
    response = run(completed())[-1].json()["response"]
    assert response["completed_at"] == 1_795_200_007
    early = run(completed(), sequencer=new(now=5.0))[-1].json()["response"]
    assert early["completed_at"] == ENVELOPE.created_at


def test_usage_has_every_count_of_a_strict_client():
    usage = run(completed())[-1].json()["response"]["usage"]
    assert usage["input_tokens_details"] == {"cached_tokens": 0, "cache_write_tokens": 0}
    assert usage["output_tokens_details"] == {"reasoning_tokens": 0}
    assert usage["total_tokens"] == 5


def test_an_incomplete_response_keeps_its_reason():
    details = {"reason": "max_output_tokens"}
    said = {"response": {"incomplete_details": details, "output": [done_item("hal")]}}
    events = run(Draft(INCOMPLETE, said))
    response = events[-1].json()["response"]
    assert (response["status"], response["incomplete_details"]) == ("incomplete", details)
    assert response["completed_at"] is None
    check(events)


def test_a_failed_response_of_the_provider_has_a_code_of_the_closed_set():
    error = {"code": "engine_overloaded", "message": "Too busy.", "type": "x"}
    events = run(Draft(FAILED, {"response": {"error": error}}))
    expected = {"code": "server_error", "message": "Too busy."}
    assert events[-1].json()["response"]["error"] == expected
    check(events)


@pytest.mark.parametrize("fields", [{}, {"response": None}, {"response": "x"}, {"response": []}])
@pytest.mark.parametrize("kind", sorted(LIFECYCLE))
def test_a_lifecycle_event_without_an_object_is_no_failure(kind, fields):
    check(run(Draft(kind, fields)))


# Ends that the upstream did not speak


@pytest.mark.parametrize("opened", [[], opening(), [*opening(), *message("partial")]])
def test_every_end_opens_what_was_not_open_and_is_the_last(opened):
    ends = {
        "failed": lambda sequencer: sequencer.fail(UpstreamError(), [done_item("partial")]),
        "cancelled": lambda sequencer: sequencer.cancel(),
        "incomplete": lambda sequencer: sequencer.interrupt([done_item("whole")]),
    }
    for status, end in ends.items():
        sequencer = new()
        events = run(*opened, sequencer=sequencer) + end(sequencer)
        assert events[-1].is_terminal
        assert sequencer.is_ended
        assert sequencer.result == events[-1].json()["response"]
        assert sequencer.result["status"] == status
        check(events)


def test_a_failure_says_its_error_and_keeps_what_was_there():
    response = new().fail(RateLimited("Slow down."), [done_item("partial")])[-1].json()["response"]
    assert response["error"] == {"code": "rate_limit_exceeded", "message": "Slow down."}
    assert response["output"] == [done_item("partial")]
    assert (response["usage"], response["completed_at"]) == (None, None)


def test_a_cancel_is_a_failed_event_around_a_cancelled_object():
    (*_, event) = new().cancel()
    response = event.json()["response"]
    assert event.type == FAILED
    assert (response["status"], response["output"]) == ("cancelled", [])
    assert (response["error"], response["incomplete_details"]) == (None, None)


def test_an_interrupt_is_incomplete_with_what_was_finished():
    (*_, event) = new().interrupt([done_item("whole")])
    response = event.json()["response"]
    assert event.type == INCOMPLETE
    assert response["incomplete_details"] == {"reason": "interrupted"}
    assert response["output"] == [done_item("whole")]
    assert response["end_turn"] is False


def test_what_an_error_is_not_meant_to_say_is_not_said():
    error = BridgeError()
    error.__cause__ = ValueError("secret")
    assert b"secret" not in new().fail(error, [])[-1].text


# Keepalive


def test_a_keepalive_repeats_in_progress_with_the_snapshot_and_the_next_number():
    sequencer = new("main")
    events = run(*opening(), *message("hi")[:3], sequencer=sequencer)
    events += sequencer.keepalive(fold(events))
    repeated = events[-1].json()
    assert repeated["type"] == IN_PROGRESS
    assert repeated["sequence_number"] == len(events) - 1
    assert repeated["stream_id"] == "main"
    assert repeated["response"]["output"][0]["content"][0]["text"] == "hi"
    assert fold(events) == repeated["response"]
    check(events)


def test_before_in_progress_there_is_no_keepalive():
    sequencer = new()
    assert sequencer.keepalive({}) == []
    sequencer.open(queued=True)
    assert sequencer.keepalive({}) == []


# Transcripts, and anything


@pytest.mark.parametrize("name", ["text", "tool", "failed", "incomplete", "warmup"])
def test_a_transcript_taken_as_an_upstream_stays_the_same_but_for_the_bridges_own(name):
    lines = (GOLDEN / f"{name}.jsonl").read_text().splitlines()
    before = [orjson.loads(line) for line in lines]
    drafts = []
    for fields in before:
        own = ("type", "sequence_number")
        rest = {key: value for key, value in fields.items() if key not in own}
        drafts.append(Draft(fields["type"], rest))
    options = {"tools": before[0]["response"]["tools"]}
    envelope = Envelope("resp_ours", "m", 1_795_200_000, options, previous_response_id="resp_0")
    events = run(*drafts, sequencer=Sequencer(envelope, None, lambda: NOW))
    check(events)
    ours = ("id", "user", "previous_response_id", "store", "completed_at")
    for event, expected in zip(events, before, strict=True):
        fields = event.json()
        for key in ours if event.type in LIFECYCLE else ():
            fields["response"].pop(key)
            expected["response"].pop(key)
        assert fields == expected


@pytest.mark.parametrize("left", [0, 1, 3, 5])
def test_the_end_of_a_log_that_lost_numbers_declares_them(left):
    events = run(*answer("Hel", "lo"), sequencer=new("main"))[:left]
    snapshot, last = end_after_loss("resp_ours", events, 7, ServerLost())
    assert (snapshot.number, last.number) == (8, 9)
    assert snapshot.json()["gap"] == {"after": left - 1, "until": 8}
    assert (snapshot.type, last.type) == (IN_PROGRESS, FAILED)
    assert snapshot.json().get("stream_id") == ("main" if left else None)
    final = fold([*events, snapshot, last])
    assert final == last.json()["response"]
    assert (final["id"], final["status"]) == ("resp_ours", "failed")


def test_a_log_without_numbers_that_somebody_wished_to_end_is_cancelled():
    _, last = end_after_loss("resp_ours", [], -1, None)
    assert last.json()["response"]["status"] == "cancelled"


STEPS = st.lists(
    st.sampled_from([*opening(), Draft(QUEUED, {"response": {"status": "queued"}})])
    | st.sampled_from(message("a", "b"))
    | st.sampled_from([completed(), Draft(INCOMPLETE, {"response": {}}), Draft(FAILED, {})])
    | st.sampled_from(["open", "queue", "keepalive", "cancel", "interrupt", "fail"]),
    max_size=10,
)


@pytest.mark.catalogue("U9")
@settings(deadline=None)
@given(STEPS)
def test_whatever_comes_in_whatever_order_a_response_stays_one(steps):
    """Numbers without a gap, `created` first, each opening once, one end, nothing after it."""
    sequencer = new()
    events: list[Event] = []
    for step in steps:
        events += _step(sequencer, step, events)
    events += sequencer.cancel()
    check(events)
    assert sum(event.type in TERMINAL for event in events) == 1
    said = [event.type for event in events if event.type in OPENING]
    assert said.count(CREATED) == 1
    assert said.count(QUEUED) <= 1
    order = ["queued", "in_progress", "terminal"]
    ranks = [order.index(s if s in order else "terminal") for s in statuses(events)]
    assert ranks == sorted(ranks)
    assert fold(events) == events[-1].json()["response"] == sequencer.result
    assert events[-1].type in (COMPLETED, INCOMPLETE, FAILED)


def _step(sequencer: Sequencer, step: Draft | str, events: list[Event]) -> list[Event]:
    if isinstance(step, Draft):
        return sequencer.sequence([step])
    return {
        "open": sequencer.open,
        "queue": lambda: sequencer.open(queued=True),
        "keepalive": lambda: sequencer.keepalive(fold(events)),
        "cancel": sequencer.cancel,
        "interrupt": lambda: sequencer.interrupt([]),
        "fail": lambda: sequencer.fail(UpstreamError(), []),
    }[step]()
