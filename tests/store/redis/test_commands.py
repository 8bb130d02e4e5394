"""What a write and a cursor are asked as, and what the scripts' answers mean."""

import random
from dataclasses import replace

import pytest
from redis.exceptions import ResponseError
from store.contract import events_of, record

from ws_bridge.errors import StoreUnavailable
from ws_bridge.pacing import HEAVY_BYTES
from ws_bridge.store.base import Lease, Owners, Receipt, Verdict, Write
from ws_bridge.store.redis.codec import (
    CODEC,
    compress,
    decode_entry,
    decode_record,
    decompress,
    encode_entries,
    encode_record,
    encode_side_data,
)
from ws_bridge.store.redis.commands import (
    END_OF_LOG,
    FIRST_PAGE_ENTRIES,
    MANY_EVENTS,
    PAGE_ENTRIES,
    Cursor,
    append_call,
    decode_page,
    decode_receipt,
    decoded_size,
    read_call,
)
from ws_bridge.store.redis.keys import CHANNEL_PREFIX, keys_of
from ws_bridge.store.redis.scripts import APPEND

KEPT = record()
NAMES = (
    *("id", "worker", "fence", "first", "last", "lease", "ttl", "status", "final"),
    *("output", "gap", "upstream", "channels", "record", "side", "booked"),
)


async def arguments_of(events, **fields):
    """The script's arguments by name, and the entries."""
    write = Write(Lease(KEPT.id, 3), events, **fields)
    call = await append_call(write, "me", (15, 900, 60), CODEC)
    keys = keys_of(KEPT.id)
    assert call.script is APPEND
    assert call.keys == (keys.meta, keys.events, keys.final, keys.input, keys.leases)
    rest = call.args[len(NAMES) :]
    entries = list(zip(rest[::2], rest[1::2], strict=True))
    return dict(zip(NAMES, call.args, strict=False)), entries


async def test_no_events_only_renew():
    arguments, entries = await arguments_of([])
    assert arguments["first"] == arguments["last"] + 1
    assert (arguments["id"], arguments["worker"], arguments["fence"]) == (KEPT.id, "me", 3)
    assert (arguments["lease"], arguments["ttl"], arguments["channels"]) == (
        15,
        900,
        CHANNEL_PREFIX,
    )
    empty = ("status", "final", "output", "gap", "upstream", "record", "side")
    assert [arguments[name] for name in empty] == [""] * len(empty)
    assert entries == []


async def test_the_end_is_no_entry_but_an_argument_of_its_own():
    events = events_of(KEPT)
    arguments, entries = await arguments_of(events)
    assert (arguments["first"], arguments["last"]) == (0, events[-1].number)
    assert (arguments["status"], arguments["ttl"]) == ("completed", 60)
    assert decompress(arguments["final"]) == events[-1].text
    assert [event for _, entry in entries for event in decode_entry(entry)] == events[:-1]


async def test_only_output_counts_as_output():
    events = events_of(KEPT)
    for written, output in ((events[:2], ""), (events[-1:], ""), (events[2:3], "1"), (events, "1")):
        assert (await arguments_of(written))[0]["output"] == output


async def test_every_other_field_of_a_write_is_an_argument():
    other = replace(KEPT, maker="other|")
    written = events_of(KEPT)[4:6]
    arguments, _ = await arguments_of(written, has_gap=True, upstream_id="up_1", record=other)
    assert (arguments["first"], arguments["last"]) == (4, 5)
    assert (arguments["gap"], arguments["upstream"]) == ("1", "up_1")
    assert decode_record(arguments["record"]) == other


@pytest.mark.parametrize(("upto", "is_sent"), [(2, False), (None, True)])
async def test_side_data_goes_with_the_end_alone(upto, is_sent):
    side_data = {"blocks": ["ü"]}
    arguments, _ = await arguments_of(events_of(KEPT)[:upto], side_data=side_data)
    assert arguments["side"] == (encode_side_data(side_data) if is_sent else "")


