"""What a chain can go on from."""

import pytest

from ws_bridge.protocol.history import Turn
from ws_bridge.protocol.turns import Turns


def turn(number: int) -> Turn:
    return Turn(f"resp_{number}", (), (), "m")


def test_a_turn_is_at_home_on_its_lane_only():
    turns = Turns(10)
    turns.keep("a", turn(1))
    assert turns.get("resp_1") == turn(1)
    assert "resp_1" in turns
    assert turns.is_home("resp_1", "a")
    assert not turns.is_home("resp_1", None)
    assert not turns.is_home("resp_1", "b")
    turns.drop("resp_1")
    assert "resp_1" not in turns
    assert not turns.is_home("resp_1", "a")


@pytest.mark.parametrize("odd", [None, 1, [], {}, "", "resp_2"])
def test_nothing_else_is_known(odd):
    turns = Turns(10)
    turns.keep(None, turn(1))
    assert turns.get(odd) is None
    assert not turns.is_home(odd, None)
    turns.drop("resp_2")
    assert turns.get("resp_1") == turn(1)


def test_the_oldest_is_too_many_unless_it_is_a_lanes_latest_or_needed():
    turns = Turns(3)
    for number, lane in enumerate(("a", "b", "b", "b"), start=1):
        assert turns.surplus([]) == ""
        turns.keep(lane, turn(number))
    assert turns.surplus([]) == "resp_2"
    assert turns.surplus(["resp_2"]) == "resp_3"
    assert turns.surplus(["resp_2", "resp_3"]) == ""
    turns.drop("resp_2")
    assert turns.surplus([]) == ""
