"""What the read script answers, as values."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from ws_bridge.errors import StoreUnavailable
from ws_bridge.protocol.events import Event
from ws_bridge.store.base import Record, Snapshot
from ws_bridge.store.following import Cursor
from ws_bridge.store.packing import unpack, unpack_entry, unpack_record

log = logging.getLogger(__name__)

MOST_ENTRIES = 256  # of a page
# What becomes of a key that something else has written.
BROKEN = (zlib.error, ValueError, TypeError, LookupError)
ALL = 2**52  # a cursor beyond every log: only what is not in the log is wanted


@dataclass(frozen=True, slots=True)
class View:
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

    @staticmethod
    def arguments(cursor: Cursor, *, with_record: bool) -> tuple[str | int, ...]:
        """What the script wants to know."""
        after = max(-1, min(cursor.after, ALL))
        return cursor.owner, after, MOST_ENTRIES, "1" if with_record else ""

    def finished(self) -> Snapshot | None:
        """The snapshot, if the response has ended."""
        if self.final is None or self.record is None:
            return None
        return Snapshot(self.record, self.final.json()["response"], self.final.number)


def view_of(cursor: Cursor, answer: Any) -> View | None:
    """The script's answer. What others broke is unknown, and holds up nothing else.

    Raises ``StoreUnavailable`` for a refusal.
    """
    try:
        return _view(cursor, answer)
    except BROKEN as broken:
        log.error("read_broken id=%s reason=%s", cursor.id, type(broken).__name__)  # noqa: TRY400 - the reason is all there is
        return None


def _view(cursor: Cursor, answer: Any) -> View | None:
    if answer is None:
        return None
    if isinstance(answer, ResponseError):
        if str(answer).startswith("WRONGTYPE"):
            raise TypeError
        log.error("read_refused reason=%s", answer)
        raise StoreUnavailable
    status, number, overdue, taken, entries, last, record = answer
    if status != b"in_progress" and not last:
        raise ValueError
    events = [event for _, fields in entries for event in unpack_entry(fields[1])]
    events = [event for event in events if event.number > cursor.after]
    final = Event.parse(unpack(last)) if last else None
    is_complete = len(entries) < MOST_ENTRIES
    is_last = status != b"in_progress" and is_complete
    # A reader may have seen more than the log of a server that died: the end is told in any case.
    if is_last and final is not None and (final.number > cursor.after or taken):
        events.append(final)
    return View(
        cursor=cursor,
        events=events,
        final=final,
        record=unpack_record(record) if record else None,
        is_overdue=bool(overdue),
        is_complete=is_complete,
        is_last=is_last,
        last=number,
        is_taken=bool(taken),
    )
