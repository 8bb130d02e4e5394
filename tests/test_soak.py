"""The judge of the soak sees what grows, its clients see what is not whole, and tides are tides."""

import random

import orjson
import pytest
from soak import collecting
from soak.answers import Answer, whole
from soak.judge import (
    BLOCKS,
    BOUNDS,
    FDS,
    IN_USE,
    KEYS,
    RSS,
    TASKS,
    TO_STORE,
    Sample,
    judge,
    slope,
)
from soak.report import markdown, picture
from soak.tides import Seen

MINUTES = 10
SERVER = "server 0"


def series(gauge, value, *, noise=0.0, every=4.0):
    """Samples of a run, with an ebb every half a minute."""
    dice = random.Random(1)  # noqa: S311 - a die that can be thrown again
    return [
        Sample(
            at=at,
            is_ebb=int(at) % 28 == 0,
            values={(gauge, SERVER): value(at / 60) + dice.gauss(0, noise)},
        )
        for at in (number * every for number in range(int(MINUTES * 60 / every)))
    ]


def grows(samples):
    return [finding.place[0] for finding in judge(samples) if not finding.is_bounded]


NOISE = {
    RSS: 1.0,
    BLOCKS: 1000.0,
    IN_USE: 0.2,
    FDS: 1.0,
    TASKS: 1.0,
    KEYS: 100.0,
    "stored MiB": 0.5,
}


@pytest.mark.parametrize("gauge", NOISE)
def test_a_level_series_is_bounded_whatever_its_noise(gauge):
    assert grows(series(gauge, lambda _: 300.0, noise=NOISE[gauge])) == []


@pytest.mark.parametrize("gauge", NOISE)
def test_a_series_that_grows_above_its_bound_fails_whatever_its_noise(gauge):
    bound = next(bound for bound in BOUNDS if bound.gauge == gauge)
    leaking = series(gauge, lambda minute: 300 + 2 * bound.per_minute * minute, noise=NOISE[gauge])
    assert grows(leaking) == [gauge]


ANSWERS_A_MINUTE = 400  # of one server


def test_ten_blocks_of_each_answer_are_a_leak():
    kept = 10 * ANSWERS_A_MINUTE
    assert grows(series(BLOCKS, lambda minute: 1_750_000 + kept * minute, noise=2000)) == [BLOCKS]


def test_a_kibibyte_of_each_answer_is_a_leak():
    kept = ANSWERS_A_MINUTE / 1024
    assert grows(series(IN_USE, lambda minute: 71 + kept * minute, noise=0.2)) == [IN_USE]


def test_resident_memory_may_grow_slowly_but_not_to_any_height():
    assert grows(series(RSS, lambda minute: 280 + minute / 2)) == []
    assert grows(series(RSS, lambda minute: 396 + minute / 2)) == [RSS]


def test_a_mebibyte_a_minute_is_a_leak():
    assert grows(series(RSS, lambda minute: 250 + minute, noise=0.3)) == [RSS]


def test_what_python_or_malloc_gives_away_is_told_and_what_is_freed_is_not():
    before = collecting.in_use()
    kept = [bytes(100_000) for _ in range(100)]
    assert collecting.in_use() > before + 9_000_000
    kept.clear()
    assert collecting.in_use() < before + 1_000_000


def test_what_grows_while_it_warms_up_only_is_no_leak():
    assert grows(series(RSS, lambda minute: 200 + 30 * min(minute, MINUTES / 3))) == []


def test_one_peak_is_no_leak_and_one_fall_hides_none():
    level = series(RSS, lambda minute: 300.0 + 80 * (minute > MINUTES - 0.5))
    assert grows(level) == []
    leaking = series(RSS, lambda minute: 300 + 2 * minute - 20 * (minute > MINUTES - 0.5))
    assert grows(leaking) == [RSS]


def test_what_is_read_at_ebb_is_not_moved_by_a_growing_flood():
    samples = series(TASKS, lambda _: 12.0)
    flooded = [
        one if one.is_ebb else Sample(one.at, False, {(TASKS, SERVER): 12 + one.at})
        for one in samples
    ]
    assert grows(flooded) == []


def test_a_pool_may_fill_up_but_no_higher_than_it_is():
    assert grows(series(TO_STORE, lambda minute: min(64, 20 * minute))) == []
    assert grows(series(TO_STORE, lambda minute: 20 * minute)) == [TO_STORE]


def test_a_run_too_short_to_say_anything_says_nothing_good():
    short = series(RSS, lambda _: 300.0)[:20]
    assert grows(short) == [RSS]
    assert "too few samples" in markdown(Seen(short), judge(short), {})


def test_a_slope_is_the_growth_of_a_minute():
    assert slope([(0, 1), (30, 2), (60, 3), (120, 5)]) == pytest.approx(2)


def test_every_gauge_of_a_run_is_in_its_picture():
    gauges = {"RSS MiB": 300.0, "CPU %": 1.0, "keys": 5.0}
    samples = [
        Sample(at, True, {(gauge, SERVER): value * at for gauge, value in gauges.items()})
        for at in (0.0, 60.0, 120.0)
    ]
    drawn = picture(samples)
    assert all(f">{gauge}<" in drawn for gauge in gauges)
    assert drawn.count("<polyline") == len(gauges)


# What clients see

MODEL = "native-big3"


def event(number, kind, **fields):
    return orjson.dumps({"type": f"response.{kind}", "sequence_number": number, **fields})


def response(status="completed", text="word" * 3):
    item = {"type": "message", "content": [{"type": "output_text", "text": text}]}
    return {"id": "resp_1", "status": status, "output": [item]}


def heard(*events):
    answer = Answer(MODEL)
    for text in events:
        answer.take(text)
    return answer


def delta(number):
    return event(number, "output_text.delta", delta="word")


CREATED = event(0, "created", response=response("in_progress", ""))
END = event(4, "completed", response=response())
WHOLE = (CREATED, delta(1), delta(2), delta(3), END)


def test_a_whole_answer_has_no_problems():
    assert list(heard(*WHOLE).problems()) == []


@pytest.mark.parametrize(
    "events",
    [
        WHOLE[:-1],  # no end
        (*WHOLE, event(5, "completed", response=response())),  # two
        (*WHOLE[:3], event(3, "completed", response=response())),  # a delta is missing
        (*WHOLE[:2], delta(3), END),  # a number is
        (*WHOLE[:-1], event(4, "completed", response=response(text="word"))),
        (*WHOLE[:-1], event(4, "failed", response=response("failed"))),
        (
            CREATED,
            delta(1),
            delta(2),
            delta(3),
            delta(4),
            event(5, "completed", response={**response(text="word" * 4)}),
        ),
    ],
)
def test_an_answer_that_is_not_whole_has_problems(events):
    assert list(heard(*events).problems())


def test_a_reader_elsewhere_must_read_the_same():
    assert list(whole(response(), MODEL)) == []
    assert list(whole(response(text="word"), MODEL))
    assert list(whole(response("in_progress"), MODEL))
