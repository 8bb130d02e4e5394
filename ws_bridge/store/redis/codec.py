"""Records and events ↔ the bytes that Redis keeps.

Rule 1: what was encoded decodes to the same bytes: readers get what the socket got.
Rule 2: a small value is not compressed: it would cost more than it saves.
Rule 3: stored data outlives the code. Fields of a newer release are kept and ignored, and missing
ones have their default. Every other value that cannot be decoded raises ``Unreadable``, and no
other error.
Rule 4: no value decompresses to more than a server could have written.
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
from ws_bridge.protocol.side_data import is_side_data
from ws_bridge.store.base import Record, Unreadable
from ws_bridge.store.redis.cipher import Cipher
from ws_bridge.types import Json

SMALL = 512  # bytes
ENTRY_EVENTS = 128  # of a log entry, at most
ENTRY_BYTES = 64 * 1024  # of a log entry's events, at most, unless it is one event
RAW, ZLIB, ENCRYPTED = b"r", b"z", b"s"  # the first byte of a value: the form of the rest
MAX_VALUE_BYTES = 129 * 2**20  # of a value, decompressed
# The fields of a record's value and their types; those with a default may be missing.
RECORD_FIELDS: dict[str, tuple[type, ...]] = {
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
TUPLES = ("input", "ancestors")
LATER = ("input_makers", "key_name", "entry")  # they have values of their own


@dataclass(frozen=True, slots=True)
class Codec:
    """The form of stored values: compressed if they are large, encrypted if the operator wants it.

    ``key`` is the value's key in the store: an encrypted value is bound to it. ``max_bytes`` bounds
    what a value decompresses to.
    """

    cipher: Cipher = field(default_factory=Cipher)
    max_bytes: int = MAX_VALUE_BYTES

    def encode(self, plain: bytes, key: str = "") -> bytes:
        """The value to store."""
        value = compress(plain)
        encrypts = self.cipher.encrypts
        return ENCRYPTED + self.cipher.encrypt(value, key) if encrypts else value

    def decode(self, value: bytes, key: str = "") -> bytes:
        """The bytes that were encoded. Raises ``Unreadable``."""
        if value[:1] == ENCRYPTED:
            value = self.cipher.decrypt(value[1:], key)
        return decompress(value, self.max_bytes)


CODEC = Codec()


def compress(plain: bytes) -> bytes:
    """The bytes with their form in front, compressed unless they are small."""
    return RAW + plain if len(plain) < SMALL else ZLIB + zlib.compress(plain, 1)


def decompress(value: bytes, max_bytes: int = MAX_VALUE_BYTES) -> bytes:
    """The bytes that were compressed. Raises ``Unreadable``, also for more than ``max_bytes``."""
    if value[:1] == RAW:
        return value[1:]
    decompressor = zlib.decompressobj()
    try:
        plain = decompressor.decompress(value[1:], max_bytes + 1)
    except zlib.error:
        raise Unreadable("bytes") from None
    if len(plain) > max_bytes:
        raise Unreadable("size")
    if not decompressor.eof:
        raise Unreadable("bytes")
    return plain


def decode_json(value: bytes, codec: Codec = CODEC, key: str = "") -> Any:
    """The JSON value that was encoded. Raises ``Unreadable``."""
    return parse_json(codec.decode(value, key))


def parse_json(text: bytes) -> Any:
    """The value of a stored JSON text. Raises ``Unreadable``."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Unreadable("json") from None


def encode_entries(
    events: Sequence[Event], codec: Codec = CODEC, key: str = ""
) -> Iterator[tuple[int, bytes]]:
    """Log entries: the last number of each and its payload, one event a line."""
    for group in _groups(events):
        yield group[-1].number, codec.encode(b"\n".join([event.text for event in group]), key)


def decode_entry(payload: bytes, codec: Codec = CODEC, key: str = "") -> list[Event]:
    """The events of one log entry. Raises ``Unreadable``."""
    lines = codec.decode(payload, key).split(b"\n")
    return [_event(parse_json(line), line) for line in lines]


