"""The bench proves what it measures: answers that are not whole are no figures."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # the bench imports itself as `tests.bench`

from support.svg_plot import Bar, Group, bars, ticks

from tests.bench.against import WAYS, Cost, loads_of, measured, told
from tests.bench.driver import STARTER_DELTAS, beside, seen
from tests.bench.field import Window
from tests.bench.loads import BRIDGE, DIRECT, EXTRAS, FULL, PASS_THROUGH, QUICK, chosen, loads
from tests.bench.report import markdown, picture, plain
from tests.bench.rounds import in_turn
from tests.bench.turns import DIALECTS
from tests.bench.wire import cut, is_last, ordered, prompt, stamps

DELTAS = 7
MILLISECOND = 1_000_000


def answer(dialect, deltas=DELTAS, *, every=MILLISECOND, late=MILLISECOND, asked=0):
    """The frames of a whole answer: a delta each ``every`` ns, received ``late`` ns after."""
    _, make = DIALECTS[dialect]
    turn = make()
    texts = [f"{n}@{asked + n * every:016d} " for n in range(deltas)]
    parts = [turn.opening(), *(turn.delta(n, text) for n, text in enumerate(texts))]
    frames = []
    for number, part in enumerate([*parts, turn.closing("".join(texts), deltas)]):
        events, rest = cut(part)
        assert rest == b""
        frames += [(asked + max(0, number - 1) * every + late, data.decode()) for data in events]
    return frames


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_whole_answer_gives_the_times_of_its_deltas(dialect):
    found = stamps(answer(dialect), DELTAS)
    assert found == [((n + 1) * MILLISECOND, n * MILLISECOND) for n in range(DELTAS)]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_last_frame_is_known_and_no_other_is(dialect):
    ends = [is_last(data) for _, data in answer(dialect)]
    assert ends == [False] * (len(ends) - 1) + [True]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("spoil", ["lost", "doubled", "swapped", "unended"])
def test_an_answer_that_is_not_whole_is_refused(dialect, spoil):
    frames = answer(dialect)
    deltas = [n for n, (_, data) in enumerate(frames) if re.search(r'"\d@\d{16} "', data)]
    first, second = deltas[2:4]
    if spoil == "lost":
        del frames[first]
    elif spoil == "doubled":
        frames.insert(first, frames[first])
    elif spoil == "swapped":
        frames[first], frames[second] = frames[second], frames[first]
    else:
        del frames[deltas[-1] + 1 :]
    with pytest.raises((AssertionError, KeyError)):
        stamps(frames, DELTAS)


def test_of_another_bridge_only_the_deltas_and_the_end_are_asked_for():
    frames = answer("native")
    foreign = [frames[0], *frames[3:]]
    assert len(stamps(foreign, DELTAS, is_foreign=True)) == DELTAS
    with pytest.raises(AssertionError):
        stamps(foreign, DELTAS)
    with pytest.raises(AssertionError):
        stamps(foreign[:-1], DELTAS, is_foreign=True)


def test_the_order_travels_in_the_prompt():
    body = orjson.dumps({"input": prompt(400, 100)})
    assert ordered(body) == (400, 100)


def test_what_running_streams_notice_is_counted_while_the_others_start_only():
    """Of the running deltas those that were written between the first ask and the last event."""
    running = answer("native", 100, late=2 * MILLISECOND)
    slow = [
        (at + (40 * MILLISECOND if 30 <= n < 40 else 0), data)
        for n, (at, data) in enumerate(running)
    ]
    begin, end = 20 * MILLISECOND, 60 * MILLISECOND
    started = [(begin, answer("native", STARTER_DELTAS, asked=begin, late=end - begin))]
    told = beside([(0, slow)], 100, started)
    assert told["all_begun_ms"] == 40
    assert told["beside_p50_ms"] == 2
    assert told["beside_worst_ms"] == 42


def window(load, subject, *, number=1, cpu_ns=10**9, late=MILLISECOND):
    told = seen([(0, answer("native", late=late))], DELTAS, seconds=2.0)
    told |= {"beside_p50_ms": 1.0, "beside_p99_ms": 2.0, "beside_worst_ms": 3.0}
    told["all_begun_ms"] = 4.0
    return Window(number, load, subject, None if subject == DIRECT else cpu_ns, 50.0, told)


def test_a_ratio_is_to_the_pass_through_of_the_same_round():
    load = replace(next(loads(FULL, [50])), subjects=(DIRECT, PASS_THROUGH, BRIDGE))
    windows = [
        one
        for number, share in ((1, 2), (2, 3), (3, 4))
        for one in (
            window(load, DIRECT, number=number),
            window(load, PASS_THROUGH, number=number, cpu_ns=number * 10**9),
            window(load, BRIDGE, number=number, cpu_ns=share * number * 10**9, late=3_500_000),
        )
    ]
    told = markdown(windows, {}, {}, "x.svg")
    row = next(line for line in told.splitlines() if line.startswith("| bridge "))
    cells = [cell.strip() for cell in row.split("|")]
    assert "3.00 (2.00 to 4.00)" in cells
    assert "2.50" in cells  # added: 3.5 ms, less the direct client's 1 ms


def test_every_load_has_its_table_its_bars_and_its_numbers():
    windows = [window(load, subject) for load in loads(FULL, [50]) for subject in load.subjects]
    told, drawn = markdown(windows, {}, {}, "x.svg"), picture(windows)
    for load in loads(FULL, [50]):
        assert f"## {load.name}\n" in told
        assert f">{load.name}: " in drawn
    assert len(plain(windows, {})["windows"]) == len(windows)


def test_a_scenario_has_a_name_of_its_own_and_a_wildcard_finds_it():
    keys = [load.key for load in loads(FULL, [50])]
    assert len(set(keys)) == len(keys)
    assert not set(keys) & set(EXTRAS)
    assert chosen("native-paced", [])
    assert chosen("native-paced", ["idle", "native-*"])
    assert not chosen("native-paced", ["chat-*"])


@pytest.mark.parametrize("size", [FULL, QUICK])
def test_subjects_take_turns_in_going_first_and_all_have_theirs(size):
    for load in loads(size, [50]):
        turns = [in_turn(load, number) for number in range(len(load.subjects))]
        assert {turn[0] for turn in turns} == set(load.subjects)
        assert all(sorted(turn) == sorted(load.subjects) for turn in turns)


def test_a_missing_subject_is_in_no_load():
    assert all(BRIDGE not in load.subjects for load in loads(FULL, [50], [BRIDGE]))


@pytest.mark.parametrize("most", [0.3, 1, 7, 60, 999, 12345])
def test_an_axis_ends_above_its_highest_value_in_few_steps(most):
    marks = ticks(most)
    assert marks[0] == 0
    assert marks[-1] >= most
    assert 3 <= len(marks) <= 6


def test_a_bar_is_as_long_as_its_share_of_the_longest_and_text_is_escaped():
    drawn = bars("a < b", [Group("g", [Bar("one", 1, "1"), Bar("two", 2, "2")])])
    widths = [float(width) for width in re.findall(r'width="([\d.]+)" height="15"', drawn)]
    assert widths[1] == 2 * widths[0]
    assert "a &lt; b" in drawn


class CountedCheckouts:
    """A driver, and two servers: a job costs 2 ms at the first, and 1 ms at the other."""

    def __init__(self):
        self.asked = []
        self.servers = {name: type("Bridge", (), {"url": name})() for name in ("before", "after")}

    def run(self, _job, server):
        self.asked.append(server.url)
        return (2_000_000 if server.url == "before" else 1_000_000), {}


def test_two_checkouts_are_asked_in_turns_and_told_by_their_medians():
    counted = CountedCheckouts()
    costs = list(measured(counted, counted.servers, ["chat", "socket"], 2))
    per_round = [counted.asked[at : at + 8] for at in range(0, 24, 8)]
    assert per_round == [["after", "before"] * 4, ["before", "after"] * 4, ["after", "before"] * 4]
    assert len(costs) == 2 * 8, "the first round is dropped"
    load = loads_of("chat", 1.0)["response"]
    assert Cost("chat", "response", "before", 2000 / load.answers) in costs
    shown = told(costs)
    assert "| chat | response | 10.0 | 5.0 | 0.50 |" in shown
    assert shown.count("\n") == 2 + 4
    assert set(WAYS) >= {"chat", "anthropic", "native"}
