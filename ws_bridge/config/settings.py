"""A configuration with the secrets that it names.

Rule: a secret stands in an environment variable or in a file of its own; config.toml only names it.
Both are read here and nowhere else, by the process that loads the configuration: a worker gets the
values from its supervisor.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from ws_bridge.config.files import read_file
from ws_bridge.config.model import FILE, Config, Secrets, place_of

MOST_SECRET_BYTES = 64 * 2**10  # of a file
PLAIN = b"plain"  # stands for "no secret" among others: while one is introduced, or removed

# Keys that name a secret's place, as `…_env` or as `…_file`, by their section.
SECRET_KEYS = {
    "auth": ("secret",),
    "store": ("password", "encrypt_with"),
    "metrics": ("key",),
}


@dataclass(frozen=True)
class Settings:
    """A configuration and the secrets that it names: all that a server is made of."""

    config: Config
    secrets: Secrets = field(default_factory=dict, repr=False)

    def to_json(self) -> str:
        """One line, for another process of this server."""
        return orjson.dumps(
            {"config": self.config.model_dump(mode="json"), "secrets": dict(self.secrets)}
        ).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Settings:
        """The settings of ``to_json``."""
        parts = orjson.loads(text)
        config = Config.model_validate_json(orjson.dumps(parts["config"]))
        return cls(config, parts["secrets"])


def secret_places(config: Config) -> Iterator[tuple[str, str]]:
    """Each key of the configuration that names a secret's place, and that place."""
    auth, store = config.auth, config.store
    yield from (("auth.keys_env", name) for name in auth.keys_env)
    yield from (("auth.keys_files", place_of("", file)) for file in auth.keys_files)
    found = [("auth.secret", auth.secret), ("store.password", store.password)]
    found += [("store.encrypt_with", store.encrypt_with), ("metrics.key", config.metrics.key)]
    found += [(f"keys[{n}].key", one.key) for n, one in enumerate(config.keys, 1)]
    found += [(f"models[{n}].api_key", one.api_key) for n, one in enumerate(config.models, 1)]
    for key, place in found:
        if place:
            yield f"{key}_{'file' if place.startswith(FILE) else 'env'}", place


def read_secrets(config: Config, environ: Mapping[str, str]) -> tuple[Secrets, list[str]]:
    """The texts of all variables that are set and of all files; and what is wrong, a line each."""
    found: dict[str, str] = {}
    problems = list(_contradictions(config))
    for key, place in secret_places(config):
        if not place.startswith(FILE):
            found |= {place: environ[place]} if place in environ else {}
            continue
        path = place.removeprefix(FILE)
        try:
            found[place] = _secret_file(Path(path))
        except ValueError as unusable:
            # A relative path may be a key that was pasted in its place.
            name = f"the file {path}" if path.startswith("/") else "its file"
            problems.append(f"key '{key}': {name} holds no secret ({unusable}): correct the path")
    return found, problems


def _contradictions(config: Config) -> Iterator[str]:
    tables = [(name, getattr(config, name), keys) for name, keys in SECRET_KEYS.items()]
    entries = enumerate(config.models, 1)
    tables += [(f"models[{number}]", entry, ("api_key",)) for number, entry in entries]
    for name, table, keys in tables:
        for key in keys:
            if getattr(table, f"{key}_env") and getattr(table, f"{key}_file"):
                yield f"keys '{name}.{key}_env' and '{name}.{key}_file': set one of them"


def _secret_file(path: Path) -> str:
    """The text of a file. Raises ``ValueError`` with the reason why it has none."""
    try:
        text = read_file(path, MOST_SECRET_BYTES).decode()
    except OSError as unreadable:
        raise ValueError(unreadable.strerror) from None
    except UnicodeDecodeError:
        raise ValueError("it is no text") from None
    if not text.strip():
        raise ValueError("it is empty")
    return text.strip()


def secrets_in(place: str, secrets: Secrets) -> tuple[bytes, ...]:
    """The secrets in a variable or file: the first one is used, all of them are accepted."""
    return tuple(text.encode() for text in values_of(secrets.get(place, "")))


def values_of(text: str) -> list[str]:
    """The parts of a text that commas or ends of lines separate."""
    return [part.strip() for part in re.split(r"[,\n]", text) if part.strip()]


def lines_of(text: str) -> list[str]:
    """The lines of a file but empty ones and those that begin with #."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]
