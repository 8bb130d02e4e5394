"""Where Redis keeps what: keys, partitions, channels.

A hash tag is a partition, not an id: a response's keys and its partition's lease index share a slot
on a cluster, so that each script is atomic over them.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

PREFIX = "wb1"
PARTITIONS = 128
ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one response."""

    meta: str
    events: str
    final: str
    input: str
    leases: str


def is_id(text: str) -> bool:
    """Whether it can be the id of anything; nothing else becomes a part of a key."""
    return ID.fullmatch(text) is not None


def partition_of(response_id: str) -> int:
    """Which partition keeps a response."""
    return zlib.crc32(response_id.encode()) % PARTITIONS


def keys_of(response_id: str) -> Keys:
    """The keys of a response."""
    tag = f"{PREFIX}:{{p{partition_of(response_id)}}}"
    return Keys(
        meta=f"{tag}:m:{response_id}",
        events=f"{tag}:e:{response_id}",
        final=f"{tag}:o:{response_id}",
        input=f"{tag}:i:{response_id}",
        leases=f"{tag}:l",
    )


def lease_index(partition: int) -> str:
    """The lease index of a partition."""
    return f"{PREFIX}:{{p{partition}}}:l"


def lease_indexes() -> list[str]:
    """The lease index of every partition."""
    return [lease_index(partition) for partition in range(PARTITIONS)]


def metas(partition: int) -> str:
    """What the record keys of a partition's responses begin with; their ids follow."""
    return f"{PREFIX}:{{p{partition}}}:m:"


CHANNELS = f"{PREFIX}:w:"  # and a worker's name: what that worker is to know