async def test_many_events_are_encoded_too():
    events = events_of(KEPT, *map(str, range(MANY_EVENTS + 1)))
    _, entries = await arguments_of(events)
    assert [event for _, entry in entries for event in decode_entry(entry)] == events[:-1]


def test_an_answer_is_a_receipt():
    assert decode_receipt([1, 7, 0, 0]) == Receipt(Verdict.APPENDED, 7, False, False)
    assert decode_receipt([0, 7, 1, 1]) == Receipt(Verdict.DUPLICATE, 7, True, True)
    codes = (-1, -2, -3, -4)
    verdicts = [decode_receipt([code, -1, 0, 0]).verdict for code in codes]
    assert verdicts == [Verdict.FENCED, Verdict.GONE, Verdict.ENDED, Verdict.GAP]


def test_a_writer_that_cannot_write_any_more_is_fenced(caplog):
    assert decode_receipt(ResponseError("WRONGTYPE")).verdict is Verdict.FENCED
    assert "append_refused" in caplog.text


# Pages


EVENTS = events_of(KEPT)
END = EVENTS[-1]


def answer(
    events=(),
    *,
    status=b"in_progress",
    last=None,
    taken=0,
    makers=b"",
    end=b"",
    kept=b"",
    side=b"",
):
    entries = [[b"%d-0" % (number + 1), [b"e", text]] for number, text in encode_entries(events)]
    last = events[-1].number if last is None and events else last
    return [status, last, 0, taken, entries, makers, end, kept, side]


def page_of(after, answered):
    return decode_page(Cursor(KEPT.id, KEPT.owner, after), answered, CODEC, Owners())


ENDED = {"status": b"completed", "last": END.number, "end": compress(END.text)}


def test_unknown_is_none():
    assert page_of(-1, None) is None


def test_of_an_entry_only_what_is_after_the_cursor_counts():
    for after in range(-1, 5):
        page = page_of(after, answer(EVENTS[:4]))
        assert page.events == EVENTS[after + 1 : 4]
        assert (page.is_last, page.is_complete, page.last_number) == (False, True, 3)


def test_the_end_comes_after_the_log():
    page = page_of(1, answer(EVENTS[:-1], **ENDED))
    assert page.events == EVENTS[2:]
    assert page.is_last


@pytest.mark.parametrize(("taken", "answered"), [(0, []), (1, [END])])
def test_a_reader_gets_the_end_of_a_response_that_was_taken_over_wherever_it_is(taken, answered):
    page = page_of(1000, answer(taken=taken, **ENDED))
    assert page.events == answered
    assert page.is_last


def test_a_full_page_is_not_the_last():
    at = Cursor(KEPT.id, KEPT.owner, -1, max_entries=1)
    page = decode_page(at, answer(EVENTS[:4], **ENDED), CODEC, Owners())
    assert page.events == EVENTS[:4]
    assert (page.is_last, page.is_complete) == (False, False)


def test_a_finished_page_is_a_snapshot():
    page = page_of(END_OF_LOG, answer(kept=encode_record(KEPT), **ENDED))
    snapshot = page.final_snapshot()
    assert (snapshot.record, snapshot.number) == (KEPT, END.number)
    assert snapshot.response == END.json()["response"]
    assert page_of(END_OF_LOG, answer(**ENDED)).final_snapshot() is None
    assert page_of(-1, answer(EVENTS[:2], kept=encode_record(KEPT))).final_snapshot() is None


def test_a_finished_page_has_its_side_data():
    answered = answer(kept=encode_record(KEPT), side=encode_side_data({"a": 1}), **ENDED)
    assert page_of(END_OF_LOG, answered).final_snapshot().side_data == {"a": 1}


