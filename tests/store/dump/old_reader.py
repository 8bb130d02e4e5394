"""A FROZEN COPY of how the release of 3c25b44 reads a store. It is never changed.

What today's code writes is read by it, so that servers of both releases can share a store during a
rolling upgrade. It reads Redis as its scripts (`store/lua/`) did, and refuses what it refused.
"""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from typing import Any

import redis

Json = dict[str, Any]

PARTITIONS = 128
RAW = b"r"
MARK = "wsb1."


@dataclass(frozen=True, slots=True)
class Record:
    """`ws_bridge.store.base.Record` as it was."""

    id: str
    owner: str
    input: tuple[Json, ...]
    maker: str
    previous_response_id: str | None = None
    background: bool = False
    ancestors: tuple[str, ...] = ()
    request: Json | None = None
    may_run_again: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """`ws_bridge.protocol.conversation.Entry` as it was."""

    id: str
    item: Json
    maker: str | None = None
    response: str | None = None
    spare: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What it found of one response."""

    meta: dict[str, str]
    record: Record | None
    events: list[bytes]  # the end included
    response: Json | None  # the final one


def unpack(packed: bytes) -> bytes:
    """See `store/redis/codec.py`."""
    return packed[1:] if packed[:1] == RAW else zlib.decompress(packed[1:])


def unpack_record(packed: bytes) -> Record:
    """Raises ``TypeError`` for a field that it does not know."""
    fields = json.loads(unpack(packed))
    return Record(
        **fields | {"input": tuple(fields["input"]), "ancestors": tuple(fields["ancestors"])}
    )


def unpack_entry(payload: bytes) -> list[tuple[str, int, bytes]]:
    """Type, number and text of each event of a log entry."""
    lines = unpack(payload).split(b"\n")
    parsed = [json.loads(line) for line in lines]
    pairs = zip(parsed, lines, strict=True)
    return [(fields["type"], fields["sequence_number"], line) for fields, line in pairs]


def unpack_item(kept: bytes) -> Entry:
    """See `store/shared_conversations.py`."""
    name, _, payload = kept.partition(b"\n")
    return Entry(json.loads(name), *json.loads(unpack(payload)))


def unseal(item: Json) -> str | None:
    """See `protocol/compaction.py`."""
    content = item.get("encrypted_content")
    if item.get("type") != "compaction" or not isinstance(content, str):
        return None
    if not content.startswith(MARK):
        return None
    unpacking = zlib.decompressobj()
    try:
        packed = base64.b64decode(content.removeprefix(MARK), altchars=b"-_", validate=True)
        summary = unpacking.decompress(packed, 1 << 20)
        return summary.decode() if unpacking.eof else None
    except (ValueError, zlib.error):
        return None


def read_response(client: redis.Redis, response_id: str, owner: str) -> Seen | None:
    """As `read.lua` and `store/pages.py` did; None for what is foreign, deleted or unknown."""
    tag = _tag(response_id)
    names = ("ow", "st", "n", "lx", "tk", "f", "wk", "rr", "vi", "up", "cx", "rl")
    values = client.hmget(f"{tag}:m:{response_id}", names)
    meta = {name: one.decode() for name, one in zip(names, values, strict=True) if one is not None}
    if meta.get("ow") != owner or meta["st"] == "deleted":
        return None
    float(meta["lx"])
    events, numbers = [], []
    for _, fields in client.xrange(f"{tag}:e:{response_id}"):
        for _, number, text in unpack_entry(next(iter(fields.values()))):
            numbers.append(number)
            events.append(text)
    response = None
    if meta["st"] != "in_progress":
        end = unpack(client.get(f"{tag}:o:{response_id}"))
        final = json.loads(end)
        numbers.append(final["sequence_number"])
        events.append(end)
        response = final["response"]
        assert isinstance(response["output"], list)
    assert numbers == sorted(numbers)
    assert (numbers or [-1])[-1] == int(meta["n"])
    record = client.get(f"{tag}:i:{response_id}")
    return Seen(meta, unpack_record(record) if record else None, events, response)


def read_conversation(
    client: redis.Redis, conversation_id: str, owner: str
) -> tuple[int, Json, list[Entry]] | None:
    """As `converse.lua` and `store/shared_conversations.py` did."""
    tag = _tag(conversation_id)
    named, created_at, metadata = client.hmget(f"{tag}:c:{conversation_id}", ("ow", "cr", "md"))
    if named is None or named.decode() != owner:
        return None
    kept = client.lrange(f"{tag}:ci:{conversation_id}", 0, -1)
    return int(created_at), json.loads(metadata), [unpack_item(one) for one in kept]


def _tag(key: str) -> str:
    return f"wb1:{{p{zlib.crc32(key.encode()) % PARTITIONS}}}"
