"""config.toml as frozen values, with the secrets that it names.

Rule 1: an unknown key, a wrong type or a contradiction is a ``ConfigError``: one line that names
the file, the key and the remedy.
Rule 2: a secret stands in an environment variable or in a file of its own; config.toml only names
it. Both are read here and nowhere else, by the process that loads the configuration: a worker gets
the values from its supervisor.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ws_bridge.addresses import ListenAddress, bare, parse_address
from ws_bridge.errors import ConfigError

Environ = Mapping[str, str]
Secrets = Mapping[str, str]  # by variable, or by "file:" and path: its text

STORE_SCHEMES = (
    "memory",
    "redis",
    "rediss",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
SECRET_LENGTH = 32  # characters: too many to try all
FILE = "file:"  # before the path of a file, where a variable's name could stand
MOST_SECRET_BYTES = 64 * 2**10  # of a file
PLAIN = b"plain"  # stands for "no secret" among others: while one is introduced, or removed
DEMO_TOML = '[[models]]\nname = "demo"\nmodel = "demo/demo"\ndrop_params = true\n'


Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
NotNegativeCount = Annotated[int, Field(ge=0)]


def _listen_text(text: str) -> str:
    parse_address(text)
    return text


ListenText = Annotated[str, AfterValidator(_listen_text)]


class Section(BaseModel):
    """A table of the file: frozen, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ServerConfig(Section):
    """``[server]``: addresses and times."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8787
    on_disconnect: Literal["finish", "cancel"] = "finish"
    drain_seconds: NotNegative = 60
    max_message_mib: Count = 64
    connection_minutes: Positive = 60
    data_keepalive_seconds: NotNegative = 30
    created_after_seconds: Positive = 2
    allowed_origins: tuple[str, ...] = ()
    tls_cert: str = ""
    tls_key: str = ""
    workers: Count = 1
    report_cost: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    listen: tuple[ListenText, ...] = ()
    unix_mode: Annotated[str, Field(pattern=r"^0?[0-7]{3}$")] = "0660"

    def addresses(self) -> tuple[ListenAddress, ...]:
        """Where to listen: ``listen``, or ``host`` and ``port`` as its short form."""
        if not self.listen:
            return (ListenAddress(bare(self.host), self.port),)
        return tuple(map(parse_address, self.listen))


class AuthConfig(Section):
    """``[auth]``: the keys of clients."""

    keys_env: tuple[str, ...] = ()
    keys_files: tuple[str, ...] = ()
    browser_subprotocol: bool = False
    secret_env: str = ""
    secret_file: str = ""

    @property
    def secret(self) -> str:
        """Where the servers' secrets stand."""
        return _place(self.secret_env, self.secret_file)


class StoreConfig(Section):
    """``[store]``: where responses are stored."""

    url: str = "memory://"
    password_env: str = ""
    password_file: str = ""
    encrypt_with_env: str = ""
    encrypt_with_file: str = ""
    ttl_seconds: Positive = 86400
    conversation_seconds: Positive = 2592000
    flush_ms: Positive = 25
    lease_seconds: Annotated[float, Field(ge=1)] = 15
    end_waits_seconds: NotNegative = 10
    backlog_mib: Count = 256
    max_mib: Count = 512

    @property
    def password(self) -> str:
        """Where the password stands."""
        return _place(self.password_env, self.password_file)

    @property
    def encrypt_with(self) -> str:
        """Where the secrets stand that values are encrypted with."""
        return _place(self.encrypt_with_env, self.encrypt_with_file)


class BackgroundConfig(Section):
    """``[background]``: which background responses the bridge runs itself."""

    polling: Literal["all", "none"] | tuple[str, ...] = "all"
    native_models: tuple[str, ...] = ()

    def runs(self, provider: str) -> bool:
        """Whether the bridge runs background jobs for this provider."""
        if isinstance(self.polling, str):
            return self.polling == "all"
        return provider in self.polling


