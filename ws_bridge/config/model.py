"""The sections of config.toml and their keys, as frozen values.

Each value is checked by itself here; what holds between several is checked in `checks`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from ws_bridge.config.addresses import ListenAddress, bare, parse_address

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
PREFIX, SEPARATOR = "WS_BRIDGE__", "__"  # of variables of the environment that set a key
LISTS = ("keys", "models")  # sections that are lists of tables: a variable sets a whole one
FILE = "file:"  # before the path of a file, where a variable's name could stand

# A key pasted in place of a name is refused, and repeated nowhere. Providers' keys that would be
# names as well begin like these, or mix what names do not.
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PASTED = re.compile(
    r"(?:sk|pk|rk|gsk|hf|xai|ghp|r8)[-_]|AIza|(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9]).{20}"
)
KEY_NAME = r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,63}"  # of a client: it stands in logs and in the store
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s?#@]+/?", re.IGNORECASE)


def _variable(name: str) -> str:
    if name and (not VARIABLE.fullmatch(name) or PASTED.match(name)):
        raise ValueError(
            "this is not the name of an environment variable: set a variable to the secret, and "
            "write the variable's name here"
        )
    return name


def _listen_text(text: str) -> str:
    parse_address(text)
    return text


def _page_text(text: str) -> str:
    if text and parse_address(text).path:
        raise ValueError("use HOST:PORT or [IPv6]:PORT, such as 127.0.0.1:9464")
    return text


def _origin(text: str) -> str:
    if not ORIGIN.fullmatch(text):
        raise ValueError("use an origin with its scheme, such as https://app.example")
    return text


Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
NotNegativeCount = Annotated[int, Field(ge=0)]
Variable = Annotated[str, AfterValidator(_variable)]
ListenText = Annotated[str, AfterValidator(_listen_text)]
Origin = Annotated[str, AfterValidator(_origin)]


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
    allowed_origins: tuple[Origin, ...] = ()
    tls_cert: str = ""
    tls_key: str = ""
    workers: Count = 1
    report_cost: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    listen: tuple[ListenText, ...] = ()
    unix_mode: Annotated[str, Field(pattern=r"^0?[0-7]{3}$")] = "0660"
    lame_duck_seconds: NotNegative = 5
    control_socket: str = ""
    ready_without_store: bool = True
    log_format: Literal["text", "json"] = "text"
    access_log: bool = False

    def addresses(self) -> tuple[ListenAddress, ...]:
        """Where to listen: ``listen``, or ``host`` and ``port`` as its short form."""
        if not self.listen:
            return (ListenAddress(bare(self.host), self.port),)
        return tuple(map(parse_address, self.listen))


class AuthConfig(Section):
    """``[auth]``: the keys of clients."""

    keys_env: tuple[Variable, ...] = ()
    keys_files: tuple[str, ...] = ()
    browser_subprotocol: bool = False
    secret_env: Variable = ""
    secret_file: str = ""

    @property
    def secret(self) -> str:
        """Where the servers' secrets stand."""
        return place_of(self.secret_env, self.secret_file)


class StoreConfig(Section):
    """``[store]``: where responses are stored."""

    url: str = "memory://"
    password_env: Variable = ""
    password_file: str = ""
    encrypt_with_env: Variable = ""
    encrypt_with_file: str = ""
    ttl_seconds: Positive = 86400
    conversation_seconds: Positive = 2592000
    flush_ms: Positive = 25
    lease_seconds: Annotated[float, Field(ge=1)] = 15
    end_waits_seconds: NotNegative = 10
    backlog_mib: Count = 256
    max_mib: Count = 512
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{0,64}$")] = ""

    @property
    def password(self) -> str:
        """Where the password stands."""
        return place_of(self.password_env, self.password_file)

    @property
    def encrypt_with(self) -> str:
        """Where the secrets stand that values are encrypted with."""
        return place_of(self.encrypt_with_env, self.encrypt_with_file)


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
    connections_per_key: NotNegativeCount = 0
    running_per_key: NotNegativeCount = 0
    creates_per_minute: NotNegativeCount = 0
    tokens_per_minute: NotNegativeCount = 0
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


