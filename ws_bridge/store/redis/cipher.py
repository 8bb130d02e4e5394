"""Encryption of stored values (`[store] encrypt_with_env`).

AES-256-SIV (RFC 5297), as `cryptography` implements it: the same value is encrypted to the same
bytes, which scripts that compare values need, and there is no nonce that could be used twice. A
value is bound to its key in the store: moved to another key it cannot be decrypted.

Rule: a value that was written without encryption stays readable; an encrypted one is read with one
of the secrets, or not at all.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Any

from ws_bridge.errors import ConfigError
from ws_bridge.store.base import Unreadable

PLAIN = b"plain"  # in place of a secret: values are not, or not yet, written encrypted


class NotDecrypted(Unreadable):
    """No secret decrypts the value, or it was changed, or it was moved to another key."""


class Cipher:
    """``secrets``: the first one encrypts, all of them decrypt; ``PLAIN`` does neither."""

    def __init__(self, secrets: Sequence[bytes] = ()) -> None:
        self._keys = [_key(secret) for secret in secrets if secret != PLAIN]
        self._first = self._keys[0] if self._keys and secrets[0] != PLAIN else None

    @property
    def encrypts(self) -> bool:
        """Whether values are written encrypted."""
        return self._first is not None

    def encrypt(self, plain: bytes, bound_to: str) -> bytes:
        """The encrypted value; may be called only if ``encrypts``."""
        assert self._first is not None  # noqa: S101 - the caller has checked it
        return bytes(self._first.encrypt(plain, [bound_to.encode()]))

    def decrypt(self, value: bytes, bound_to: str) -> bytes:
        """The bytes that were encrypted. Raises ``NotDecrypted``."""
        decrypted = (_decrypt(key, value, bound_to) for key in self._keys)
        plain = next((one for one in decrypted if one is not None), None)
        if plain is None:
            raise NotDecrypted("encryption")
        return plain


def _decrypt(key: Any, value: bytes, bound_to: str) -> bytes | None:
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