class Limits(Section):
    """``[limits]``: how much of the server a client may use; each process counts for itself."""

    running_per_connection: Count = 16
    lanes_per_connection: Count = 32
    queued_per_connection: Count = 64
    queued_mib_per_connection: Count = 8
    cached_turns_per_connection: Count = 256
    # What is stored for a client.
    cached_mib_per_connection: Count = 64
    cached_mib_per_key: NotNegativeCount = 256
    cached_mib: Count = 512
    response_mib: Count = 128
    conversation_mib: Count = 32
    conversation_items: Count = 10_000
    # Of one client key; 0 is no limit, and without keys there is none.
    connections_per_key: NotNegativeCount = 100
    running_per_key: NotNegativeCount = 50
    creates_per_minute: NotNegativeCount = 120
    followers_per_key: NotNegativeCount = 100
    responses_mib_per_key: NotNegativeCount = 512
    asked_mib_per_key: NotNegativeCount = 512
    refused_per_minute: NotNegativeCount = 60  # requests without a valid key, of one address
    # Of the whole process.
    followers: Count = 2000
    responses_mib: Count = 1024
    asked_mib: Count = 1024
    # What a client sends.
    head_seconds: Positive = 10
    message_seconds: Positive = 30
    message_fragments: Count = 1024
    receiving_mib: Count = 256
    json_depth: Annotated[int, Field(ge=1, le=200)] = 64
    json_keys: Count = 10_000
    bad_frames: Count = 20
    control_frames: Count = 100
    # What a client does not do.
    silent_seconds: Positive = 120
    unread_seconds: Positive = 30


class ModelEntry(Section):
    """One ``[[models]]`` entry: a name for clients, and the model that litellm is asked for."""

    name: Annotated[str, Field(min_length=1)]
    model: Annotated[str, Field(pattern=r"^[^/]+/.+")]
    mode: Literal["auto", "managed", "native"] = "auto"
    via: Literal["auto", "litellm"] = "auto"
    api_base: str = ""
    api_key_env: str = ""
    api_key_file: str = ""
    account: str = ""
    timeout_seconds: Positive = 600
    stall_seconds: Positive = 120
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    drop_params: bool = False
    prompt_cache: bool = True
    ws_lanes: Annotated[int, Field(ge=0)] = 0
    fallbacks: tuple[str, ...] = ()
    enabled: bool = True

    @property
    def api_key(self) -> str:
        """Where the provider's key stands."""
        return _place(self.api_key_env, self.api_key_file)

    def off_reason(self, secrets: Secrets) -> str:
        """Why the entry cannot serve; empty if it can."""
        if not self.enabled:
            return "enabled = false"
        if self.api_key_env and not secrets.get(self.api_key_env):
            return f"{self.api_key_env} is not set"
        return ""


class Config(Section):
    """The whole file."""

    server: ServerConfig = ServerConfig()
    auth: AuthConfig = AuthConfig()
    store: StoreConfig = StoreConfig()
    background: BackgroundConfig = BackgroundConfig()
    limits: Limits = Limits()
    models: tuple[ModelEntry, ...] = ()


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


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A client's key, and the name under which logs and metrics know it."""

    name: str
    key: str = field(repr=False)


