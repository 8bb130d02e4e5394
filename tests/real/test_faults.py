"""Rounds of random faults on real servers leave one truth."""

from faults.rounds import field_of, play, table

SEED = 4
RESPONSES = 24


async def test_a_round_of_faults_leaves_one_truth():
    async with field_of() as on:
        result = await play(on, SEED, RESPONSES)
    assert result.violations == [], table([result])
    assert result.counts["responses"] == RESPONSES
    assert result.counts["completed"] > 0
