"""Counters of limits in Redis: what is given in sum, for how long it counts, and what is kept.

The server's clock cannot be turned: what is counted is made older instead (`let_pass`).
"""

import asyncio
import logging
import secrets
from dataclasses import replace

import pytest
from store.opened import opened
from support.aged_counters import let_pass

from ws_bridge.errors import StoreUnavailable
from ws_bridge.store.base import HELD_SECONDS, UseReport
from ws_bridge.store.redis.counters import RedisCounters
from ws_bridge.store.redis.keys import counter_key

RATE, SLOTS = "creates_per_minute", "running"
WINDOW = 60.0


@pytest.fixture
async def store(valkey):
    async with opened(valkey.url) as one:
        yield one


@pytest.fixture
def key():
    return secrets.token_hex(8)


@pytest.fixture
def process(store):
    """A function that makes the counters of one more process."""
    return lambda: RedisCounters(store.scripts, secrets.token_hex(8))


def rate(key, most, **fields):
    return UseReport(RATE, key, most, WINDOW, **fields)


def slots(key, most, **fields):
    return UseReport(SLOTS, key, most, **fields)


async def count(process, report):
    [tally] = await process.count([report])
    return tally


def test_where_a_counter_is_kept_never_changes():
    """Servers of two releases share a limit."""
    expected = "wb1:{p68}:q:ff9b6d430701961132705249dfeb7cc0dc02d778dc05ccb9"
    assert counter_key(RATE, "team-a") == expected
    assert counter_key(SLOTS, "team-a") != expected


async def test_what_is_wanted_is_given_up_to_the_limit_and_not_beyond(process, key):
    one, other = process(), process()
    assert (await count(one, rate(key, 10, wanted=6))).held == 6
    tally = await count(other, rate(key, 10, wanted=6))
    assert (tally.held, tally.taken) == (4, 10)
    assert (await count(one, rate(key, 10, held=6, wanted=1))).held == 6


async def test_processes_that_ask_at_once_get_the_limit_in_sum(process, key):
    answers = await asyncio.gather(
        *(count(process(), rate(key, 100, wanted=1, spare=5)) for _ in range(20))
    )
    assert sum(tally.held for tally in answers) <= 100
    assert all(tally.held for tally in answers)


async def test_of_little_that_is_free_nothing_is_kept_aside(process, key):
    """The next of another process is not refused because this one has some for later."""
    one = process()
    assert (await count(one, rate(key, 100, used=[(0, 96)], batch=1))).taken == 96
    tally = await count(one, rate(key, 100, wanted=1, spare=5))
    assert (tally.held, tally.taken) == (1, 97)
    assert (await count(process(), rate(key, 100, wanted=1, spare=5))).held == 1


async def test_what_was_used_counts_for_the_window_from_when_it_was_used(process, key, valkey):
    one, most = process(), 3
    await count(one, rate(key, most, wanted=3))
    used = [(40.0, 1), (0.0, 2)]
    tally = await count(one, rate(key, most, batch=1, used=used))
    assert (tally.held, tally.taken) == (0, 3)
    assert 19 < tally.free_after <= 20.25
    let_pass(valkey, 15, RATE, key)
    assert (await count(one, rate(key, most, wanted=1))).held == 0
    let_pass(valkey, 5.5, RATE, key)
    assert (await count(one, rate(key, most, wanted=1))).held == 1
    tally = await count(one, rate(key, most, held=1))
    assert 30 < tally.free_after <= 39.75


async def test_a_report_that_comes_twice_counts_once(process, key):
    """Its answer was lost, and the call was made again."""
    one = process()
    report = rate(key, 10, batch=7, used=[(1.0, 2)], held=1, wanted=3)
    tallies = [await count(one, report) for _ in range(3)]
    assert {(tally.held, tally.taken) for tally in tallies} == {(4, 6)}
    assert (await count(one, replace(report, batch=8, held=4, wanted=0))).taken == 8


async def test_a_report_that_comes_late_changes_nothing(process, key):
    """It stood in a line that was given up, and another one has come before it."""
    one, late = process(), slots(key, 10, number=1, held=1)
    await count(one, slots(key, 10, number=2, held=4))
    await count(one, late)
    assert (await count(process(), slots(key, 10))).taken == 4


async def test_what_is_held_is_never_refused(process, key):
    """It is in use already: more than the limit, after a time without the store."""
    one, other = process(), process()
    assert (await count(one, slots(key, 5, held=4))).taken == 4
    tally = await count(other, slots(key, 5, held=4, wanted=1))
    assert (tally.held, tally.taken) == (4, 8)


