"""A ``Write`` → one call of the append script."""

from dataclasses import replace

from redis.exceptions import ResponseError
from store.contract import events_of, record

from ws_bridge.store.base import Lease, Receipt, Verdict, Write
from ws_bridge.store.redis.codec import CODEC, unpack, unpack_entry, unpack_record
from ws_bridge.store.redis.commands import LARGE, append_call, receipt_of
from ws_bridge.store.redis.keys import CHANNELS, keys_of
from ws_bridge.store.redis.scripts import APPEND

KEPT = record()
NAMES = (
    *("id", "worker", "fence", "first", "last", "lease", "ttl", "status", "final"),
    *("output", "gap", "upstream", "channels", "record"),
)


async def told(events, **fields):
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
    arguments, entries = await told([])
    assert arguments["first"] == arguments["last"] + 1
    assert (arguments["id"], arguments["worker"], arguments["fence"]) == (KEPT.id, "me", 3)
    assert (arguments["lease"], arguments["ttl"], arguments["channels"]) == (15, 900, CHANNELS)
    unsaid = ("status", "final", "output", "gap", "upstream", "record")
    assert [arguments[name] for name in unsaid] == [""] * len(unsaid)
    assert entries == []


async def test_the_end_is_no_entry_but_told_apart():
    events = events_of(KEPT)
    arguments, entries = await told(events)
    assert (arguments["first"], arguments["last"]) == (0, events[-1].number)
    assert (arguments["status"], arguments["ttl"]) == ("completed", 60)
    assert unpack(arguments["final"]) == events[-1].text
    assert [event for _, entry in entries for event in unpack_entry(entry)] == events[:-1]


async def test_only_output_counts_as_output():
    events = events_of(KEPT)
    for said, output in ((events[:2], ""), (events[-1:], ""), (events[2:3], "1"), (events, "1")):
        assert (await told(said))[0]["output"] == output


async def test_what_else_a_write_says_is_told():
    other = replace(KEPT, maker="other|")
    said = events_of(KEPT)[4:6]
    arguments, _ = await told(said, has_gap=True, upstream_id="up_1", record=other)
    assert (arguments["first"], arguments["last"]) == (4, 5)
    assert (arguments["gap"], arguments["upstream"]) == ("1", "up_1")
    assert unpack_record(arguments["record"]) == other


async def test_many_events_are_packed_all_the_same():
    events = events_of(KEPT, *map(str, range(LARGE + 1)))
    _, entries = await told(events)
    assert [event for _, entry in entries for event in unpack_entry(entry)] == events[:-1]


def test_an_answer_is_a_receipt():
    assert receipt_of([1, 7, 0, 0]) == Receipt(Verdict.APPENDED, 7, False, False)
    assert receipt_of([0, 7, 1, 1]) == Receipt(Verdict.DUPLICATE, 7, True, True)
    codes = (-1, -2, -3, -4)
    verdicts = [receipt_of([code, -1, 0, 0]).verdict for code in codes]
    assert verdicts == [Verdict.FENCED, Verdict.GONE, Verdict.ENDED, Verdict.GAP]


def test_who_cannot_write_any_more_is_told_to_stop(caplog):
    assert receipt_of(ResponseError("WRONGTYPE")).verdict is Verdict.FENCED
    assert "append_refused" in caplog.text
