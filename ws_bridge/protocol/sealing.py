"""Seals of this bridge's compaction items: make them, verify them, open them.

A seal is opaque, not secret: a client may read its own conversation. It is `wsb1.`, the compressed
summary as base64, and a signature of 64 characters. Readers older than the signature open it all
the same: what follows a compressed text is none of it.

Rule 1: nothing is unfolded before its signature is known to be right; a wrong one is refused.
Rule 2: a seal without a signature, or of a key that is not known here (older releases, other
deployments, a store that is gone), unfolds within tight bounds. What is made here fits in them.
Rule 3: of a request one summary is unfolded, the newest, and once: it covers the older ones. What
all tries of a request unfold together is bounded.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from ws_bridge.errors import InvalidEncryptedContent
from ws_bridge.protocol.compaction import MARK, own_seal
from ws_bridge.protocol.history import Chain, Summary
from ws_bridge.types import Json

MAX_SUMMARY_BYTES = 1 << 20  # of one summary, and of all tries of a request
# Text folds to a third, repeated words to a tenth; what unfolds to more is no summary.
MAX_RATIO = 32
LITTLE = 4096  # bytes that anything may unfold to; what a try costs at least
SIGNED = b"signed"
SIGNATURE = 64  # characters: SIGNED, ten bytes that name the key, HMAC-SHA256 of all before it
KEY_NAME = 10
COUNTED = 1000  # items


class Sealer:
    """Makes and opens seals.

    ``keys``: secrets, the first one signs, all are accepted; they may become known later. Without
    any, seals are made without a signature, and none is known to be right or wrong.
    """

    def __init__(self, keys: Callable[[], Sequence[bytes]] = tuple) -> None:
        self._keys = keys

    @property
    def keys(self) -> Callable[[], Sequence[bytes]]:
        """The secrets as they are known now: other seals are signed with them too."""
        return self._keys

    def seal(self, summary: str) -> Json:
        """A compaction item that holds the summary."""
        plain = summary.encode(errors="replace")
        if len(plain) > MAX_SUMMARY_BYTES:  # cut, and no letter in two
            plain = plain[:MAX_SUMMARY_BYTES].decode(errors="ignore").encode()
        packed = zlib.compress(plain)
        if len(plain) > _most(packed):
            packed = zlib.compress(plain, 0)
        # Whole groups of three bytes: the signature begins a group of its own.
        packed += bytes(-len(packed) % 3)
        sealed = MARK + base64.urlsafe_b64encode(packed).decode()
        for key in self._keys()[:1]:
            signature = SIGNED + _name(key) + _sign(key, sealed)
            sealed += base64.urlsafe_b64encode(signature).decode()
        return {
            "type": "compaction",
            "id": "cmp_" + secrets.token_hex(24),
            "encrypted_content": sealed,
        }

    def check(self, items: Iterable[Json]) -> None:
        """Raise ``InvalidEncryptedContent`` if a seal in the items is forged."""
        seals = {sealed for item in items if (sealed := own_seal(item))}
        keys = self._named() if seals else {}
        for sealed in seals:
            _authentic(sealed, keys)

    def open(self, chain: Chain) -> Chain:
        """The chain with its newest summary opened.

        Raises ``InvalidEncryptedContent`` if a seal in its input is forged, or the newest one
        cannot be opened. In earlier turns a seal that cannot be opened counts for nothing.
        """
        self.check(chain.input)
        tagged = list(chain.items_with_maker())
        seals = [(at, seal) for at, (_, item) in enumerate(tagged) if (seal := own_seal(item))]
        keys = self._named() if seals else {}
        left, own = MAX_SUMMARY_BYTES, len(tagged) - len(chain.input)
        for place, sealed in reversed(seals):
            if left <= 0:
                break
            text, cost = _unfolded(sealed, keys, left)
            if text is not None:
                return replace(chain, summary=Summary(sealed, text))
            if place >= own:
                raise InvalidEncryptedContent
            left -= cost
        return chain

    def _named(self) -> Mapping[bytes, bytes]:
        return {_name(key): key for key in self._keys()}


UNSIGNED = Sealer()


def sealed_bytes(chain: Chain) -> int:
    """How many bytes of seals there are to be looked at: each is signed as a whole.

    Of more items than ``COUNTED`` the first are counted: so many are a lot of work anyway.
    """
    return sum(len(own_seal(item)) for _, item in islice(chain.items_with_maker(), COUNTED))


def _unfolded(sealed: str, keys: Mapping[bytes, bytes], most: int) -> tuple[str | None, int]:
    """The summary in a seal, None if it is none, and how many bytes were unfolded for it."""
    try:
        is_authentic = _authentic(sealed, keys)
    except InvalidEncryptedContent:  # in an earlier turn: a provider may have sent it
        return None, LITTLE
    text = sealed[:-SIGNATURE] if _signature(sealed) else sealed
    unfold, plain = zlib.decompressobj(), b""
    try:
        packed = base64.b64decode(text.removeprefix(MARK), altchars=b"-_", validate=True)
        plain = unfold.decompress(packed, most if is_authentic else min(most, _most(packed)))
        summary = plain.decode() if unfold.eof else None  # else cut short, or beyond the bound
    except (ValueError, zlib.error):  # not base64, not ASCII, not UTF-8, not compressed
        summary = None
    return summary, max(len(plain), LITTLE)


def _authentic(sealed: str, keys: Mapping[bytes, bytes]) -> bool:
    """Whether a seal was made with one of the keys; False if that cannot be known.

    Raises ``InvalidEncryptedContent`` if its signature names a key and is wrong.
    """
    signature = _signature(sealed)
    key = keys.get(signature[len(SIGNED) :][:KEY_NAME]) if signature else None
    if key is None:
        return False
    mac = signature[len(SIGNED) + KEY_NAME :]
    if not hmac.compare_digest(mac, _sign(key, sealed[:-SIGNATURE])):
        raise InvalidEncryptedContent
    return True


def _signature(sealed: str) -> bytes:
    """The signature at a seal's end; b"" if it has none."""
    if len(sealed) < len(MARK) + SIGNATURE:
        return b""
    try:
        last = base64.b64decode(sealed[-SIGNATURE:], altchars=b"-_", validate=True)
    except ValueError:
        return b""
    return last if last.startswith(SIGNED) else b""


def _name(key: bytes) -> bytes:
    return hmac.digest(key, b"ws_bridge name of a seal's key", "sha256")[:KEY_NAME]


def _sign(key: bytes, sealed: str) -> bytes:
    """What only a holder of the key can make: the seal alone, so that it fits in no other place."""
    return hmac.digest(key, b"ws_bridge seal " + sealed.encode(errors="replace"), "sha256")


def _most(packed: bytes) -> int:
    return min(MAX_SUMMARY_BYTES, max(MAX_RATIO * len(packed), LITTLE))