async def test_the_slots_of_a_process_that_is_silent_come_back(process, key, valkey):
    dead, other = process(), process()
    await count(dead, slots(key, 5, wanted=5))
    assert (await count(other, slots(key, 5, wanted=2))).held == 0
    let_pass(valkey, HELD_SECONDS - 5, SLOTS, key)
    assert (await count(other, slots(key, 5, wanted=2))).held == 0
    let_pass(valkey, 5, SLOTS, key)
    assert (await count(other, slots(key, 5, wanted=2))).held == 2


async def test_slots_that_are_reported_again_stay(process, key, valkey):
    one, other = process(), process()
    for _ in range(3):
        await count(one, slots(key, 5, held=5))
        let_pass(valkey, HELD_SECONDS - 5, SLOTS, key)
    assert (await count(other, slots(key, 5, wanted=2))).held == 0


async def test_slots_that_are_given_back_are_free_at_once(process, key):
    one, other = process(), process()
    await count(one, slots(key, 5, wanted=5))
    await count(one, slots(key, 5, held=1))
    assert (await count(other, slots(key, 5, wanted=5))).held == 4


async def test_what_a_lost_process_held_of_a_rate_counts_as_used(process, key, valkey):
    """It may have used all of it at its last moment, and reported nothing."""
    dead, other = process(), process()
    await count(dead, rate(key, 5, wanted=5))
    let_pass(valkey, HELD_SECONDS + WINDOW - 5, RATE, key)
    assert (await count(other, rate(key, 5, wanted=2))).held == 0
    let_pass(valkey, 5, RATE, key)
    assert (await count(other, rate(key, 5, wanted=2))).held == 2


async def test_a_wait_is_never_longer_than_the_window(process, key):
    await count(process(), rate(key, 5, wanted=5))
    tally = await count(process(), rate(key, 5, wanted=1))
    assert 0 < tally.free_after <= WINDOW + 0.25


async def test_a_rate_that_is_overrun_is_free_when_all_that_is_too_much_has_gone(process, key):
    """Tokens are known at a response's end."""
    used = [(50.0, 80), (30.0, 80), (10.0, 80)]
    tally = await count(process(), rate(key, 100, batch=1, used=used))
    assert tally.taken == 240
    assert 29 < tally.free_after <= 30.25
    assert (await count(process(), rate(key, 241))).free_after == 0


async def test_a_lower_limit_holds_for_what_comes_next(process, key):
    one = process()
    await count(one, rate(key, 10, wanted=8))
    assert (await count(one, rate(key, 5, held=8, wanted=1))).held == 8


async def test_a_counter_expires_and_has_no_name_in_it(process, key, valkey):
    await count(process(), rate(key, 10, batch=1, used=[(0, 1)], wanted=1))
    place = counter_key(RATE, key)
    assert 0 < valkey.cli("PTTL", place) <= 1000 * (WINDOW + HELD_SECONDS)
    assert key not in place + str(valkey.cli("HGETALL", place))
    await count(process(), slots(key, 10, wanted=1))
    assert 0 < valkey.cli("PTTL", counter_key(SLOTS, key)) <= 1000 * HELD_SECONDS


async def test_a_counter_stays_small(process, key, valkey):
    """However often it is used: a field for each quarter of a second, and for each process."""
    one = process()
    for number in range(1, 1001):
        await count(one, rate(key, 10_000, batch=number, used=[(number * 0.06, 1)]))
    assert valkey.cli("HLEN", counter_key(RATE, key)) <= 240 + 2
    let_pass(valkey, 2 * WINDOW, RATE, key)
    await count(one, rate(key, 10_000, batch=2000))
    assert valkey.cli("HLEN", counter_key(RATE, key)) == 1


async def test_many_reports_are_one_round_trip_also_on_a_cluster(cluster, key):
    async with opened(cluster.url) as store:
        one = RedisCounters(store.scripts, "w")
        before = store.answer_count()
        reports = [rate(f"{key}{number}", 10, wanted=number) for number in range(10)]
        assert [tally.held for tally in await one.count(reports)] == list(range(10))
        assert store.answer_count() == before + 1


async def test_a_counter_that_is_something_else_is_no_answer(process, key, valkey, caplog):
    valkey.cli("SET", counter_key(RATE, key), "x")
    with caplog.at_level(logging.ERROR), pytest.raises(StoreUnavailable):
        await count(process(), rate(key, 10, wanted=1))
    assert "store_refused script=count" in caplog.text


async def test_a_user_of_few_rights_can_count_under_a_prefix(guarded, key):
    async with guarded.opened() as store:
        one = RedisCounters(store.scripts, "w")
        assert (await count(one, rate(key, 10, number=1, batch=1, used=[(0, 4)]))).taken == 4
        assert (await count(one, slots(key, 10, wanted=2))).held == 2
