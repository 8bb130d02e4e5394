"""Folds of what is polled: each event is folded once, and what is kept is bounded."""

from dataclasses import replace

from store.contract import events_of, record

from ws_bridge.protocol.reducer import fold
from ws_bridge.store.redis import snapshots as module
from ws_bridge.store.redis.commands import Cursor, ResponsePage
from ws_bridge.store.redis.snapshots import RunningSnapshots


def page(kept, events, after=-1, **fields):
    read = ResponsePage(
        cursor=Cursor(kept.id, kept.owner, after),
        events=events,
        last_number=events[-1].number if events else after,
        is_last=False,
        record=kept,
    )
    return replace(read, **fields)


def test_a_poll_asks_for_no_more_than_what_is_new():
    snapshots, kept = RunningSnapshots(), record()
    events = events_of(kept)
    assert snapshots.last_number(kept.id) == -1
    for number in range(4):
        snapshot = snapshots.fold(page(kept, [events[number]], number - 1))
        assert snapshot.response == fold(events[: number + 1])
        assert snapshots.last_number(kept.id) == snapshot.number == number


def test_an_older_answer_never_gives_an_older_snapshot():
    """Two polls at once: the answer to the first comes last."""
    snapshots, kept = RunningSnapshots(), record()
    events = events_of(kept)
    snapshots.fold(page(kept, events[:4]))
    snapshot = snapshots.fold(page(kept, events[:2]))
    assert (snapshot.number, snapshot.response) == (3, fold(events[:4]))


def test_more_pages_are_asked_for_before_there_is_a_snapshot():
    snapshots, kept = RunningSnapshots(), record()
    events = events_of(kept)
    assert snapshots.fold(page(kept, events[:2], is_complete=False)) is None
    assert snapshots.last_number(kept.id) == 1
    assert snapshots.fold(page(kept, events[2:4], 1)).response == fold(events[:4])


def test_what_follows_a_fold_that_was_dropped_is_no_snapshot():
    snapshots, kept = RunningSnapshots(), record()
    events = events_of(kept)
    assert snapshots.fold(page(kept, events[2:4], 1)) is None
    assert snapshots.last_number(kept.id) == -1


def test_of_what_has_ended_nothing_is_kept():
    snapshots, kept = RunningSnapshots(), record()
    events = events_of(kept)
    snapshots.fold(page(kept, events[:4]))
    snapshot = snapshots.fold(
        page(kept, [], 3, final=events[-1], final_response=events[-1].json()["response"])
    )
    assert snapshot.response == events[-1].json()["response"]
    assert snapshot.number == events[-1].number
    assert snapshots.last_number(kept.id) == -1
    assert snapshots._bytes == 0


def test_over_the_bound_the_fold_that_was_polled_longest_ago_goes(monkeypatch):
    kept = [record() for _ in range(3)]
    events = events_of(kept[0])[:4]
    monkeypatch.setattr(module, "MAX_BYTES", 2 * sum(len(event.text) for event in events))
    snapshots = RunningSnapshots()
    for one in (*kept[:2], kept[0], kept[2]):
        snapshots.fold(page(one, events))
    known = [snapshots.last_number(one.id) for one in kept]
    assert known == [3, -1, 3]


def test_polls_without_news_take_no_room():
    snapshots, kept = RunningSnapshots(), record()
    events = events_of(kept)[:4]
    snapshots.fold(page(kept, events))
    size = snapshots._bytes
    for _ in range(3):
        snapshots.fold(page(kept, [], 3))
        snapshots.fold(page(kept, events))
    assert snapshots._bytes == size
    snapshots.forget(kept.id)
    snapshots.forget(kept.id)
    assert snapshots._bytes == 0


def test_a_page_without_a_record_is_no_snapshot():
    snapshots, kept = RunningSnapshots(), record()
    assert snapshots.fold(page(kept, events_of(kept)[:2], record=None)) is None


def test_what_nobody_polls_any_more_is_dropped():
    clock = [0.0]
    snapshots, left, polled = RunningSnapshots(lambda: clock[0]), record(), record()
    for kept in (left, polled):
        snapshots.fold(page(kept, events_of(kept)[:2]))
    clock[0] = module.KEEP_SECONDS + 1
    snapshots.fold(page(polled, events_of(polled)[2:3], 1))
    assert (snapshots.last_number(left.id), snapshots.last_number(polled.id)) == (-1, 2)
