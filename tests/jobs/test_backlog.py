"""What the store lacks of one response, through losses, cuts and answers that come late."""

import pytest
from support.fake_clock import ScriptedResponse, declared_gaps

from ws_bridge.jobs.backlog import Backlog, shorten
from ws_bridge.protocol.events import COMPLETED, IN_PROGRESS
from ws_bridge.protocol.reducer import fold
from ws_bridge.store.base import Lease

WORDS = [f"word{number} " for number in range(40)]


def backlog_of(response: ScriptedResponse, published: int, written: int = -1) -> Backlog:
    """The stream has the events up to ``published``, the store those up to ``written``."""
    backlog = Backlog(response.record, Lease(response.id, 1), response.stream, response.listener())
    backlog.mark_created(response.events[: written + 1])
    response.append_until(published)
    return backlog


def numbers(backlog: Backlog) -> list[int]:
    return [event.number for event in backlog.next_write().events]


def test_it_lacks_what_was_published_and_not_written():
    backlog = backlog_of(ScriptedResponse(*WORDS), 9, 4)
    assert backlog.is_behind
    assert numbers(backlog) == [5, 6, 7, 8, 9]
    backlog.mark_written(9)
    assert not backlog.is_behind
    assert backlog.next_write().events == []


def test_an_older_answer_that_comes_late_takes_nothing_back():
    backlog = backlog_of(ScriptedResponse(*WORDS), 9, 4)
    backlog.mark_written(9)
    backlog.mark_written(6)
    assert not backlog.is_behind


def test_with_the_end_everything_is_written():
    one = ScriptedResponse(*WORDS)
    backlog = backlog_of(one, 9, 9)
    one.append_until(one.last - 1)
    backlog.ahead = one.events[-1:]
    assert backlog.next_write().events == one.events
    one.append_until(one.last)
    backlog.ahead = one.events[-1:]
    assert backlog.next_write().events == one.events
    assert backlog.is_over


@pytest.mark.catalogue("A6")
def test_a_large_log_is_not_written_again_at_its_end(monkeypatch):
    """It would be one call to the store that all others wait for."""
    one = ScriptedResponse(*WORDS)
    backlog = backlog_of(one, 9, 9)
    one.append_until(one.last)
    assert backlog.next_write().events == one.events
    monkeypatch.setattr("ws_bridge.jobs.backlog.REWRITTEN_BYTES", one.stream.size - 1)
    assert numbers(backlog) == list(range(10, one.last + 1))


def test_a_store_with_an_older_copy_gets_what_it_has_lost():
    backlog = backlog_of(ScriptedResponse(*WORDS), 9, 9)
    backlog.rewind(3)
    assert numbers(backlog) == [4, 5, 6, 7, 8, 9]


def test_a_store_that_has_more_than_it_answered_gets_no_repeat():
    backlog = backlog_of(ScriptedResponse(*WORDS), 9, 2)
    backlog.rewind(6)
    assert numbers(backlog) == [7, 8, 9]


def test_a_store_that_lost_all_gets_all_under_a_higher_fence():
    backlog = backlog_of(ScriptedResponse(*WORDS), 9, 9)
    backlog.mark_lost()
    assert not backlog.is_created
    assert backlog.next_write().lease.fence == 2
    assert numbers(backlog) == list(range(10))


# Cuts


def test_a_cut_puts_one_snapshot_in_the_place_of_what_is_lacking():
    one = ScriptedResponse(*WORDS)
    backlog = backlog_of(one, 20, 5)
    assert backlog.cut()
    write = backlog.next_write()
    [snapshot] = write.events
    assert write.has_gap
    assert (snapshot.type, snapshot.number) == (IN_PROGRESS, 20)
    assert snapshot.json()["gap"] == {"after": 5, "until": 20}
    assert snapshot.json()["response"] == fold(one.events[:21])


def test_a_second_cut_declares_all_that_is_missing():
    one = ScriptedResponse(*WORDS)
    backlog = backlog_of(one, 20, 5)
    assert backlog.cut()
    one.append_until(30)
    assert backlog.cut()
    [snapshot] = backlog.next_write().events
    assert snapshot.json()["gap"] == {"after": 5, "until": 30}
    assert declared_gaps([*one.events[:6], snapshot]) == [(5, 30)]


def test_what_comes_after_a_cut_follows_it():
    one = ScriptedResponse(*WORDS)
    backlog = backlog_of(one, 20, 5)
    backlog.cut()
    one.append_until(23)
    assert numbers(backlog) == [20, 21, 22, 23]
    backlog.mark_written(23)
    one.append_until(25)
    assert numbers(backlog) == [24, 25]
    assert not backlog.next_write().has_gap


@pytest.mark.parametrize("written", [4, 5])
def test_one_event_is_no_longer_than_its_snapshot(written):
    assert not backlog_of(ScriptedResponse(*WORDS), 5, written).cut()


def test_a_cut_never_takes_the_end():
    one = ScriptedResponse(*WORDS)
    backlog = backlog_of(one, one.last, 5)
    assert backlog.cut()
    [snapshot, end] = backlog.next_write().events
    assert (snapshot.number, end) == (one.last - 1, one.events[-1])
    assert end.type == COMPLETED
    assert declared_gaps([*one.events[:6], snapshot, end]) == [(5, one.last - 1)]


def test_a_cut_frees_the_events_of_what_is_over():
    one = ScriptedResponse(*WORDS)
    backlog = backlog_of(one, one.last, 5)
    before = backlog.measure()
    backlog.cut()
    assert backlog.stream is not one.stream
    assert backlog.stream.events == one.events[-1:]
    assert backlog.is_over
    assert backlog.kept_bytes < before
    assert backlog.kept_bytes == sum(len(event.text) for event in backlog.missing())