def load(path: Path | None, environ: Environ = os.environ, **server: str | int | None) -> Settings:
    """Read and check a file; ``None`` is the built-in configuration with the demo model only.

    ``server`` are values of the command line; they replace those of ``[server]``.
    Raises ``ConfigError``.
    """
    source = str(path or "built-in configuration")
    try:
        text = path.read_text(encoding="utf-8") if path else DEMO_TOML
        raw = tomllib.loads(text)
    except OSError as unreadable:
        raise ConfigError(f"{source}: cannot be read ({unreadable.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as broken:
        raise ConfigError(f"{source}: not valid TOML: {broken}") from None
    try:
        given = {key: value for key, value in server.items() if value is not None}
        if isinstance(in_file := raw.setdefault("server", {}), dict):
            raw["server"] = _overridden(in_file, given, source)
        # Through JSON, because there a strict tuple may be written as a list.
        config = Config.model_validate_json(orjson.dumps(raw))
    except ValidationError as invalid:
        raise ConfigError(f"{source}: {_first_problem(invalid)}") from None
    except orjson.JSONEncodeError as strange:  # a number beyond 64 bits, or too deep nesting
        raise ConfigError(f"{source}: not a configuration: {strange}") from None
    secrets = _read_secrets(config, source, environ)
    _check(config, source, secrets)
    return Settings(config, secrets)


def _place(variable: str, file: str) -> str:
    """Where a secret stands in ``Secrets``; "" if the configuration names none."""
    return FILE + file if file else variable


def secret_places(config: Config) -> Iterator[str]:
    """Where the secrets stand that a configuration names."""
    auth, store = config.auth, config.store
    yield from auth.keys_env
    yield from (_place("", file) for file in auth.keys_files)
    pairs = (auth.secret, store.password, store.encrypt_with)
    yield from filter(None, (*pairs, *(entry.api_key for entry in config.models)))


def _read_secrets(config: Config, source: str, environ: Environ) -> Secrets:
    """The texts of all variables that are set, and of all files. Raises ``ConfigError``."""
    for section, keys in (
        (config.auth, ("secret",)),
        (config.store, ("password", "encrypt_with")),
        *((entry, ("api_key",)) for entry in config.models),
    ):
        for key in keys:
            if getattr(section, f"{key}_env") and getattr(section, f"{key}_file"):
                raise ConfigError(f"{source}: keys '{key}_env' and '{key}_file': set one of them")
    found: dict[str, str] = {}
    for place in secret_places(config):
        if place.startswith(FILE):
            found[place] = _secret_file(Path(place.removeprefix(FILE)), source)
        elif place in environ:
            found[place] = environ[place]
    return found


def _secret_file(path: Path, source: str) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(MOST_SECRET_BYTES + 1).decode()
    except OSError as unreadable:
        reason = unreadable.strerror
    except UnicodeDecodeError:
        reason = "it is no text"
    else:
        if text.strip() and len(text) <= MOST_SECRET_BYTES:
            return text.strip()
        reason = "it is empty" if not text.strip() else "it is too large"
    raise ConfigError(f"{source}: the file {path} holds no secret ({reason}): correct the path")


def _overridden(section: dict[str, Any], given: dict[str, Any], source: str) -> dict[str, Any]:
    """``[server]`` with the values of the command line, which know one address only."""
    short = {"host", "port"}
    if section.get("listen") and short & section.keys():
        raise ConfigError(
            f"{source}: key 'server.listen': 'server.host' and 'server.port' are its short form: "
            "keep 'listen' or those two"
        )
    if short & given.keys():
        section = {key: value for key, value in section.items() if key != "listen"}
    return section | given


def _first_problem(invalid: ValidationError) -> str:
    problem = invalid.errors(include_url=False)[0]
    place = ""
    for part in problem["loc"]:
        if isinstance(part, str) and "[" in part:
            break  # the name of one of several possible types, not of a key
        place += f"[{part + 1}]" if isinstance(part, int) else f".{part}"
    key = place.lstrip(".")
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{key}': remove it or correct its spelling"
    return f"key '{key}': {problem['msg'].removeprefix('Value error, ')}"


def _check(config: Config, source: str, secrets: Secrets) -> None:
    _check_names(config, source)
    _check_keys(config, source, secrets)
    _check_secrets("auth.secret", config.auth.secret, source, secrets)
    if bool(config.server.tls_cert) != bool(config.server.tls_key):
        raise ConfigError(f"{source}: 'server.tls_cert' and 'server.tls_key' go together: set both")
    _check_store(config.store, source, secrets)


def _check_store(store: StoreConfig, source: str, secrets: Secrets) -> None:
    if store.url.partition("://")[0] not in STORE_SCHEMES or "://" not in store.url:
        raise ConfigError(
            f"{source}: key 'store.url': use one of "
            + ", ".join(f"{scheme}://" for scheme in STORE_SCHEMES)
        )
    if store.password_env and not secrets.get(store.password_env):
        raise ConfigError(
            f"{source}: key 'store.password_env': the environment variable {store.password_env} "
            "is not set: set it to the store's password, or remove the key"
        )
    _check_secrets("store.encrypt_with", store.encrypt_with, source, secrets)


def _check_names(config: Config, source: str) -> None:
    for entry in config.models:
        if entry.name.count("*") > 1 or (entry.model.count("*") > entry.name.count("*")):
            raise ConfigError(
                f"{source}: key 'models.name': '{entry.name}' → '{entry.model}': "
                "use at most one * in 'name', and one in 'model' only if 'name' has it"
            )
        for fallback in entry.fallbacks:
            _check_fallback(config, source, entry, fallback)


def _check_fallback(config: Config, source: str, entry: ModelEntry, fallback: str) -> None:
    key = f"{source}: key 'models.fallbacks' of '{entry.name}'"
    if "*" in fallback and "*" not in entry.name:
        raise ConfigError(f"{key}: '{fallback}' has a * and the entry's name has none: name one")
    names = [other.name for other in config.models]
    if not any(fallback == name or match_wildcard(name, fallback) for name in names):
        raise ConfigError(f"{key}: no entry serves '{fallback}': use the name of another entry")


def match_wildcard(pattern: str, name: str) -> str:
    """The text that the ``*`` of ``pattern`` matches in ``name``; "" if it does not match."""
    head, star, tail = pattern.partition("*")
    fits = star and len(name) > len(head) + len(tail)
    if not fits or not name.startswith(head) or not name.endswith(tail):
        return ""
    return name[len(head) : len(name) - len(tail)]


def _check_keys(config: Config, source: str, secrets: Secrets) -> None:
    for name in config.auth.keys_env:
        if not secrets.get(name, "").strip(", "):
            raise ConfigError(
                f"{source}: key 'auth.keys_env': the environment variable {name} is not set: "
                "set it to the client keys, or remove it from the list"
            )
    key = "listen" if config.server.listen else "host"
    for address in config.server.addresses():
        if not client_keys(config, secrets) and not address.is_local:
            raise ConfigError(
                f"{source}: key 'server.{key}': {address.host} is a public address and "
                "'auth.keys_env' is empty: name a variable with client keys, or listen on 127.0.0.1"
            )


def _check_secrets(key: str, place: str, source: str, secrets: Secrets) -> None:
    known = [secret for secret in secrets_in(place, secrets) if secret != PLAIN]
    if place and (not known or any(len(secret) < SECRET_LENGTH for secret in known)):
        is_file = place.startswith(FILE)
        home = f"file {place.removeprefix(FILE)}" if is_file else f"environment variable {place}"
        raise ConfigError(
            f"{source}: key '{key}_{'file' if is_file else 'env'}': "
            f"the {home} must hold a secret of at least {SECRET_LENGTH} characters (several with "
            "commas): set it to the output of `openssl rand -hex 32`, or remove the key"
        )


def secrets_in(place: str, secrets: Secrets) -> tuple[bytes, ...]:
    """The secrets in a variable or file: the first one is used, all of them are accepted."""
    return tuple(text.encode() for text in _several(secrets.get(place, "")))


def client_keys(config: Config, secrets: Secrets) -> tuple[ClientKey, ...]:
    """The keys of clients, in the order of the file. Without any, all clients are served.

    A key is named after its variable, or after its file without the suffix.
    """
    places = [(name, name) for name in config.auth.keys_env]
    places += [(Path(path).stem, _place("", path)) for path in config.auth.keys_files]
    return tuple(
        ClientKey(name, key) for name, place in places for key in _several(secrets.get(place, ""))
    )


def _several(text: str) -> list[str]:
    """The parts of a text that commas or ends of lines separate."""
    return [part.strip() for part in re.split(r"[,\n]", text) if part.strip()]
