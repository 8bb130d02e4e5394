"""Records and events ↔ the bytes that Redis keeps.

Rule 1: packing and unpacking gives the same bytes again: readers get what the socket got.
Rule 2: what is small is kept as it is; compressing it would cost more than it saves.
Rule 3: stored data outlives the code. Fields of a newer release are kept and ignored, missing ones
have their default; all else that cannot be read is ``Unreadable``, and no other error.
Rule 4: nothing unfolds to more than a server could have written.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from dataclasses import fields as fields_of
from types import NoneType
from typing import Any

import orjson

from ws_bridge.pacing import HEAVY, HEAVY_BYTES
from ws_bridge.protocol.events import Event
from ws_bridge.store.base import Record, Unreadable
from ws_bridge.store.redis.cipher import Cipher
from ws_bridge.types import Json

SMALL = 512  # bytes
ENTRY_EVENTS = 128
ENTRY_BYTES = 64 * 1024
RAW, ZLIB, ENCRYPTED = b"r", b"z", b"s"  # the first byte: how the rest is kept
MAX_VALUE_BYTES = 129 * 2**20  # of a value, unfolded
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


@dataclass(frozen=True, slots=True)
class Codec:
    """How values are kept: compressed if it is worth it, encrypted if the operator wants it.

    ``key`` is the key in the store that a value is kept under.
    """

    cipher: Cipher = field(default_factory=Cipher)
    max_bytes: int = MAX_VALUE_BYTES

    def pack(self, plain: bytes, key: str = "") -> bytes:
        """The value as it is kept."""
        packed = pack(plain)
        encrypts = self.cipher.encrypts
        return ENCRYPTED + self.cipher.encrypt(packed, key) if encrypts else packed

    def unpack(self, kept: bytes, key: str = "") -> bytes:
        """What was packed. Raises ``Unreadable``."""
        if kept[:1] == ENCRYPTED:
            kept = self.cipher.decrypt(kept[1:], key)
        return unpack(kept, self.max_bytes)


CODEC = Codec()


def pack(plain: bytes) -> bytes:
    """Compress, if it is worth it."""
    return RAW + plain if len(plain) < SMALL else ZLIB + zlib.compress(plain, 1)


def unpack(packed: bytes, max_bytes: int = MAX_VALUE_BYTES) -> bytes:
    """What was packed. Raises ``Unreadable``, also for what unfolds to more than the bound."""
    if packed[:1] == RAW:
        return packed[1:]
    unfold = zlib.decompressobj()
    try:
        plain = unfold.decompress(packed[1:], max_bytes + 1)
    except zlib.error:
        raise Unreadable("bytes") from None
    if len(plain) > max_bytes:
        raise Unreadable("size")
    if not unfold.eof:
        raise Unreadable("bytes")
    return plain


def unpack_json(packed: bytes, codec: Codec = CODEC, key: str = "") -> Any:
    """The value whose JSON was packed. Raises ``Unreadable``."""
    return parse_json(codec.unpack(packed, key))


def parse_json(text: bytes) -> Any:
    """The value of a stored JSON text. Raises ``Unreadable``."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Unreadable("json") from None


def pack_entries(
    events: Sequence[Event], codec: Codec = CODEC, key: str = ""
) -> Iterator[tuple[int, bytes]]:
    """Log entries: the last number of each and its payload, one event a line."""
    for group in _groups(events):
        yield group[-1].number, codec.pack(b"\n".join([event.text for event in group]), key)


def unpack_entry(payload: bytes, codec: Codec = CODEC, key: str = "") -> list[Event]:
    """The events of one entry. Raises ``Unreadable``."""
    lines = codec.unpack(payload, key).split(b"\n")
    return [_event(parse_json(line), line) for line in lines]


def unpack_final(packed: bytes, codec: Codec = CODEC, key: str = "") -> tuple[Event, Json]:
    """The terminal event and its response, a copy with an output. Raises ``Unreadable``."""
    text = codec.unpack(packed, key)
    fields = parse_json(text)
    event = _event(fields, text)
    response = fields.get("response")
    if not isinstance(response, dict) or not isinstance(response.setdefault("output", []), list):
        raise Unreadable("final event")
    return event, response


def bulk_of(record: Record) -> int:
    """About how many characters its input has; of many items it is enough to know that."""
    if len(record.input) >= HEAVY:
        return HEAVY_BYTES
    values = (value for item in record.input for value in item.values())
    lists = ([value] if isinstance(value, str) else _texts(value) for value in values)
    return sum(len(text) for texts in lists for text in texts)


def _texts(value: Any) -> list[str]:
    parts = value if isinstance(value, list) else ()
    inner = (each for part in parts if isinstance(part, dict) for each in part.values())
    return [each for each in inner if isinstance(each, str)]


def pack_record(record: Record, codec: Codec = CODEC, key: str = "") -> bytes:
    """A record as one string, with what a newer release had written into it."""
    known = {one.name: getattr(record, one.name) for one in fields_of(record)}  # no item is copied
    unknown = known.pop("unknown")
    return codec.pack(orjson.dumps(known | unknown), key)


def unpack_record(packed: bytes, codec: Codec = CODEC, key: str = "") -> Record:
    """The record as it was. Raises ``Unreadable``."""
    fields = unpack_json(packed, codec, key)
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
