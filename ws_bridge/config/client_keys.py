"""The keys of clients: those of ``[auth]``, and ``[[keys]]`` with what a client may ask for.

Rule 1: entries of one name are keys of one client: they share its limits, its history and its use.
Rule 2: a key is known by its SHA-256, so that a configuration need not hold the key itself.
"""

from __future__ import annotations

import hashlib
import re
import secrets as chance
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path

from ws_bridge.config.model import KEY_NAME, Config, KeyEntry, Secrets, match_wildcard, place_of
from ws_bridge.config.settings import lines_of, values_of
from ws_bridge.errors import ConfigError

# A line of a keys file that names a client: its name, and the SHA-256 of its key.
_NAMED = re.compile(rf"({KEY_NAME})\s+([0-9a-fA-F]{{64}})")


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A client's key, and the name under which logs and metrics know it."""

    name: str
    key: str = field(default="", repr=False)  # "" if only its hash is known
    sha256: str = field(default="", repr=False)  # hexadecimal; "" if the key is known
    is_named: bool = False  # what it makes belongs to the name, and not to the key
    expires: float | None = None  # seconds since 1970; None: never

    @property
    def digest(self) -> bytes:
        """SHA-256 of the key."""
        return bytes.fromhex(self.sha256) if self.sha256 else digest_of(self.key)


@dataclass(frozen=True, slots=True)
class KeyRules:
    """What the keys of one name may ask for. None is what ``[limits]`` has, 0 no limit."""

    models: tuple[str, ...] = ()  # names and wildcards; none: all
    creates_per_minute: int | None = None
    tokens_per_minute: int | None = None
    running: int | None = None
    connections: int | None = None
    budget_usd: float | None = None  # None: no budget
    budget_days: int = 30

    def allows(self, model: str) -> bool:
        """Whether a model of this name may be asked for."""
        return not self.models or any(
            one == model or match_wildcard(one, model) for one in self.models
        )


ANYTHING = KeyRules()


def digest_of(key: str) -> bytes:
    """The hash of the key's bytes as they came: a header need not be UTF-8."""
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()


def new_key(name: str) -> tuple[str, str]:
    """A key nobody has, and its line in a file of keys. Raises ``ConfigError`` for a bad name."""
    if not re.fullmatch(KEY_NAME, name):
        raise ConfigError(
            f"'{name}' cannot be a client's name: use letters, digits and _ . @ + -, at most 64"
        )
    key = "wsb-" + chance.token_urlsafe(32)
    return key, f"{name} {digest_of(key).hex()}"


def client_keys(config: Config, secrets: Secrets) -> tuple[ClientKey, ...]:
    """The keys of clients, in the order of the file. Without any, all clients are served.

    One of ``[auth]`` is named after its variable, or after its file without the suffix.
    """
    found: list[ClientKey] = []
    for name in config.auth.keys_env:
        found += (ClientKey(name, key) for key in values_of(secrets.get(name, "")))
    for path in config.auth.keys_files:
        found += _in_file(Path(path).stem, secrets.get(place_of("", path), ""))
    for entry in config.keys:
        found += _of_entry(entry, secrets)
    return tuple(found)


def key_rules(config: Config) -> dict[str, KeyRules]:
    """What each name of ``[[keys]]`` may ask for: what any of its entries says."""
    names = dict.fromkeys(entry.name for entry in config.keys)
    return {name: _merged(entry for entry in config.keys if entry.name == name) for name in names}


