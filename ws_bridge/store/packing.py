"""Records and events ↔ the bytes that Redis keeps.

Rule 1: packing and unpacking gives the same bytes again: readers get what the socket got.
Rule 2: what is small is kept as it is; compressing it would cost more than it saves.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict

import orjson

from ws_bridge.protocol.events import Event
from ws_bridge.store.base import Record

SMALL = 512  # bytes
ENTRY_EVENTS = 128
ENTRY_BYTES = 64 * 1024
RAW, ZLIB = b"r", b"z"


def pack(plain: bytes) -> bytes:
    """Compress, if it is worth it."""
    return RAW + plain if len(plain) < SMALL else ZLIB + zlib.compress(plain, 1)


def unpack(packed: bytes) -> bytes:
    """What was packed."""
    return packed[1:] if packed[:1] == RAW else zlib.decompress(packed[1:])


def pack_entries(events: Sequence[Event]) -> Iterator[tuple[int, bytes]]:
    """Log entries: the last number of each and its payload, one event a line."""
    for group in _groups(events):
        yield group[-1].number, pack(b"\n".join([event.text for event in group]))


def unpack_entry(payload: bytes) -> list[Event]:
    """The events of one entry."""
    return [Event.parse(line) for line in unpack(payload).split(b"\n")]


def pack_record(record: Record) -> bytes:
    """A record as one string."""
    return pack(orjson.dumps(asdict(record)))


def unpack_record(packed: bytes) -> Record:
    """The record as it was."""
    fields = orjson.loads(unpack(packed))
    return Record(
        **fields | {"input": tuple(fields["input"]), "ancestors": tuple(fields["ancestors"])}
    )


def _groups(events: Iterable[Event]) -> Iterator[list[Event]]:
    group: list[Event] = []
    size = 0
    for event in events:
        if group and (len(group) == ENTRY_EVENTS or size + len(event.text) > ENTRY_BYTES):
            yield group
            group, size = [], 0
        group.append(event)
        size += len(event.text)
    if group:
        yield group
