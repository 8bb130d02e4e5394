"""Events: numbered once, serialised once, the same bytes for everybody."""

import orjson
import pytest

from ws_bridge.protocol.events import (
    COMPLETED,
    FAILED,
    INCOMPLETE,
    LIFECYCLE,
    OPENING,
    SSE_DONE,
    SSE_KEEPALIVE,
    TERMINAL,
    Draft,
    Event,
)

DELTA = Draft("response.output_text.delta", {"item_id": "msg_1", "delta": "Grüße\n\r\u2028"})


def test_an_event_is_its_draft_with_a_type_and_a_number():
    event = Event.of(DELTA, 4, None)
    expected = {"type": DELTA.type, "sequence_number": 4, **DELTA.fields}
    assert orjson.loads(event.text) == expected
    assert (event.type, event.number) == (DELTA.type, 4)


def test_on_the_default_lane_the_stream_id_is_absent_and_never_null():
    assert "stream_id" not in Event.of(DELTA, 0, None).json()


def test_on_a_named_lane_every_event_carries_the_lane():
    assert Event.of(DELTA, 0, "main").json()["stream_id"] == "main"


def test_the_text_is_one_line_of_utf_8():
    text = Event.of(DELTA, 0, None).text
    assert b"\n" not in text
    assert b"\r" not in text
    assert "Grüße" in text.decode()


def test_a_parsed_event_is_the_callers_own():
    event = Event.of(DELTA, 0, None)
    event.json()["delta"] = "changed"
    assert event.json()["delta"] == DELTA.fields["delta"]


def test_a_server_sent_event_names_its_type_and_has_line_feeds_only():
    event = Event.of(DELTA, 0, None)
    head, data, *rest = event.sse().split(b"\n")
    assert head == b"event: response.output_text.delta"
    assert data == b"data: " + event.text
    assert rest == [b"", b""]
    assert b"\r" not in event.sse()


def test_the_constants_of_server_sent_events_are_those_of_the_contract():
    assert SSE_DONE == b"data: [DONE]\n\n"
    assert SSE_KEEPALIVE == b": keep-alive\n\n"


@pytest.mark.parametrize("kind", sorted(LIFECYCLE))
def test_completed_incomplete_and_failed_are_terminal_and_no_other(kind):
    is_terminal = Event.of(Draft(kind, {"response": {}}), 0, None).is_terminal
    assert is_terminal is (kind in {COMPLETED, INCOMPLETE, FAILED})


def test_no_event_opens_and_ends_a_response():
    assert not OPENING & TERMINAL
