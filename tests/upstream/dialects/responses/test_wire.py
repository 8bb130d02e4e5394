"""A provider's event as text: its fields, and its bytes where they can be passed on."""

import pytest

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import Draft
from ws_bridge.upstream.dialects.responses.wire import draft_of


def test_an_event_keeps_its_text_and_loses_its_numbers():
    text = b'{"type":"response.x","sequence_number":3,"stream_id":"l","a":1}'
    assert draft_of(text) == Draft("response.x", {"a": 1}, text)


@pytest.mark.parametrize(
    "text",
    [
        b'{"type":"response.x","sequence_number":3,"sequence_number":4,"a":1}',
        b'{"type":"response.x","\\u0073tream_id":"l","a":1}',
    ],
)
def test_a_key_of_ours_that_stands_there_otherwise_cannot_be_passed_on(text):
    assert draft_of(text) == Draft("response.x", {"a": 1})


def test_half_of_a_character_cannot_be_passed_on():
    text = b'{"type":"response.x","sequence_number":1,"delta":"\\ud83d"}'
    assert draft_of(text) == Draft("response.x", {"delta": "\ud83d"})


def test_an_event_may_be_named_outside_of_its_text():
    assert draft_of(b'{"a":1}', "response.x") == Draft("response.x", {"a": 1})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "The model provider sent an event that is not JSON."),
        (b"[]", "The model provider sent an event that is not JSON."),
        (b'"x"', "The model provider sent an event that is not JSON."),
        (b"\xff", "The model provider sent an event that is not JSON."),
        (b"{}", "The model provider sent an event without a type."),
        (b'{"type":7}', "The model provider sent an event without a type."),
        (b'{"error":{"message":"gone"}}', "gone"),
        (b'{"error":"gone \\ud83d"}', "gone ?"),
    ],
)
def test_what_is_no_event_is_an_error(text, message):
    with pytest.raises(UpstreamError) as failed:
        draft_of(text)
    assert failed.value.message == message
