"""A short round of random faults on real servers: what everybody saw is one truth."""

import asyncio

import orjson
import pytest
from faults.nemesis import STORE, Fault
from faults.rounds import field_of, play, table
from faults.trace import Heard, Trace
from faults.verdict import Finals, Surroundings, judge

SEED = 4
RESPONSES = 24


@pytest.mark.timeout(120)
async def test_a_round_of_faults_leaves_one_truth():
    async with field_of() as on:
        result = await play(on, SEED, RESPONSES)
    assert result.violations == [], table([result])
    assert result.counts["responses"] == RESPONSES