def test_what_was_cut_while_it_ran_is_freed_when_it_is_over():
    """Though nothing more can be cut: no other reader has the stream any more."""
    one = ScriptedResponse(*WORDS)
    backlog = backlog_of(one, one.last - 1, 5)
    assert backlog.cut()
    one.append_until(one.last)
    assert backlog.measure() >= sum(len(event.text) for event in one.events)
    assert not backlog.cut()
    assert backlog.measure() == sum(len(event.text) for event in backlog.missing())
    assert numbers(backlog) == [one.last - 1, one.last]
    assert backlog.next_write().has_gap


def test_a_cut_is_undone_by_the_end_while_everything_is_still_there():
    one = ScriptedResponse(*WORDS)
    backlog = backlog_of(one, one.last - 1, 5)
    backlog.cut()
    backlog.ahead = one.events[-1:]
    write = backlog.next_write()
    assert write.events == one.events
    assert not write.has_gap
    backlog.mark_written(one.last)
    assert not backlog.is_behind


def test_a_write_that_was_under_way_when_its_events_were_cut_may_still_arrive():
    one = ScriptedResponse(*WORDS)
    backlog = backlog_of(one, 20, 5)
    sent = backlog.next_write()
    backlog.cut()
    backlog.mark_written(sent.events[-1].number)
    assert not backlog.is_behind
    one.append_until(25)
    assert numbers(backlog) == [21, 22, 23, 24, 25]
    assert not backlog.next_write().has_gap


def test_what_is_lost_after_a_cut_is_written_whole_while_it_runs():
    one = ScriptedResponse(*WORDS)
    backlog = backlog_of(one, 20, 5)
    backlog.cut()
    backlog.mark_lost()
    assert backlog.next_write().events == one.events[:21]
    assert not backlog.next_write().has_gap
    assert backlog.measure() == sum(len(event.text) for event in one.events[:21])


def test_what_is_lost_after_it_was_freed_is_a_snapshot_and_the_end():
    one = ScriptedResponse(*WORDS)
    backlog = backlog_of(one, one.last, 5)
    backlog.cut()
    backlog.mark_lost()
    assert numbers(backlog) == [one.last - 1, one.last]
    assert backlog.next_write().has_gap
    assert backlog.next_write().lease.fence == 2


def test_a_response_that_was_never_written_is_cut_from_its_beginning():
    one = ScriptedResponse(*WORDS)
    backlog = backlog_of(one, 20)
    backlog.cut()
    assert backlog.next_write().events[0].json()["gap"] == {"after": -1, "until": 20}


def test_a_reader_over_a_gap_has_what_the_snapshot_has():
    """A poller's fold of the log is the fold of all events, though some were lost."""
    one = ScriptedResponse(*WORDS)
    backlog = backlog_of(one, 20, 1)
    backlog.cut()
    one.append_until(25)
    log = [*one.events[:2], *backlog.next_write().events]
    assert fold(log)["output"] == fold(one.events[:26])["output"]


# The measure and the bound


def test_the_measure_is_what_is_lacking_and_grows_with_it():
    one = ScriptedResponse(*WORDS)
    backlog = backlog_of(one, 9, 4)
    assert backlog.measure() == sum(len(event.text) for event in one.events[5:10])
    one.append_until(12)
    assert backlog.measure() == sum(len(event.text) for event in one.events[5:13])
    backlog.mark_written(10)
    assert backlog.measure() == sum(len(event.text) for event in one.events[11:13])
    backlog.rewind(4)
    assert backlog.measure() == sum(len(event.text) for event in one.events[5:13])


def test_of_what_is_over_all_is_kept_for_the_store():
    one = ScriptedResponse(*WORDS)
    backlog = backlog_of(one, 9, 4)
    backlog.measure()
    one.append_until(one.last)
    assert backlog.measure() == sum(len(event.text) for event in one.events)


def test_side_data_goes_with_the_end_and_counts():
    one = ScriptedResponse(*WORDS)
    backlog = backlog_of(one, one.last - 1, 4)
    backlog.ahead, backlog.side_data = one.events[-1:], {"a": 1}
    assert backlog.next_write().final_side_data == {"a": 1}
    one.append_until(one.last)
    backlog.mark_lost()
    assert backlog.measure() == sum(len(event.text) for event in one.events) + len('{"a":1}')
    backlog.mark_created([])
    backlog.cut()
    assert backlog.next_write().has_gap
    assert backlog.next_write().final_side_data == {"a": 1}


def test_below_the_bound_nothing_is_cut():
    backlog = backlog_of(ScriptedResponse(*WORDS), 20)
    assert shorten([backlog], backlog.measure()) == ([], [])


def test_what_is_over_is_cut_first_and_the_largest_of_it():
    small, large, running = (
        ScriptedResponse(*WORDS[:20]),
        ScriptedResponse(*WORDS),
        ScriptedResponse(*WORDS * 2),
    )
    backlogs = [
        backlog_of(running, 60),
        backlog_of(small, small.last),
        backlog_of(large, large.last),
    ]
    most = sum(backlog.measure() for backlog in backlogs) - 100
    assert shorten(backlogs, most) == ([backlogs[2]], [])


def test_what_runs_is_cut_next_and_never_dropped():
    done, running = ScriptedResponse(*WORDS), ScriptedResponse(*WORDS)
    backlogs = [backlog_of(running, 20), backlog_of(done, done.last)]
    assert shorten(backlogs, 1) == ([backlogs[1], backlogs[0]], [backlogs[1]])
