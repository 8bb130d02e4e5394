"""The calls of the append and read scripts, and what their answers mean.

``append_call`` encodes a ``Write``; ``decode_receipt`` reads its answer. ``read_call`` asks what
comes after a ``Cursor``; ``decode_page`` reads the answer as a ``ResponsePage``.

Rule: a stored value that cannot be decoded makes its response unknown, and no other one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from redis.exceptions import ResponseError

from ws_bridge.errors import StoreUnavailable
from ws_bridge.pacing import HEAVY, aside
from ws_bridge.protocol.events import LIFECYCLE, Event
from ws_bridge.store.base import Owners, Receipt, Record, Snapshot, Unreadable, Verdict, Write
from ws_bridge.store.redis.codec import (
    ENTRY_BYTES,
    Codec,
    decode_entry,
    decode_final,
    decode_makers,
    decode_record,
    decode_side_data,
    encode_entries,
    encode_record,
    encode_side_data,
    record_size,
)
from ws_bridge.store.redis.keys import CHANNEL_PREFIX, item_key, keys_of
from ws_bridge.store.redis.ledger import booking_of
from ws_bridge.store.redis.scripts import APPEND, INDEX, READ, ScriptCall
from ws_bridge.types import Json

log = logging.getLogger(__name__)

Times = tuple[int, int, int]  # of a lease, of a running response, of a finished one: in ms
MANY_EVENTS = 1000  # more are encoded in a thread beside the event loop
VERDICTS = {
    1: Verdict.APPENDED,
    0: Verdict.DUPLICATE,
    -1: Verdict.FENCED,
    -2: Verdict.GONE,
    -3: Verdict.ENDED,
    -4: Verdict.GAP,
}
ANSWER_VALUES = 9  # of the read script, for a response that is known
MOST_INDEXED = 1000  # items of a response that are found by their ids: more block the store
PAGE_ENTRIES = 256  # log entries of a page, at most
FIRST_PAGE_ENTRIES = 16  # of a reader's first page: each may decompress to 64 KiB
PAGE_BYTES = PAGE_ENTRIES * ENTRY_BYTES  # a page ends with the entry that exceeds it
LARGE_PAGE_BYTES = 256 * 1024  # after a larger page a reader's next one is small again
ENTRIES = -5  # their place in the answer
# How many times its size an entry of the log is taken to have: a page of usual events is decoded at
# once, and what zlib makes of a few kilobytes is 16 MiB at most.
ENTRY_EXPANSION = 16
EXPANSION = 64  # how many times its size a value is taken to have decompressed
END_OF_LOG = 2**52  # a cursor beyond every log: the page has no events from the log


# Append


async def append_call(
    write: Write, worker: str, times: Times, codec: Codec, day: str = ""
) -> ScriptCall:
    """The one call that makes a write, the end of the response included.

    ``day`` is the UTC day on which its booking counts.
    """
    values = HEAVY if len(write.events) > MANY_EVENTS else 0
    size = sum([len(event.text) for event in write.events])
    size += record_size(write.record) if write.record else 0
    call = partial(_append_call, write, worker, times, codec, day)
    return await aside(call, values=values, size=size)


def index_calls(write: Write, ttl_ms: int) -> list[ScriptCall]:
    """The calls that let ``find_item`` find the response."""
    ids = write.final_item_ids[:MOST_INDEXED]
    keys = [item_key(item_id, write.owner) for item_id in ids]
    return [ScriptCall(INDEX, (key,), (write.lease.id, ttl_ms)) for key in keys]


def forget_calls(
    response_id: str, item_ids: Sequence[str], names: Iterable[str]
) -> list[ScriptCall]:
    """The calls after which ``find_item`` does not find the response."""
    keys = [item_key(item_id, name) for item_id in item_ids[:MOST_INDEXED] for name in names]
    return [ScriptCall(INDEX, (key,), (response_id, "")) for key in keys]


def decode_receipt(answer: Any) -> Receipt:
    """The receipt that the append script's answer means; a refusal of the server is ``FENCED``."""
    if isinstance(answer, ResponseError):
        # A key that something else has overwritten: this response cannot be written any more.
        log.error("append_refused reason=%s", answer)
        return Receipt(Verdict.FENCED)
    code, last, cancelled, followed = answer
    return Receipt(VERDICTS[code], last, bool(cancelled), bool(followed))