@pytest.mark.parametrize(
    "broken", [b"x", b"r", b"r[]", b"z123", b"sealed", b"r" + b'{"a":' * 200 + b"1" + b"}" * 200]
)
def test_side_data_that_cannot_be_read_is_missing_and_all_else_is_there(broken, caplog):
    page = page_of(END_OF_LOG, answer(kept=encode_record(KEPT), side=broken, **ENDED))
    assert page.final_snapshot().response == END.json()["response"]
    assert page.side_data is None
    assert f"side_data_broken id={KEPT.id}" in caplog.text


def test_what_a_newer_release_adds_to_a_log_entry_is_passed_over():
    answered = answer(EVENTS[:2])
    answered[4] = [
        [name, [b"later", b"zzz", *fields, b"more", b""]] for name, fields in answered[4]
    ]
    assert page_of(-1, answered).events == EVENTS[:2]


@pytest.mark.parametrize("after", [-(2**70), -2, -1, 0, 7, 2**53, 2**70])
def test_no_cursor_is_too_odd_for_a_script(after):
    asked = read_call(Cursor("x", "me", after), Owners(), with_record=True)
    owner, cursor, entries, *flags = asked.args
    assert -1 <= cursor <= END_OF_LOG
    assert float(cursor + 1) == cursor + 1  # Lua counts in doubles
    assert (owner, entries, flags) == ("me", PAGE_ENTRIES, ["1", ""])


@pytest.mark.catalogue("A7")
def test_the_page_after_a_large_one_is_small_and_after_small_ones_they_grow():
    """It is what each of many readers holds who does not read."""
    small, large = [EVENTS[0]], events_of(KEPT, "x" * 2**20)[:5]
    cursor = Cursor("x", "me", -1, FIRST_PAGE_ENTRIES)
    asked = []
    for events in (small, small, small, small, small, large, small):
        cursor = cursor.advance(events)
        asked.append(cursor.max_entries)
        assert (cursor.id, cursor.owner, cursor.after) == ("x", "me", events[-1].number)
    assert asked == [32, 64, 128, 256, 256, 16, 32]


@pytest.mark.parametrize(
    "broken",
    [
        ResponseError("WRONGTYPE Operation against a key"),
        answer(EVENTS[:2], kept=b"zzz"),
        answer(last=END.number, status=b"completed", end=b"r{}"),
        answer(last=END.number, status=b"completed", end=b""),
        [b"in_progress", 3, 0, 0, [[b"1-0", [b"e", b"rnull"]]], b"", b"", b"", b""],
        [b"in_progress", 3, 0, 0, [[b"1-0", [b"e"]]], b"", b"", b"", b""],
        [b"in_progress", 3, 0, 0, [[b"1-0", [b"later", b"r{}"]]], b"", b"", b"", b""],
        [b"in_progress"],  # a hash without a number
        answer(
            last=END.number, status=b"completed", end=compress(b'{"type":"t","sequence_number":1}')
        ),
        answer(EVENTS[:2], kept=compress(b'{"id":"x"}')),
        answer(EVENTS[:2], kept=encode_record(KEPT), makers=b"r{}"),
    ],
)
def test_what_others_broke_is_unknown(broken, caplog):
    assert page_of(-1, broken) is None
    assert "read_broken" in caplog.text


def test_a_refusal_will_pass():
    with pytest.raises(StoreUnavailable):
        page_of(-1, ResponseError("NOPERM this user has no permissions"))


def test_a_page_with_a_large_entry_is_decoded_beside_the_loop_and_a_usual_one_at_once():
    """What its events were compressed to decides: the length of a page is not known before."""
    dice = random.Random(1)  # noqa: S311 - a seed, so that it can be told again
    large = CODEC.encode(dice.randbytes(20_000).hex().encode())
    small = CODEC.encode(b"event" * 500)

    def answer(entry):
        entries = [[b"1-1", [b"e", entry]]]
        return [b"in_progress", 0, 0, 0, entries, b"", b"", b"", b""]

    assert decoded_size([None, answer(small), answer(small)]) < HEAVY_BYTES
    assert decoded_size([answer(small), answer(large)]) > HEAVY_BYTES
