"""The scripts keep their promises under crashes, zombies and doubled writes; mutants do not."""

import re
from collections import Counter

import pytest
from store.fences import GUARDS, LUA, SCRIPTS, check
from support.redis_servers import Node, valkey_binary

SEEDS = range(1, 21)
JOBS = 20  # of each seed
AT_ONCE, MOST_SEEDS = 10, 200  # of a mutant's


@pytest.fixture(scope="module")
def url():
    with Node(valkey_binary()) as node:
        yield node.url


async def test_no_seed_sees_a_promise_broken(url):
    models = await check(url, SEEDS, JOBS)
    assert [violation for model in models for violation in model.violations] == []
    seen = sum((model.seen for model in models), Counter())
    wanted = "kills freezes takeovers refused absorbed overlaps gaps renewals releases deletions"
    assert set(wanted.split()) <= seen.keys(), seen
    assert {"completed", "failed", "cancelled"} <= seen.keys(), seen


@pytest.mark.parametrize("guard", GUARDS)
async def test_scripts_without_one_guard_are_caught(url, guard):
    """What a seed notices depends on who was fast: a mutant has many of them to survive."""
    for first in range(1, MOST_SEEDS, AT_ONCE):
        models = await check(url, range(first, first + AT_ONCE), JOBS, without=guard)
        if any(model.violations for model in models):
            return
    pytest.fail(f"{MOST_SEEDS} seeds did not notice that {guard} is missing")


def test_the_marks_in_the_scripts_are_the_guards():
    texts = [(LUA / f"{name}.lua").read_text(encoding="utf-8") for name in SCRIPTS]
    marks = Counter(
        mark for text in texts for mark in re.findall(r"-- guard: (\w+)$", text, re.MULTILINE)
    )
    assert marks == dict.fromkeys(GUARDS, 1) | {"fence": 2}
