"""What only its maker can read, inside of an item's `encrypted_content` (pure).

Signatures of thoughts and calls, redacted thinking and the like travel as OpenAI's encrypted
reasoning does: opaque to the client, which sends them back. A seal is `wsr1.`, the maker's digest
and the values as base64, and a signature.

Rule 1: a seal holds a digest of its maker, never an address or a key's name; another maker's seal
is left out of a request, and so is one that cannot be read.
Rule 2: a seal whose signature is wrong is nothing: a forged value does not reach a provider.
Rule 3: what older releases handed out stays readable: thinking blocks as JSON.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from ws_bridge.protocol.history import SEAL_MARK
from ws_bridge.types import Json

MAC_BYTES = 16
MAX_SEAL = 4 * 2**20  # characters
THINKING = frozenset({"thinking", "redacted_thinking"})

Keys = Callable[[], Sequence[bytes]]


class MakerSeals:
    """Makes and opens the seals of one maker.

    ``keys``: secrets, the first signs and all are accepted; without any a seal has no signature
    that could be checked, and every seal of the maker opens.
    """

    def __init__(self, maker: str, keys: Keys = tuple) -> None:
        self._maker = hashlib.sha256(b"ws_bridge maker " + maker.encode()).digest()[:12]
        self._keys = keys

    def seal(self, values: Json) -> str:
        """The values, to be given to the client."""
        body = self._maker + _written(values)
        keys = self._keys()
        mac = _mac(keys[0], body) if keys else bytes(MAC_BYTES)
        return SEAL_MARK + base64.urlsafe_b64encode(mac + body).decode()

    def open(self, sealed: Any) -> Json | None:
        """The values in a seal of this maker; None for all else."""
        if not isinstance(sealed, str) or len(sealed) > MAX_SEAL:
            return None
        if not sealed.startswith(SEAL_MARK):
            return _old_form(sealed)
        try:
            raw = base64.b64decode(sealed.removeprefix(SEAL_MARK), altchars=b"-_", validate=True)
        except ValueError:
            return None
        mac, body = raw[:MAC_BYTES], raw[MAC_BYTES:]
        if not body.startswith(self._maker) or not self._is_authentic(mac, body):
            return None
        try:
            values = json.loads(body[len(self._maker) :])
        except (ValueError, RecursionError):
            return None
        return values if isinstance(values, dict) else None

    def _is_authentic(self, mac: bytes, body: bytes) -> bool:
        keys = self._keys()
        return not keys or any(hmac.compare_digest(mac, _mac(key, body)) for key in keys)


def is_sealed_here(sealed: Any) -> bool:
    """Whether the bridge made it, for whichever maker: no other provider can read it."""
    return isinstance(sealed, str) and (
        sealed.startswith(SEAL_MARK) or _old_form(sealed) is not None
    )


def _written(values: Json) -> bytes:
    try:
        return orjson.dumps(values)
    except TypeError:  # half a character, or a number beyond all: the maker gets it as it was
        return json.dumps(values).encode()


def _mac(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, b"ws_bridge reasoning " + body, "sha256")[:MAC_BYTES]


def _old_form(sealed: str) -> Json | None:
    """Thinking blocks as releases before the seals gave them out."""
    if not sealed.startswith("["):
        return None
    try:
        blocks = json.loads(sealed)
    except (ValueError, RecursionError):
        return None
    known = [b for b in blocks if isinstance(b, dict) and b.get("type") in THINKING]
    return {"blocks": known} if known and len(known) == len(blocks) else None
