"""Folds of what is polled: each event is folded once, and what is kept is bounded."""

from dataclasses import replace

from store.contract import events_of, record

from ws_bridge.protocol.reducer import fold
from ws_bridge.store.redis import snapshots as module
from ws_bridge.store.redis.pages import ResponsePage
from ws_bridge.store.redis.snapshots import RunningSnapshots
from ws_bridge.store.redis.subscriptions import Cursor


def view(kept, events, after=-1, **fields):
    seen = ResponsePage(
        cursor=Cursor(kept.id, kept.owner, after),
        events=events,
        final=None,
        record=kept,
        is_overdue=False,
        is_complete=True,
        is_last=False,
        last=events[-1].number if events else after,
        is_taken=False,
    )
    return replace(seen, **fields)


def test_a_poll_asks_for_no_more_than_what_is_new():
    folds, kept = RunningSnapshots(), record()
    events = events_of(kept)
    assert folds.number(kept.id) == -1
    for number in range(4):
        snapshot = folds.fold(view(kept, [events[number]], number - 1))
        assert snapshot.response == fold(events[: number + 1])
        assert folds.number(kept.id) == snapshot.number == number


def test_an_older_answer_never_gives_an_older_snapshot():
    """Two polls at once: the answer to the first comes last."""
    folds, kept = RunningSnapshots(), record()
    events = events_of(kept)
    folds.fold(view(kept, events[:4]))
    snapshot = folds.fold(view(kept, events[:2]))
    assert (snapshot.number, snapshot.response) == (3, fold(events[:4]))


def test_more_pages_are_asked_for_before_there_is_a_snapshot():
    folds, kept = RunningSnapshots(), record()
    events = events_of(kept)
    assert folds.fold(view(kept, events[:2], is_complete=False)) is None
    assert folds.number(kept.id) == 1
    assert folds.fold(view(kept, events[2:4], 1)).response == fold(events[:4])


def test_what_follows_a_fold_that_was_dropped_is_no_snapshot():
    folds, kept = RunningSnapshots(), record()
    events = events_of(kept)
    assert folds.fold(view(kept, events[2:4], 1)) is None
    assert folds.number(kept.id) == -1


def test_of_what_has_ended_nothing_is_kept():
    folds, kept = RunningSnapshots(), record()
    events = events_of(kept)
    folds.fold(view(kept, events[:4]))
    snapshot = folds.fold(
        view(kept, [], 3, final=events[-1], response=events[-1].json()["response"])
    )
    assert snapshot.response == events[-1].json()["response"]
    assert snapshot.number == events[-1].number
    assert folds.number(kept.id) == -1
    assert folds._bytes == 0


def test_over_the_bound_the_fold_that_was_polled_longest_ago_goes(monkeypatch):
    kept = [record() for _ in range(3)]
    events = events_of(kept[0])[:4]
    monkeypatch.setattr(module, "MOST_BYTES", 2 * sum(len(event.text) for event in events))
    folds = RunningSnapshots()
    for one in (*kept[:2], kept[0], kept[2]):
        folds.fold(view(one, events))
    known = [folds.number(one.id) for one in kept]
    assert known == [3, -1, 3]


def test_polls_without_news_take_no_room():
    folds, kept = RunningSnapshots(), record()
    events = events_of(kept)[:4]
    folds.fold(view(kept, events))
    size = folds._bytes
    for _ in range(3):
        folds.fold(view(kept, [], 3))
        folds.fold(view(kept, events))
    assert folds._bytes == size
    folds.forget(kept.id)
    folds.forget(kept.id)
    assert folds._bytes == 0


def test_a_view_without_a_record_is_no_snapshot():
    folds, kept = RunningSnapshots(), record()
    assert folds.fold(view(kept, events_of(kept)[:2], record=None)) is None


def test_what_nobody_polls_any_more_is_dropped():
    clock = [0.0]
    folds, left, polled = RunningSnapshots(lambda: clock[0]), record(), record()
    for kept in (left, polled):
        folds.fold(view(kept, events_of(kept)[:2]))
    clock[0] = module.KEEP_SECONDS + 1
    folds.fold(view(polled, events_of(polled)[2:3], 1))
    assert (folds.number(left.id), folds.number(polled.id)) == (-1, 2)
