"""Servers and workers can be restarted, one after the other, under chains that go on."""

import json

import pytest
from rolling.chains import Turn
from rolling.rounds import three_servers, two_workers

CHAINS = 12


@pytest.mark.catalogue("W13")
async def test_a_rolling_restart_of_three_servers_breaks_no_chain():
    """Every turn completes; what each client saw has every event once, and is what is stored."""
    figures, faults = await three_servers(CHAINS)
    assert faults == []
    assert figures["ends"].keys() == {"completed"}
    assert figures["reconnects"] > 0


@pytest.mark.catalogue("W13", "W16")
async def test_workers_are_renewed_unnoticed_and_a_killed_one_harms_only_its_own():
    """A killed worker's running turns end as failed; each chain goes on from its last whole one."""
    figures, faults = await two_workers(CHAINS, renewed=(2,), lease_seconds=3)
    assert faults == []
    assert figures["ends"].keys() <= {"completed", "failed"}
    assert figures["ends"].get("failed", 0) <= figures["sockets of the killed worker"]


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