def _append_call(write: Write, worker: str, times: Times, codec: Codec, day: str) -> ScriptCall:
    lease_ms, running_ms, ttl_ms = times
    events, lease, keys = write.events, write.lease, keys_of(write.lease.id)
    side_data = write.final_side_data
    final = events[-1] if events and events[-1].is_terminal else None
    entries = encode_entries(events[:-1] if final else events, codec, keys.events)
    ledger_keys, booked = booking_of(write, day)
    return ScriptCall(
        APPEND,
        (keys.meta, keys.events, keys.final, keys.input, keys.leases, *ledger_keys),
        (
            *(lease.id, worker, lease.fence),
            *(events[0].number if events else 0, events[-1].number if events else -1),
            *(lease_ms, ttl_ms if final else running_ms),
            *(_status(final), codec.encode(final.text, keys.final) if final else ""),
            *(_flag(_has_output(events)), _flag(write.has_gap)),
            *(write.upstream_id, CHANNEL_PREFIX),
            encode_record(write.record, codec, keys.input) if write.record else "",
            encode_side_data(side_data, codec, keys.side) if side_data else "",
            *(len(booked), *booked),
            *(part for entry in entries for part in entry),
        ),
    )


def _status(final: Event | None) -> str:
    return str(final.json()["response"]["status"]) if final else ""


def _has_output(events: Sequence[Event]) -> bool:
    return any(event.type not in LIFECYCLE for event in events)


def _flag(value: bool) -> str:
    return "1" if value else ""


# Read


@dataclass(frozen=True, slots=True)
class Cursor:
    """A reader's position in a response's log."""

    id: str
    owner: str
    after: int  # the last number that the reader has; -1: none
    max_entries: int = PAGE_ENTRIES  # of the next page

    def advance(self, events: Sequence[Event]) -> Cursor:
        """The position after these events.

        The next page is twice as large after a small one, and small after a large one: many slow
        readers hold a page each.
        """
        size = sum(len(event.text) for event in events)
        grown = min(2 * self.max_entries, PAGE_ENTRIES)
        max_entries = grown if size < LARGE_PAGE_BYTES else FIRST_PAGE_ENTRIES
        return Cursor(self.id, self.owner, events[-1].number, max_entries)


@dataclass(frozen=True, slots=True)
class ResponsePage:
    """What a response has after a cursor, all of one instant."""

    cursor: Cursor
    events: Sequence[Event]
    last_number: int  # of the log
    is_last: bool  # the response has ended, and no event comes after `events`
    is_taken_over: bool = (
        False  # a successor writes it: readers may have seen more than the log has
    )
    is_complete: bool = True  # the log has no more events now
    is_overdue: bool = False
    record: Record | None = None
    final: Event | None = None  # the terminal event, wherever the cursor is
    final_response: Json | None = None  # a copy: the reader's own
    side_data: Json | None = None  # where it was asked for

    def final_snapshot(self) -> Snapshot | None:
        """The snapshot of a response that has ended; None if it runs, or without its record."""
        if self.final is None or self.record is None or self.final_response is None:
            return None
        number, side_data = self.final.number, self.side_data
        return Snapshot(self.record, self.final_response, number, side_data=side_data)


def read_call(
    cursor: Cursor, owners: Owners, *, with_record: bool, with_side_data: bool = False
) -> ScriptCall:
    """The call that reads what comes after a cursor.

    ``with_record`` is for a snapshot: the page has the record, and no log of an ended response.
    ``with_side_data`` is for a chain.
    """
    keys, after = keys_of(cursor.id), max(-1, min(cursor.after, END_OF_LOG))
    names = " ".join(owners.names(cursor.owner))
    flags = _flag(with_record), _flag(with_side_data)
    arguments = (names, after, cursor.max_entries, *flags)
    return ScriptCall(READ, (keys.meta, keys.events, keys.final, keys.input), arguments)


def decode_pages(
    cursors: Sequence[Cursor], answers: Sequence[Any], codec: Codec, owners: Owners
) -> list[ResponsePage | None]:
    """Each answer as ``decode_page`` reads it."""
    pairs = zip(cursors, answers, strict=True)
    return [decode_page(cursor, answer, codec, owners) for cursor, answer in pairs]


