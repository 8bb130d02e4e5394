"""What the read script answers, as values."""

import pytest
from redis.exceptions import ResponseError
from store.contract import events_of, record

from ws_bridge.errors import StoreUnavailable
from ws_bridge.store.base import Owners
from ws_bridge.store.redis.codec import CODEC, pack, pack_entries, pack_record
from ws_bridge.store.redis.pages import ALL, read_call, view_of
from ws_bridge.store.redis.subscriptions import FEW_ENTRIES, MOST_ENTRIES, Cursor

KEPT = record()
EVENTS = events_of(KEPT)
END = EVENTS[-1]


def answer(events=(), *, status=b"in_progress", last=None, taken=0, end=b"", kept=b""):
    entries = [[b"%d-0" % (number + 1), [b"e", text]] for number, text in pack_entries(events)]
    last = events[-1].number if last is None and events else last
    return [status, last, 0, taken, entries, end, kept]


def seen(after, told):
    return view_of(Cursor(KEPT.id, KEPT.owner, after), told, CODEC, Owners())


ENDED = {"status": b"completed", "last": END.number, "end": pack(END.text)}


def test_unknown_is_none():
    assert seen(-1, None) is None


def test_of_an_entry_only_what_is_after_the_cursor_counts():
    for after in range(-1, 5):
        view = seen(after, answer(EVENTS[:4]))
        assert view.events == EVENTS[after + 1 : 4]
        assert (view.is_last, view.is_complete, view.last) == (False, True, 3)


def test_the_end_comes_after_the_log():
    view = seen(1, answer(EVENTS[:-1], **ENDED))
    assert view.events == EVENTS[2:]
    assert view.is_last


@pytest.mark.parametrize(("taken", "told"), [(0, []), (1, [END])])
def test_the_end_of_what_was_taken_over_is_told_wherever_the_reader_is(taken, told):
    view = seen(1000, answer(taken=taken, **ENDED))
    assert view.events == told
    assert view.is_last


def test_a_full_page_is_not_the_last():
    at = Cursor(KEPT.id, KEPT.owner, -1, most=1)
    view = view_of(at, answer(EVENTS[:4], **ENDED), CODEC, Owners())
    assert view.events == EVENTS[:4]
    assert (view.is_last, view.is_complete) == (False, False)


def test_a_finished_view_is_a_snapshot():
    view = seen(ALL, answer(kept=pack_record(KEPT), **ENDED))
    snapshot = view.finished()
    assert (snapshot.record, snapshot.number) == (KEPT, END.number)
    assert snapshot.response == END.json()["response"]
    assert seen(ALL, answer(**ENDED)).finished() is None
    assert seen(-1, answer(EVENTS[:2], kept=pack_record(KEPT))).finished() is None


def test_what_a_newer_release_adds_to_a_log_entry_is_passed_over():
    told = answer(EVENTS[:2])
    told[4] = [[name, [b"later", b"zzz", *fields, b"more", b""]] for name, fields in told[4]]
    assert seen(-1, told).events == EVENTS[:2]


@pytest.mark.parametrize("after", [-(2**70), -2, -1, 0, 7, 2**53, 2**70])
def test_no_cursor_is_too_odd_for_a_script(after):
    asked = read_call(Cursor("x", "me", after), Owners(), with_record=True)
    owner, cursor, entries, flag = asked.args
    assert -1 <= cursor <= ALL
    assert float(cursor + 1) == cursor + 1  # Lua counts in doubles
    assert (owner, entries, flag) == ("me", MOST_ENTRIES, "1")


@pytest.mark.catalogue("A7")
def test_the_page_after_a_large_one_is_small_and_after_small_ones_they_grow():
    """It is what each of many readers holds who does not read."""
    small, large = [EVENTS[0]], events_of(KEPT, "x" * 2**20)[:5]
    cursor = Cursor("x", "me", -1, FEW_ENTRIES)
    asked = []
    for events in (small, small, small, small, small, large, small):
        cursor = cursor.beyond(events)
        asked.append(cursor.most)
        assert (cursor.id, cursor.owner, cursor.after) == ("x", "me", events[-1].number)
    assert asked == [32, 64, 128, 256, 256, 16, 32]


@pytest.mark.parametrize(
    "broken",
    [
        ResponseError("WRONGTYPE Operation against a key"),
        answer(EVENTS[:2], kept=b"zzz"),
        answer(last=END.number, status=b"completed", end=b"r{}"),
        answer(last=END.number, status=b"completed", end=b""),
        [b"in_progress", 3, 0, 0, [[b"1-0", [b"e", b"rnull"]]], b"", b""],
        [b"in_progress", 3, 0, 0, [[b"1-0", [b"e"]]], b"", b""],
        [b"in_progress", 3, 0, 0, [[b"1-0", [b"later", b"r{}"]]], b"", b""],
        [b"in_progress"],  # a hash without a number
        answer(last=END.number, status=b"completed", end=pack(b'{"type":"t","sequence_number":1}')),
        answer(EVENTS[:2], kept=pack(b'{"id":"x"}')),
    ],
)
def test_what_others_broke_is_unknown(broken, caplog):
    assert seen(-1, broken) is None
    assert "read_broken" in caplog.text


def test_a_refusal_will_pass():
    with pytest.raises(StoreUnavailable):
        seen(-1, ResponseError("NOPERM this user has no permissions"))
