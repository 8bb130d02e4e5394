"""The names of keys, partitions and channels in Redis.

A hash tag is a partition, not an id: a response's keys and its partition's lease index share a slot
on a cluster, so that each script is atomic over them.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from dataclasses import dataclass

PREFIX = "wb1"  # an operator may put one of his own before it, where a name is sent: `Scripts`


class ChannelPrefix(str):
    """The beginning of a channel's name, as an argument of a script."""

    __slots__ = ()


CHANNEL_PREFIX = ChannelPrefix(f"{PREFIX}:w:")  # and a worker's name: that worker's hints
PARTITIONS = 128
ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


@dataclass(frozen=True, slots=True)
class ResponseKeys:
    """The keys of one response."""

    meta: str
    events: str
    final: str
    input: str
    leases: str

    @property
    def side(self) -> str:
        """What the side data, a field of the meta hash, is bound to when it is encrypted."""
        return f"{self.meta}:side"

    @property
    def makers(self) -> str:
        """The same for who made the items of its input, another field."""
        return f"{self.meta}:im"

    @property
    def payer(self) -> str:
        """The same for the key's name and the model that its usage is booked to, another field."""
        return f"{self.meta}:pa"


def is_id(text: str) -> bool:
    """Whether it may be an id; nothing else becomes a part of a key."""
    return ID.fullmatch(text) is not None


def partition_of(response_id: str) -> int:
    """The partition that keeps a response."""
    return zlib.crc32(response_id.encode()) % PARTITIONS


def keys_of(response_id: str) -> ResponseKeys:
    """The keys of a response."""
    tag = _tag(partition_of(response_id))
    return ResponseKeys(
        meta=f"{tag}:m:{response_id}",
        events=f"{tag}:e:{response_id}",
        final=f"{tag}:o:{response_id}",
        input=f"{tag}:i:{response_id}",
        leases=f"{tag}:l",
    )


def item_key(item_id: str, owner: str) -> str:
    """The key of an item of an owner's; a provider may have named it in any way."""
    digest = hashlib.sha256(f"{owner} {item_id}".encode(errors="replace")).hexdigest()[:48]
    return f"{_tag(partition_of(digest))}:x:{digest}"


def idempotency_key(key: str, owner: str) -> str:
    """The key of an idempotency key of an owner's, which a client may have named in any way."""
    digest = hashlib.sha256(f"{owner} {key}".encode()).hexdigest()[:48]
    return f"{_tag(partition_of(digest))}:ik:{digest}"


def counter_key(limit: str, key: str) -> str:
    """The key of what all processes take of one limit of a client key."""
    digest = hashlib.sha256(f"{limit} {key}".encode(errors="replace")).hexdigest()[:48]
    return f"{_tag(partition_of(digest))}:q:{digest}"


def conversation_keys(conversation_id: str) -> tuple[str, str, str]:
    """The keys of a conversation: its meta, its items and their index."""
    tag = _tag(partition_of(conversation_id))
    meta, items, index = (f"{tag}:{kind}:{conversation_id}" for kind in ("c", "ci", "cx"))
    return meta, items, index


def usage_key(partition: int, day: str, name: str) -> str:
    """The key of a partition's part of what a key's name used on a day."""
    return f"{_tag(partition)}:u:{day}:{name}"


def spent_key(partition: int, day: str) -> str:
    """The key of a partition's part of what a day cost, by the keys' names."""
    return f"{_tag(partition)}:us:{day}"


def day_sum_key(day: str) -> str:
    """The key of what was used on a day that is over, by the keys' names."""
    return f"{_tag(partition_of(day))}:ud:{day}"


def booked_key(worker: str) -> str:
    """The key of the number of the last bookings that a worker made by themselves."""
    return f"{_tag(partition_of(worker))}:ub:{worker}"


def lease_index(partition: int) -> str:
    """The lease index of a partition."""
    return f"{_tag(partition)}:l"


def lease_indexes() -> list[str]:
    """The lease index of every partition, in their order."""
    return [lease_index(partition) for partition in range(PARTITIONS)]


def meta_prefix(partition: int) -> str:
    """The meta keys of a partition's responses without their ids."""
    return f"{_tag(partition)}:m:"


def _tag(partition: int) -> str:
    return f"{PREFIX}:{{p{partition}}}"