def key_problems(config: Config, secrets: Secrets) -> Iterator[str]:
    """What is wrong with the keys, a line each; no line repeats a key."""
    in_files = [secrets.get(place_of("", path), "") for path in config.auth.keys_files]
    named_in_files = {
        found[1] for text in in_files for line in lines_of(text) if (found := _named(line))
    }
    for number, text in enumerate(in_files, 1):
        plain = [one for line in lines_of(text) if not _named(line) for one in values_of(line)]
        if any(len(one.split()) > 1 for one in plain):
            yield (
                f"key 'auth.keys_files[{number}]': a line of the file is neither a key nor a name "
                "and the SHA-256 of a key: `ws-bridge keys new NAME` writes such a line"
            )
    for number, entry in enumerate(config.keys, 1):
        sources = [entry.key_env, entry.key_file, entry.sha256]
        if len(list(filter(None, sources))) > 1:
            yield f"keys of 'keys[{number}]': set one of 'key_env', 'key_file' and 'sha256'"
        elif not any(sources) and entry.name not in named_in_files:
            yield (
                f"key 'keys[{number}]': '{entry.name}' has no key: set 'sha256' to what "
                f"`ws-bridge keys new {entry.name}` prints, or 'key_env', or 'key_file'"
            )
    yield from _shared(client_keys(config, secrets))
    yield from _disputed(config)
    yield from _unserved(config)


def _in_file(name: str, text: str) -> Iterator[ClientKey]:
    for line in lines_of(text):
        if found := _named(line):
            yield ClientKey(found[1], sha256=found[2].lower(), is_named=True)
        else:
            yield from (ClientKey(name, key) for key in values_of(line))


def _of_entry(entry: KeyEntry, secrets: Secrets) -> Iterator[ClientKey]:
    expires = entry.expires.timestamp() if entry.expires else None
    if entry.sha256:
        yield ClientKey(entry.name, "", entry.sha256.lower(), True, expires)
    for key in values_of(secrets.get(entry.key, "")):
        yield ClientKey(entry.name, key, is_named=True, expires=expires)


def _named(line: str) -> re.Match[str] | None:
    return _NAMED.fullmatch(line)


def _merged(entries: Iterable[KeyEntry]) -> KeyRules:
    given: dict[str, object] = {}
    for entry in entries:
        given = {name: getattr(entry, name) for name in _own_rules(entry)} | given
    return KeyRules(**given)  # type: ignore[arg-type]


def _own_rules(entry: KeyEntry) -> set[str]:
    """The rules that an entry has of its own."""
    return {one.name for one in fields(KeyRules) if getattr(entry, one.name) != one.default}


def _shared(keys: Iterable[ClientKey]) -> Iterator[str]:
    """One key of two names would make two clients read what belongs to either."""
    names: dict[bytes, str] = {}
    short = {one.name for one in keys if not one.is_named}
    for one in keys:
        other = names.setdefault(one.digest, one.name)
        if other != one.name:
            yield f"key 'keys': '{one.name}' and '{other}' have the same key: remove one of them"
        if one.is_named and one.name in short:
            yield f"key 'keys': '{one.name}' names keys of [auth] as well: use another name"


def _disputed(config: Config) -> Iterator[str]:
    for name in key_rules(config):
        entries = [entry for entry in config.keys if entry.name == name]
        for rule in sorted({rule for entry in entries for rule in _own_rules(entry)}):
            if len({getattr(entry, rule) for entry in entries if rule in _own_rules(entry)}) > 1:
                yield (
                    f"key 'keys.{rule}': entries of '{name}' differ, and the keys of one name "
                    "share it: write it once"
                )


def _unserved(config: Config) -> Iterator[str]:
    names = [entry.name for entry in config.models]
    for number, entry in enumerate(config.keys, 1):
        for pattern in entry.models:
            if pattern.count("*") > 1:
                yield f"key 'keys[{number}].models': use at most one * in '{pattern}'"
            elif not any(_overlaps(pattern, name) for name in names):
                yield (
                    f"key 'keys[{number}].models': no [[models]] entry serves '{pattern}': "
                    "use the 'name' of one, or a pattern that matches it"
                )


def _overlaps(pattern: str, name: str) -> bool:
    """Whether some model is of both, which may have a * each."""
    if pattern == name or match_wildcard(pattern, name) or match_wildcard(name, pattern):
        return True
    if "*" not in pattern or "*" not in name:
        return False
    (head, _, tail), (begin, _, end) = pattern.partition("*"), name.partition("*")
    heads = head.startswith(begin) or begin.startswith(head)
    return heads and (tail.endswith(end) or end.endswith(tail))
