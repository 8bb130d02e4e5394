"""Encrypted values: opened with one of the secrets in their own place, or not at all."""

import sys

import pytest

from ws_bridge.errors import ConfigError
from ws_bridge.store.redis.cipher import PLAIN, Cipher, NotDecrypted

ONE, TWO = b"1" * 32, b"2" * 32


@pytest.mark.parametrize("size", [1, 15, 16, 17, 100_000])
def test_what_was_encrypted_is_decrypted(size):
    for plain in (b"x" * size, bytes(size)):
        value = Cipher([ONE]).encrypt(plain, "key")
        assert Cipher([ONE]).decrypt(value, "key") == plain
        assert plain not in value


def test_a_value_that_is_written_twice_is_the_same_twice():
    one, again = (Cipher([ONE]).encrypt(b"They met.", "key") for _ in range(2))
    assert one == again
    assert one != Cipher([ONE]).encrypt(b"They met.", "other key")
    assert one != Cipher([TWO]).encrypt(b"They met.", "key")


def test_the_first_secret_encrypts_and_all_decrypt():
    value = Cipher([ONE, TWO]).encrypt(b"They met.", "key")
    assert Cipher([ONE]).encrypt(b"They met.", "key") == value
    for secrets in ([ONE], [TWO, ONE], [PLAIN, ONE], [TWO, PLAIN, ONE]):
        assert Cipher(secrets).decrypt(value, "key") == b"They met."


@pytest.mark.parametrize(
    ("secrets", "encrypts"),
    [([], False), ([PLAIN], False), ([PLAIN, ONE], False), ([ONE, PLAIN], True), ([ONE], True)],
)
def test_the_first_secret_decides_whether_it_encrypts(secrets, encrypts):
    assert Cipher(secrets).encrypts is encrypts


@pytest.mark.parametrize("secrets", [[], [PLAIN], [TWO], [TWO, PLAIN]])
def test_without_its_secret_nothing_is_decrypted(secrets):
    with pytest.raises(NotDecrypted):
        Cipher(secrets).decrypt(Cipher([ONE]).encrypt(b"They met.", "key"), "key")


def test_neither_is_what_was_changed_moved_or_made_up():
    value = Cipher([ONE]).encrypt(b"They met.", "key")
    wrong = [value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :] for at in range(len(value))]
    for one in (*wrong, value[:-1], value + b"x", b"", b"short"):
        with pytest.raises(NotDecrypted):
            Cipher([ONE]).decrypt(one, "key")
    with pytest.raises(NotDecrypted):
        Cipher([ONE]).decrypt(value, "other key")


def test_without_its_library_the_configuration_is_refused_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(ConfigError, match=r"store.encrypt_with_env.*ws-bridge\[encrypt\]"):
        Cipher([ONE])
    assert not Cipher([PLAIN]).encrypts
