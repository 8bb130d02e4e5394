"""What a chain can go on from."""

import random

import pytest

from ws_bridge.protocol.history import Turn
from ws_bridge.protocol.json_limits import weigh
from ws_bridge.protocol.turn_cache import ConnectionTurns, TurnCache


def turn(number: int) -> Turn:
    return Turn(f"resp_{number}", (), (), "m")


def test_a_turn_is_at_home_on_its_lane_only():
    turns = ConnectionTurns(10)
    turns.keep("a", turn(1))
    assert turns.get("resp_1") == turn(1)
    assert "resp_1" in turns
    assert turns.is_on_lane("resp_1", "a")
    assert not turns.is_on_lane("resp_1", None)
    assert not turns.is_on_lane("resp_1", "b")
    turns.drop("resp_1")
    assert "resp_1" not in turns
    assert not turns.is_on_lane("resp_1", "a")


@pytest.mark.parametrize("odd", [None, 1, [], {}, "", "resp_2"])
def test_nothing_else_is_known(odd):
    turns = ConnectionTurns(10)
    turns.keep(None, turn(1))
    assert turns.get(odd) is None
    assert not turns.is_on_lane(odd, None)
    turns.drop("resp_2")
    assert turns.get("resp_1") == turn(1)


def test_the_oldest_is_too_many_unless_it_is_a_lanes_latest_or_needed():
    turns = ConnectionTurns(3)
    for number, lane in enumerate(("a", "b", "b", "b"), start=1):
        assert turns.surplus([]) == ""
        turns.keep(lane, turn(number))
    assert turns.surplus([]) == "resp_2"
    assert turns.surplus(["resp_2"]) == "resp_3"
    assert turns.surplus(["resp_2", "resp_3"]) == ""
    turns.drop("resp_2")
    assert turns.surplus([]) == ""


# In bytes


def heavy(number: int, size: int = 1000, parent: Turn | None = None) -> Turn:
    """A turn of so many bytes."""
    said = {"type": "message", "content": ""}
    said["content"] = "x" * (size - weigh([said]))
    made = Turn(f"resp_{number}", (said,), (), "m", parent)
    assert size_of(made) == size
    return made


def size_of(one: Turn) -> int:
    assert one.weighed().weight() == one.weight() == weigh(one.input) + weigh(one.output)
    return one.weight()


def known(turns: ConnectionTurns) -> list[int]:
    return [number for number in range(100) if f"resp_{number}" in turns]


@pytest.mark.catalogue("A7")
def test_a_connection_keeps_so_many_bytes_and_the_oldest_leaf_goes_first():
    cache = TurnCache(3000)
    turns = ConnectionTurns(100, cache)
    for number in range(10):
        turns.keep(f"lane {number % 2}", heavy(number))
        assert turns.size == cache.size <= 3000
    assert known(turns) == [7, 8, 9]
    assert turns.pop_evicted() == [f"resp_{number}" for number in range(7)]
    assert turns.pop_evicted() == []


@pytest.mark.catalogue("A7")
def test_a_turn_counts_with_all_that_it_goes_on_from_and_what_is_shared_counts_once():
    cache = TurnCache(100_000)
    turns = ConnectionTurns(100, cache)
    root = heavy(0)
    fork, other = heavy(1, parent=root), heavy(2, parent=root)
    turns.keep("a", fork)
    assert turns.size == 2000
    turns.keep("b", other)
    assert turns.size == 3000
    turns.keep("a", root)
    assert turns.size == 3000
    turns.drop("resp_1")
    assert turns.size == 2000
    turns.drop("resp_0")
    assert turns.size == 2000  # the other one goes on from it
    turns.drop("resp_2")
    assert turns.size == cache.size == 0


@pytest.mark.catalogue("A7")
def test_what_would_make_no_room_does_not_go():
    """Of a chain the newest turn holds all the others: without it they are small."""
    turns = ConnectionTurns(100, TurnCache(3500))
    turns.keep("other", heavy(50))
    last = None
    for number in range(3):
        last = heavy(number, parent=last)
        turns.keep("chain", last)
    assert known(turns) == [0, 1, 2]  # the other's lane had to give way
    turns.keep("chain", heavy(3, parent=last))
    assert known(turns) == [0, 1, 2]


@pytest.mark.catalogue("A7")
def test_one_that_is_too_large_alone_is_not_kept():
    turns = ConnectionTurns(100, TurnCache(3000))
    turns.keep("a", heavy(1))
    turns.keep("a", heavy(2, 5000))
    assert known(turns) == []
    assert turns.size == 0


@pytest.mark.catalogue("A7")
def test_of_an_owners_connections_the_largest_gives_way():
    cache = TurnCache(10_000, 6000, 100_000)
    large, small, stranger = (ConnectionTurns(100, cache, owner) for owner in ("a", "a", "b"))
    for number in range(5):
        large.keep(None, heavy(number))
        stranger.keep(None, heavy(number))
    for number in range(5, 8):
        small.keep(None, heavy(number))
    assert (known(large), known(small)) == ([2, 3, 4], [5, 6, 7])
    assert (cache.owner_bytes("a"), cache.owner_bytes("b")) == (6000, 5000)
    assert cache.size == 11_000


@pytest.mark.catalogue("A7")
def test_of_all_connections_the_largest_gives_way_whoever_keeps_more():
    cache = TurnCache(10_000, 8000, 9000)
    attacker, other = ConnectionTurns(100, cache, "a"), ConnectionTurns(100, cache, "b")
    for number in range(10):
        attacker.keep(None, heavy(number))
    for number in range(10, 13):
        other.keep(None, heavy(number))
    assert (len(known(attacker)), known(other)) == (6, [10, 11, 12])
    assert cache.size == 9000
    other.close()
    attacker.close()
    assert (cache.size, cache.owner_bytes("a"), attacker.size, cache._holders) == (0, 0, 0, {})


def test_without_an_owner_only_the_connection_and_the_sum_bound():
    cache = TurnCache(5000, 1000, 8000)
    ones = [ConnectionTurns(100, cache) for _ in range(3)]
    for turns in ones:
        for number in range(9):
            turns.keep(None, heavy(number))
    assert cache.size == 8000
    assert max(turns.size for turns in ones) <= 5000


def test_random_turns_are_counted_as_what_can_be_reached():
    """Whatever is kept, dropped and shared: the bytes are those of all that can be reached."""
    dice = random.Random(7)  # noqa: S311 - a seed, so that it can be told again
    cache = TurnCache(20_000, 30_000, 45_000)
    holders = [ConnectionTurns(50, cache, owner) for owner in "aab"]
    made: list[Turn] = []
    for number in range(600):
        parent = dice.choice(made[-20:]) if made and dice.random() < 0.6 else None
        made.append(heavy(number, dice.randint(500, 4000), parent))
        turns = dice.choice(holders)
        turns.keep(dice.choice("xyz"), made[-1])
        if dice.random() < 0.2:
            turns.drop(f"resp_{dice.randrange(number + 1)}")
        for each in holders:
            reached = {id(one): one for _, kept in each._kept.values() for one in kept.lineage()}
            assert each.size == sum(map(size_of, reached.values())) <= 20_000
        assert cache.size == sum(each.size for each in holders) <= 45_000
        assert cache.owner_bytes("a") <= 30_000
