"""A provider that speaks this very protocol: its own text goes on, with the bridge's number."""

import orjson
import pytest

from ws_bridge.protocol.events import COMPLETED, CREATED, IN_PROGRESS, Draft, Event
from ws_bridge.protocol.response import Envelope
from ws_bridge.protocol.sequencer import Sequencer

DELTA = "response.output_text.delta"
SPELLINGS = [
    b'{"type":"%b","sequence_number":40,"delta":"a","theirs":1}',
    b'{"sequence_number": 40, "delta": "a", "theirs": 1, "type": "%b"}',
    b' { "type" : "%b" , "theirs" : {"sequence_number": 40} , "sequence_number" : 40 } ',
]


def sequenced(*drafts: Draft, lane: str | None = None) -> list[Event]:
    sequencer = Sequencer(Envelope("resp_ours", "m", 7), lane, lambda: 9.0)
    return sequencer.sequence([Draft(CREATED, {}), Draft(IN_PROGRESS, {}), *drafts])


@pytest.mark.parametrize("text", SPELLINGS)
def test_every_byte_is_the_providers_but_the_number(text: bytes) -> None:
    theirs = text % DELTA.encode()
    *_, event = sequenced(Draft(DELTA, {}, theirs))
    at = theirs.rindex(b"40")
    assert event.text == theirs[:at] + b"2" + theirs[at + 2 :]
    assert event.number == 2


def test_a_lane_is_named_in_their_text() -> None:
    *_, event = sequenced(Draft(DELTA, {}, SPELLINGS[0] % DELTA.encode()), lane="mine")
    assert event.json() == orjson.loads(SPELLINGS[0] % DELTA.encode()) | {
        "sequence_number": 2,
        "stream_id": "mine",
    }


def test_a_response_is_made_whole() -> None:
    response = {"id": "resp_theirs", "status": "completed", "output": [], "theirs": 1}
    *_, event = sequenced(Draft(COMPLETED, {"response": response}))
    told = event.json()["response"]
    assert (told["id"], told["theirs"], told["completed_at"]) == ("resp_ours", 1, 9)


def test_lanes_are_named_and_unnamed() -> None:
    theirs = Draft(DELTA, {}, b'{"type":"%b","stream_id":"x","delta":"a"}' % DELTA.encode())
    assert b"stream_id" not in Event.of(theirs, 1, None).text
    assert Event.of(theirs, 1, "mine").json()["stream_id"] == "mine"


def test_a_text_of_many_lines_becomes_one_line() -> None:
    text = b'{\r\n "type": "x",\n "delta": "a\\nb"\n}'
    event = Event.of(Draft("x", {}, text), 3, None)
    assert event.text == b'{"sequence_number":3, "type": "x", "delta": "a\\nb"}'
