"""What the read script answers, as values."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from redis.exceptions import ResponseError

from ws_bridge.errors import StoreUnavailable
from ws_bridge.protocol.events import Event
from ws_bridge.store.base import Owners, Record, Snapshot, Unreadable
from ws_bridge.store.redis.codec import (
    ENTRY_BYTES,
    Codec,
    unpack_entry,
    unpack_final,
    unpack_record,
)
from ws_bridge.store.redis.keys import keys_of
from ws_bridge.store.redis.scripts import READ, ScriptCall
from ws_bridge.store.redis.subscriptions import MOST_ENTRIES, Cursor
from ws_bridge.types import Json

log = logging.getLogger(__name__)

ANSWERED = 7  # values, of a response that is there
PAGE_BYTES = MOST_ENTRIES * ENTRY_BYTES  # a page ends with the entry that exceeds it
UNFOLDS = 64  # what most repeats itself becomes even more
ALL = 2**52  # a cursor beyond every log: only what is not in the log is wanted


@dataclass(frozen=True, slots=True)
class ResponsePage:
    """A response after a cursor, all of one instant."""

    cursor: Cursor
    events: Sequence[Event]
    final: Event | None  # the terminal event, wherever the cursor is
    record: Record | None
    is_overdue: bool
    is_complete: bool  # these are all events there are now
    is_last: bool  # nothing comes after `events`
    last: int  # the log's last number
    is_taken: bool  # a successor writes it
    response: Json | None = None  # the final one, a copy

    def finished(self) -> Snapshot | None:
        """The snapshot, if the response has ended."""
        if self.final is None or self.record is None or self.response is None:
            return None
        return Snapshot(self.record, self.response, self.final.number)


def read_call(cursor: Cursor, owners: Owners, *, with_record: bool) -> ScriptCall:
    """The call that reads what comes after a cursor."""
    keys, after = keys_of(cursor.id), max(-1, min(cursor.after, ALL))
    wanted = (" ".join(owners.names(cursor.owner)), after, cursor.most, "1" if with_record else "")
    return ScriptCall(READ, (keys.meta, keys.events, keys.final, keys.input), wanted)


def views_of(
    cursors: Sequence[Cursor], answers: Sequence[Any], codec: Codec, owners: Owners
) -> list[ResponsePage | None]:
    """Each answer as ``view_of`` reads it."""
    pairs = zip(cursors, answers, strict=True)
    return [view_of(cursor, answer, codec, owners) for cursor, answer in pairs]


def unfolds_to(answers: Sequence[Any]) -> int:
    """About how many bytes their ends and records may become: they are packed."""
    parts = (part for answer in answers if isinstance(answer, list) for part in answer[-2:])
    return UNFOLDS * sum(len(part) for part in parts if isinstance(part, bytes))


def view_of(cursor: Cursor, answer: Any, codec: Codec, owners: Owners) -> ResponsePage | None:
    """The script's answer. What cannot be read is unknown, and holds up nothing else.

    Raises ``StoreUnavailable`` for a refusal.
    """
    try:
        return _view(cursor, answer, codec, owners)
    except Unreadable as unreadable:
        log.error("read_broken id=%s reason=%s", cursor.id, unreadable)  # noqa: TRY400 - the reason is all there is
        return None


def _view(cursor: Cursor, answer: Any, codec: Codec, owners: Owners) -> ResponsePage | None:
    if answer is None:
        return None
    if isinstance(answer, ResponseError):
        if str(answer).startswith("WRONGTYPE"):
            raise Unreadable("type of a key")
        log.error("read_refused reason=%s", answer)
        raise StoreUnavailable
    if len(answer) != ANSWERED:  # the script's answer ends where the hash has no number
        raise Unreadable("meta")
    status, number, overdue, taken, entries, last, record = answer
    if status != b"in_progress" and not last:
        raise Unreadable("final event")
    keys = keys_of(cursor.id)
    payloads = [_payload(fields) for _, fields in entries]
    events, is_whole = _events(payloads, codec, keys.events)
    events = [event for event in events if event.number > cursor.after]
    final, response = unpack_final(last, codec, keys.final) if last else (None, None)
    is_complete = is_whole and len(entries) < cursor.most
    is_last = status != b"in_progress" and is_complete
    # A reader may have seen more than the log of a server that died: the end is told in any case.
    if is_last and final is not None and (final.number > cursor.after or taken):
        events.append(final)
    kept = unpack_record(record, codec, keys.input) if record else None
    return ResponsePage(
        cursor=cursor,
        events=events,
        final=final,
        record=replace(kept, owner=owners.current_name(kept.owner)) if kept else None,
        is_overdue=bool(overdue),
        is_complete=is_complete,
        is_last=is_last,
        last=number,
        is_taken=bool(taken),
        response=response,
    )


def _payload(fields: Sequence[bytes]) -> bytes:
    """The events of a log entry: its field ``e``, whatever else a newer release has put there."""
    for name, value in zip(fields[::2], fields[1::2], strict=False):
        if name == b"e":
            return value
    raise Unreadable("log entry")


def _events(payloads: Sequence[bytes], codec: Codec, key: str) -> tuple[list[Event], bool]:
    """The events of the entries, in whole entries up to the bound; whether they are all."""
    events: list[Event] = []
    size = 0
    for payload in payloads:
        if size > PAGE_BYTES:
            return events, False
        entry = unpack_entry(payload, codec, key)
        size += sum(len(event.text) for event in entry)
        events += entry
    return events, True
