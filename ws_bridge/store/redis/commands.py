"""A ``Write`` → the call of the append script, and its answer → a ``Receipt``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from redis.exceptions import ResponseError

from ws_bridge.pacing import HEAVY, aside
from ws_bridge.protocol.events import LIFECYCLE, Event
from ws_bridge.store.base import Receipt, Verdict, Write
from ws_bridge.store.redis.codec import Codec, bulk_of, pack_entries, pack_record
from ws_bridge.store.redis.keys import CHANNELS, keys_of
from ws_bridge.store.redis.scripts import APPEND, ScriptCall

log = logging.getLogger(__name__)

Times = tuple[int, int, int]  # of a lease, of a running response, of a finished one: in ms
LARGE = 1000  # events: more are packed beside the event loop
VERDICTS = {
    1: Verdict.APPENDED,
    0: Verdict.DUPLICATE,
    -1: Verdict.FENCED,
    -2: Verdict.GONE,
    -3: Verdict.ENDED,
    -4: Verdict.GAP,
}


async def append_call(write: Write, worker: str, times: Times, codec: Codec) -> ScriptCall:
    """The call that does it all in one step, the end included."""
    values = HEAVY if len(write.events) > LARGE else 0
    size = sum([len(event.text) for event in write.events])
    size += bulk_of(write.record) if write.record else 0
    return await aside(partial(_call, write, worker, times, codec), values=values, size=size)


def receipt_of(answer: Any) -> Receipt:
    """The script's answer."""
    if isinstance(answer, ResponseError):
        # A key that something else has overwritten: this response cannot be written any more.
        log.error("append_refused reason=%s", answer)
        return Receipt(Verdict.FENCED)
    code, last, cancel, followed = answer
    return Receipt(VERDICTS[code], last, bool(cancel), bool(followed))


def _call(write: Write, worker: str, times: Times, codec: Codec) -> ScriptCall:
    lease_ms, running_ms, ttl_ms = times
    events, lease, keys = write.events, write.lease, keys_of(write.lease.id)
    final = events[-1] if events and events[-1].is_terminal else None
    entries = pack_entries(events[:-1] if final else events, codec, keys.events)
    return ScriptCall(
        APPEND,
        (keys.meta, keys.events, keys.final, keys.input, keys.leases),
        (
            *(lease.id, worker, lease.fence),
            *(events[0].number if events else 0, events[-1].number if events else -1),
            *(lease_ms, ttl_ms if final else running_ms),
            *(_status(final), codec.pack(final.text, keys.final) if final else ""),
            *(_flag(_has_output(events)), _flag(write.has_gap)),
            *(write.upstream_id, CHANNELS),
            pack_record(write.record, codec, keys.input) if write.record else "",
            *(part for entry in entries for part in entry),
        ),
    )


def _status(final: Event | None) -> str:
    return str(final.json()["response"]["status"]) if final else ""


def _has_output(events: Sequence[Event]) -> bool:
    return any(event.type not in LIFECYCLE for event in events)


def _flag(value: bool) -> str:
    return "1" if value else ""