def decoded_size(answers: Sequence[Any]) -> int:
    """About how many bytes all values of these answers have when decompressed."""
    known = [answer for answer in answers if isinstance(answer, list) and answer]
    parts = (part for answer in known for part in answer[-3:])
    size = EXPANSION * sum(len(part) for part in parts if isinstance(part, bytes))
    entries = (
        entry for answer in known if isinstance(answer[ENTRIES], list) for entry in answer[ENTRIES]
    )
    return size + ENTRY_EXPANSION * sum(len(value) for _, fields in entries for value in fields)


def decode_page(cursor: Cursor, answer: Any, codec: Codec, owners: Owners) -> ResponsePage | None:
    """The page that the read script's answer means; None if the response is unknown.

    A response with a value that cannot be decoded is unknown too, with one log line. Raises
    ``StoreUnavailable`` if the server refused the call.
    """
    try:
        return _decode_page(cursor, answer, codec, owners)
    except Unreadable as unreadable:
        log.error("read_broken id=%s reason=%s", cursor.id, unreadable)  # noqa: TRY400 - the reason is enough
        return None


def _decode_page(cursor: Cursor, answer: Any, codec: Codec, owners: Owners) -> ResponsePage | None:
    if answer is None:
        return None
    if isinstance(answer, ResponseError):
        if str(answer).startswith("WRONGTYPE"):
            raise Unreadable("type of a key")
        log.error("read_refused reason=%s", answer)
        raise StoreUnavailable
    if (
        len(answer) != ANSWER_VALUES
    ):  # Redis ends an answer at the first nil: the hash has no number
        raise Unreadable("meta")
    status, number, overdue, taken_over, entries, makers, end, stored, side = answer
    if status != b"in_progress" and not end:
        raise Unreadable("final event")
    keys = keys_of(cursor.id)
    payloads = [_payload(fields) for _, fields in entries]
    events, is_whole = _decode_events(payloads, codec, keys.events)
    events = [event for event in events if event.number > cursor.after]
    final, response = decode_final(end, codec, keys.final) if end else (None, None)
    is_complete = is_whole and len(entries) < cursor.max_entries
    is_last = status != b"in_progress" and is_complete
    # A reader may have seen more than the log of a server that died: it gets the end in any case.
    if is_last and final is not None and (final.number > cursor.after or taken_over):
        events.append(final)
    record = decode_record(stored, codec, keys.input) if stored else None
    if record is not None:
        owner, made = owners.current_name(record.owner), decode_makers(makers, codec, keys.makers)
        record = replace(record, owner=owner, input_makers=made)
    return ResponsePage(
        cursor=cursor,
        events=events,
        last_number=number,
        is_last=is_last,
        is_taken_over=bool(taken_over),
        is_complete=is_complete,
        is_overdue=bool(overdue),
        record=record,
        final=final,
        final_response=response,
        side_data=_decode_side_data(side, codec, cursor.id) if side else None,
    )


def _decode_side_data(value: bytes, codec: Codec, response_id: str) -> Json | None:
    """The side data; None if it cannot be decoded: the turn is told by its items then."""
    try:
        return decode_side_data(value, codec, keys_of(response_id).side)
    except Unreadable as unreadable:
        log.error("side_data_broken id=%s reason=%s", response_id, unreadable)  # noqa: TRY400 - as above
        return None


def _payload(fields: Sequence[bytes]) -> bytes:
    """The value of a log entry's field ``e``; other fields are a newer release's."""
    for name, value in zip(fields[::2], fields[1::2], strict=False):
        if name == b"e":
            return value
    raise Unreadable("log entry")


def _decode_events(payloads: Sequence[bytes], codec: Codec, key: str) -> tuple[list[Event], bool]:
    """The events of whole entries until they exceed ``PAGE_BYTES``, and whether they are all."""
    events: list[Event] = []
    size = 0
    for payload in payloads:
        if size > PAGE_BYTES:
            return events, False
        entry = decode_entry(payload, codec, key)
        size += sum(len(event.text) for event in entry)
        events += entry
    return events, True