def decode_final(value: bytes, codec: Codec = CODEC, key: str = "") -> tuple[Event, Json]:
    """The terminal event and its response, a copy with an ``output``. Raises ``Unreadable``."""
    text = codec.decode(value, key)
    fields = parse_json(text)
    event = _event(fields, text)
    response = fields.get("response")
    if not isinstance(response, dict) or not isinstance(response.setdefault("output", []), list):
        raise Unreadable("final event")
    return event, response


def encode_side_data(side_data: Json, codec: Codec = CODEC, key: str = "") -> bytes:
    """Side data as one value."""
    return codec.encode(orjson.dumps(side_data), key)


def decode_side_data(value: bytes, codec: Codec = CODEC, key: str = "") -> Json:
    """The side data that was encoded. Raises ``Unreadable``."""
    side_data: Json = decode_json(value, codec, key)
    if not is_side_data(side_data):
        raise Unreadable("side data")
    return side_data


def record_size(record: Record) -> int:
    """About how many characters a record's input has; ``HEAVY_BYTES`` if it has many items."""
    if len(record.input) >= HEAVY:
        return HEAVY_BYTES
    values = (value for item in record.input for value in item.values())
    lists = ([value] if isinstance(value, str) else _texts(value) for value in values)
    return sum(len(text) for texts in lists for text in texts)


def _texts(value: Any) -> list[str]:
    parts = value if isinstance(value, list) else ()
    inner = (each for part in parts if isinstance(part, dict) for each in part.values())
    return [each for each in inner if isinstance(each, str)]


def encode_record(record: Record, codec: Codec = CODEC, key: str = "") -> bytes:
    """A record as one value, with the fields that a newer release has written into it.

    It is without what a release before would refuse the value for: the makers of its input, and
    who pays for it.
    """
    known = {one.name: getattr(record, one.name) for one in fields_of(record)}  # no item is copied
    unknown = known.pop("unknown")
    for name in LATER:
        del known[name]
    return codec.encode(orjson.dumps(known | unknown), key)


def decode_record(value: bytes, codec: Codec = CODEC, key: str = "") -> Record:
    """The record that was encoded. Raises ``Unreadable``."""
    fields = decode_json(value, codec, key)
    if not isinstance(fields, dict):
        raise Unreadable("record")
    known = {name: fields.pop(name) for name in RECORD_FIELDS if name in fields}
    if not all(isinstance(value, RECORD_FIELDS[name]) for name, value in known.items()):
        raise Unreadable("record")
    known |= {name: tuple(known[name]) for name in TUPLES if name in known}
    try:
        record = Record(**known, unknown=fields)
    except TypeError:  # a field is missing that has no default
        raise Unreadable("record") from None
    if not all(isinstance(item, dict) for item in record.input):
        raise Unreadable("record")
    if not all(isinstance(one, str) for one in record.ancestors):
        raise Unreadable("record")
    return record


def encode_makers(record: Record, codec: Codec = CODEC, key: str = "") -> bytes:
    """Who made the items of its input, as one value; b"" where the client wrote them all."""
    return codec.encode(orjson.dumps(record.input_makers), key) if record.input_makers else b""


def decode_makers(value: bytes, codec: Codec = CODEC, key: str = "") -> tuple[str, ...]:
    """The makers that were encoded. Raises ``Unreadable``."""
    makers = decode_json(value, codec, key) if value else []
    if not isinstance(makers, list) or not all(isinstance(one, str) for one in makers):
        raise Unreadable("makers")
    return tuple(makers)


def encode_payer(record: Record, codec: Codec = CODEC, key: str = "") -> bytes:
    """Under which key's name and which model its usage is booked; b"" where that is not known."""
    payer = [record.key_name, record.entry]
    return codec.encode(orjson.dumps(payer), key) if record.key_name else b""


def decode_payer(value: bytes, codec: Codec = CODEC, key: str = "") -> tuple[str, str]:
    """The key's name and the model that were encoded. Raises ``Unreadable``."""
    match decode_json(value, codec, key) if value else ["", ""]:
        case [str(key_name), str(entry)]:
            return key_name, entry
    raise Unreadable("payer")


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
