"""Records and events ↔ the bytes that Redis keeps.

Rule 1: packing and unpacking gives the same bytes again: readers get what the socket got.
Rule 2: what is small is kept as it is; compressing it would cost more than it saves.
Rule 3: stored data outlives the code. Fields of a newer release are kept and ignored, missing ones
have their default; all else that cannot be read is ``Unreadable``, and no other error.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from types import NoneType
from typing import Any

import orjson

from ws_bridge.protocol.events import Event
from ws_bridge.store.base import Json, Record

SMALL = 512  # bytes
ENTRY_EVENTS = 128
ENTRY_BYTES = 64 * 1024
RAW, ZLIB = b"r", b"z"
# A record's fields and what each may be; those with a default may be missing.
FORMS: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "owner": (str,),
    "input": (list,),
    "maker": (str,),
    "previous_response_id": (str, NoneType),
    "background": (bool,),
    "ancestors": (list,),
    "request": (dict, NoneType),
    "may_run_again": (bool,),
}


class Unreadable(ValueError):
    """Stored bytes that no release up to this one writes; the message says which, and no content.

    To readers what they belong to is unknown; the store logs one line.
    """


def pack(plain: bytes) -> bytes:
    """Compress, if it is worth it."""
    return RAW + plain if len(plain) < SMALL else ZLIB + zlib.compress(plain, 1)


def unpack(packed: bytes) -> bytes:
    """What was packed. Raises ``Unreadable``."""
    if packed[:1] == RAW:
        return packed[1:]
    try:
        return zlib.decompress(packed[1:])
    except zlib.error:
        raise Unreadable("bytes") from None


def unpack_json(packed: bytes) -> Any:
    """The value whose JSON was packed. Raises ``Unreadable``."""
    return parse_json(unpack(packed))


def parse_json(text: bytes) -> Any:
    """The value of a stored JSON text. Raises ``Unreadable``."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Unreadable("json") from None


def pack_entries(events: Sequence[Event]) -> Iterator[tuple[int, bytes]]:
    """Log entries: the last number of each and its payload, one event a line."""
    for group in _groups(events):
        yield group[-1].number, pack(b"\n".join([event.text for event in group]))


def unpack_entry(payload: bytes) -> list[Event]:
    """The events of one entry. Raises ``Unreadable``."""
    return [_event(parse_json(line), line) for line in unpack(payload).split(b"\n")]


def unpack_final(packed: bytes) -> tuple[Event, Json]:
    """The terminal event and its response, a copy with an output. Raises ``Unreadable``."""
    text = unpack(packed)
    fields = parse_json(text)
    event = _event(fields, text)
    response = fields.get("response")
    if not isinstance(response, dict) or not isinstance(response.setdefault("output", []), list):
        raise Unreadable("final event")
    return event, response


def pack_record(record: Record) -> bytes:
    """A record as one string, with what a newer release had written into it."""
    fields = asdict(record)
    unknown = fields.pop("unknown")
    return pack(orjson.dumps(fields | unknown))


def unpack_record(packed: bytes) -> Record:
    """The record as it was. Raises ``Unreadable``."""
    fields = unpack_json(packed)
    if not isinstance(fields, dict):
        raise Unreadable("record")
    known = {name: fields.pop(name) for name in FORMS if name in fields}
    if not all(isinstance(value, FORMS[name]) for name, value in known.items()):
        raise Unreadable("record")
    known |= {name: tuple(known[name]) for name in ("input", "ancestors") if name in known}
    try:
        record = Record(**known, unknown=fields)
    except TypeError:  # a field is missing that has no default
        raise Unreadable("record") from None
    if not all(isinstance(item, dict) for item in record.input):
        raise Unreadable("record")
    if not all(isinstance(one, str) for one in record.ancestors):
        raise Unreadable("record")
    return record


def _event(fields: Any, text: bytes) -> Event:
    """An event of its parsed text."""
    if isinstance(fields, dict):
        kind, number = fields.get("type"), fields.get("sequence_number")
        if isinstance(kind, str) and type(number) is int:
            return Event(kind, number, text)
    raise Unreadable("event")


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
