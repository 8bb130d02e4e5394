"""A client of a rolling restart sees what is not whole."""

import json

import pytest
from rolling.chains import Turn

DELTA, END = "response.output_text.delta", "response.completed"


@pytest.mark.parametrize(
    ("events", "is_whole"),
    [
        ([(0, DELTA), (1, DELTA), (2, END)], True),
        ([(0, DELTA), (2, END)], False),
        ([(0, DELTA), (1, DELTA), (1, DELTA), (2, END)], False),
        ([(0, DELTA), (1, END), (2, END)], False),
        ([(1, DELTA), (2, END)], False),
    ],
)
def test_a_gap_a_double_and_a_second_end_are_seen(events, is_whole):
    turn = Turn("hi", None)
    for number, kind in events:
        event = {"type": kind, "sequence_number": number, "response": {"id": "resp_1"}}
        turn.add(json.dumps(event).encode())
    assert turn.is_whole == is_whole
