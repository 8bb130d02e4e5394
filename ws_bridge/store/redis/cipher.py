"""Values that are encrypted where they are kept (`[store] encrypt_with_env`).

AES-256-SIV (RFC 5297), as `cryptography` has it: a value that is written twice is the same twice,
which scripts that compare values need, and no nonce can be used twice. A value is bound to its
key in the store: moved elsewhere it cannot be read.

Rule: what was written without encryption stays readable; what was encrypted is read with one of
the secrets, or not at all.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Any

from ws_bridge.errors import ConfigError
from ws_bridge.store.base import Unreadable

PLAIN = b"plain"  # in the place of a secret: writes no more, or not yet, encrypted


class NotDecrypted(Unreadable):
    """None of the secrets opens the value, or it was changed, or moved."""


class Cipher:
    """``secrets``: the first one encrypts, all decrypt; ``PLAIN`` among them does neither."""

    def __init__(self, secrets: Sequence[bytes] = ()) -> None:
        self._keys = [_key(secret) for secret in secrets if secret != PLAIN]
        self._first = self._keys[0] if self._keys and secrets[0] != PLAIN else None

    @property
    def encrypts(self) -> bool:
        """Whether values are written encrypted."""
        return self._first is not None

    def encrypt(self, plain: bytes, bound_to: str) -> bytes:
        """The value, encrypted; only where ``encrypts``."""
        assert self._first is not None  # noqa: S101 - the caller has asked
        return bytes(self._first.encrypt(plain, [bound_to.encode()]))

    def decrypt(self, value: bytes, bound_to: str) -> bytes:
        """What was encrypted. Raises ``NotDecrypted``."""
        opened = (_opened(key, value, bound_to) for key in self._keys)
        plain = next((one for one in opened if one is not None), None)
        if plain is None:
            raise NotDecrypted("encryption")
        return plain


def _opened(key: Any, value: bytes, bound_to: str) -> bytes | None:
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - see `_key`

    try:
        return bytes(key.decrypt(value, [bound_to.encode()]))
    except InvalidTag:
        return None


def _key(secret: bytes) -> Any:
    """The key of a secret. Raises ``ConfigError`` where the library is missing."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import (  # noqa: PLC0415 - few need it
            AESSIV,
        )
    except ImportError:
        raise ConfigError(
            "key 'store.encrypt_with_env': the library that encrypts is not installed: "
            'pip install "ws-bridge[encrypt]", or remove the key'
        ) from None
    return AESSIV(hmac.digest(secret, b"ws_bridge values in the store", "sha512"))