class KeyEntry(Section):
    """One ``[[keys]]`` entry: a key of a client, and what the client may ask for.

    Entries of one name are keys of one client. What is None stands in ``[limits]``.
    """

    name: Annotated[str, Field(pattern=rf"^{KEY_NAME}$")]
    key_env: Variable = ""
    key_file: str = ""
    sha256: Annotated[str, Field(pattern=r"^(?:[0-9a-fA-F]{64})?$")] = ""
    models: tuple[str, ...] = ()
    creates_per_minute: NotNegativeCount | None = None
    tokens_per_minute: NotNegativeCount | None = None
    running: NotNegativeCount | None = None
    connections: NotNegativeCount | None = None
    budget_usd: NotNegative | None = None
    budget_days: Annotated[int, Field(ge=1, le=400)] = 30
    expires: AwareDatetime | None = None

    @property
    def key(self) -> str:
        """Where the key stands; "" if only its hash does."""
        return place_of(self.key_env, self.key_file)


class ModelEntry(Section):
    """One ``[[models]]`` entry: a name for clients, and the model that litellm is asked for."""

    name: Annotated[str, Field(min_length=1)]
    model: Annotated[str, Field(pattern=r"^[^/]+/.+")]
    mode: Literal["auto", "managed", "native"] = "auto"
    via: Literal["auto", "litellm"] = "auto"
    api_base: str = ""
    api_key_env: Variable = ""
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
        return place_of(self.api_key_env, self.api_key_file)

    def off_reason(self, secrets: Secrets) -> str:
        """Why the entry cannot serve; empty if it can."""
        if not self.enabled:
            return "enabled = false"
        if self.api_key_env and not secrets.get(self.api_key_env):
            return f"{shown_name(self.api_key_env) or 'its variable'} is not set"
        return ""


class MetricsConfig(Section):
    """``[metrics]``: the page of the whole server's numbers."""

    listen: Annotated[str, AfterValidator(_page_text)] = ""
    key_env: Variable = ""
    key_file: str = ""

    @property
    def key(self) -> str:
        """Where the page's key stands."""
        return place_of(self.key_env, self.key_file)


class TelemetryConfig(Section):
    """``[telemetry]``: who else hears of what happens."""

    litellm_callbacks: tuple[str, ...] = ()


class Config(Section):
    """The whole file."""

    server: ServerConfig = ServerConfig()
    auth: AuthConfig = AuthConfig()
    store: StoreConfig = StoreConfig()
    background: BackgroundConfig = BackgroundConfig()
    limits: Limits = Limits()
    keys: tuple[KeyEntry, ...] = ()
    models: tuple[ModelEntry, ...] = ()
    metrics: MetricsConfig = MetricsConfig()
    telemetry: TelemetryConfig = TelemetryConfig()


def keys() -> list[tuple[str, str]]:
    """Section and key of all that the file can set but models."""
    tables = {name: type(value) for name, value in Config() if isinstance(value, Section)}
    return [(name, key) for name, table in tables.items() for key in table.model_fields]


def variable_of(place: Sequence[str | int]) -> str:
    """The variable of the environment that sets the value at a place."""
    key = place[:1] if place[0] in LISTS else place[:2]
    return PREFIX + SEPARATOR.join(map(str, key)).upper()


def shown_name(variable: str) -> str:
    """A variable's name, if it is plain that it is one; "" where it may be a key in its place."""
    return variable if variable.upper() == variable else ""


def place_of(variable: str, file: str) -> str:
    """Where a secret stands in ``Secrets``; "" if the configuration names none."""
    return FILE + file if file else variable


def match_wildcard(pattern: str, name: str) -> str:
    """The text that the ``*`` of ``pattern`` matches in ``name``; "" if it does not match."""
    head, star, tail = pattern.partition("*")
    fits = star and len(name) > len(head) + len(tail)
    if not fits or not name.startswith(head) or not name.endswith(tail):
        return ""
    return name[len(head) : len(name) - len(tail)]
