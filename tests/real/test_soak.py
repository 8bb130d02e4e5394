"""A tide of clients comes and goes on real servers, and leaves nothing."""

from soak.judge import BLOCKS, IN_USE, TASKS
from soak.tides import AT_REST, Seen, field_of, sample, soak
from soak.visits import KINDS

SERVER = "server 0"


async def test_a_tide_comes_and_goes_and_leaves_nothing():
    """One of each kind of client, on real servers; nothing runs then, and nothing is kept."""
    seen = Seen()
    async with field_of(1, ttl_seconds=3) as on:
        before = await sample(on, is_ebb=True)
        await soak(on, seen, seed=1, seconds=0, visits=len(KINDS))
    assert seen.problems == []
    assert sum(seen.counts[kind.__name__] for kind in KINDS) == len(KINDS)
    (ebb,) = [one for one in seen.samples if one.is_ebb]
    assert ebb.values["connections", SERVER] == 0
    assert ebb.values[BLOCKS, SERVER] > 0 < ebb.values[IN_USE, SERVER]
    assert ebb.values[TASKS, SERVER] <= before.values[TASKS, SERVER] + len(AT_REST)
