"""Idempotency keys in Redis: which response each of an owner's keys stands for.

Rule 1: a key is kept as a digest, and what is said of its create as ``Codec`` keeps all values.
Rule 2: a key is acquired under the owner's current name, and found under every one.
"""

from __future__ import annotations

import logging
from typing import Any

import orjson

from ws_bridge.store.base import KEY_SECONDS, KeyHold, Owners, Unreadable
from ws_bridge.store.redis.codec import Codec, decode_json
from ws_bridge.store.redis.keys import idempotency_key
from ws_bridge.store.redis.scripts import HOLD, Scripts

log = logging.getLogger(__name__)

TTL_MS = int(KEY_SECONDS * 1000)
PENDING, BEGUN = b"p", b"b"


class IdempotencyKeys:
    """The keys of all owners. The methods are those of ``Store``."""

    def __init__(self, scripts: Scripts, codec: Codec, owners: Owners) -> None:
        self._scripts = scripts
        self._codec = codec
        self._owners = owners

    async def acquire(self, key: str, owner: str, hold: KeyHold) -> KeyHold:
        """See ``Store.acquire_key``."""
        place = idempotency_key(key, self._owners.current_name(owner))
        while True:
            value, own = self._encode(hold, place), hold.response_id.encode() + b" "
            held = await self._scripts.call(HOLD, (place,), value, TTL_MS, own)
            if (known := await self._decode(held, place)) is not None:
                return known

    async def find(self, key: str, owner: str) -> KeyHold | None:
        """See ``Store.find_key``."""
        for name in self._owners.names(owner):
            place = idempotency_key(key, name)
            held = await self._scripts.call(HOLD, (place,), b"", TTL_MS, b"")
            if (known := await self._decode(held, place)) is not None:
                return known
        return None

    async def release(self, key: str, owner: str, hold: KeyHold) -> None:
        """See ``Store.release_key``."""
        for name in self._owners.names(owner):
            await self._forget(idempotency_key(key, name), _head(hold))

    async def _forget(self, place: str, beginning: bytes) -> None:
        await self._scripts.call(HOLD, (place,), b"", TTL_MS, beginning)

    def _encode(self, hold: KeyHold, place: str) -> bytes:
        return _head(hold) + self._codec.encode(orjson.dumps([hold.digest, hold.lane]), place)

    async def _decode(self, held: Any, place: str) -> KeyHold | None:
        """The hold; None if there is none, or none that can be read: that is forgotten."""
        if not isinstance(held, bytes):
            return None
        try:
            return _decode(held, place, self._codec)
        except Unreadable as unreadable:
            log.error("idempotency_key_broken reason=%s", unreadable)  # noqa: TRY400 - the reason is enough
            await self._forget(place, held)
            return None


def _head(hold: KeyHold) -> bytes:
    return hold.response_id.encode() + b" " + (BEGUN if hold.is_begun else PENDING) + b" "


def _decode(held: bytes, place: str, codec: Codec) -> KeyHold:
    """The hold that was encoded. Raises ``Unreadable``."""
    response_id, _, rest = held.partition(b" ")
    state, _, value = rest.partition(b" ")
    match decode_json(value, codec, place):
        case [str(digest), None | str() as lane] if state in (PENDING, BEGUN):
            return KeyHold(response_id.decode(errors="replace"), digest, lane, state == BEGUN)
    raise Unreadable("idempotency key")
