"""`[store] url` → clients of a Redis or Valkey: one server, Sentinel, or Cluster.

Rule 1: a URL or a server that can never work is a ``ConfigError``: one line that names the key, and
never the password.
Rule 2: a call that waits longer than a second has failed; its caller repeats it.
"""

from __future__ import annotations

import contextlib
import logging
import re
import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from ws_bridge.errors import ConfigError

log = logging.getLogger(__name__)

Client = Redis | RedisCluster

OLDEST_VERSION = (7, 0)  # that the scripts are tested on
ADDRESS = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^:\[\]/@]+)(:(?P<port>[0-9]{1,5}))?")
PORT = 6379
PORTS = {"sentinel": 26379}
CALL_SECONDS = 1.0
POLICY = "maxmemory-policy"
# What a client raises when the server is away, slow, or refuses calls.
# uvloop raises RuntimeError for a connection that was reset while this process stood still.
UNAVAILABLE = (RedisError, RedisClusterException, OSError, TimeoutError, RuntimeError)


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """The parts of a store's URL."""

    kind: str  # "", "sentinel" or "cluster"
    addresses: tuple[tuple[str, int], ...]
    service: str  # the name Sentinel knows the master by
    db: int
    options: dict[str, Any] = field(repr=False)  # username, password, ssl


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files for a connection; "" is the system's authorities, or no certificate of ours."""

    authorities: str = ""
    certificate: str = ""
    key: str = ""

    def options(self) -> dict[str, Any]:
        """The client's options. Raises ``ConfigError`` if a file cannot be used."""
        try:
            context = ssl.create_default_context(cafile=self.authorities or None)
        except OSError:
            raise ConfigError(
                f"key 'store.tls_ca': {self.authorities} is no readable PEM file of certificates: "
                "correct the path"
            ) from None
        if self.certificate:
            try:
                context.load_cert_chain(self.certificate, self.key)
            except OSError:
                raise ConfigError(
                    f"keys 'store.tls_cert' and 'store.tls_key': {self.certificate} and {self.key} "
                    "are not a readable PEM certificate and its key: correct the paths"
                ) from None
        return {
            "ssl": True,
            "ssl_ca_certs": self.authorities or None,
            "ssl_certfile": self.certificate or None,
            "ssl_keyfile": self.key or None,
        }


def parse_url(url: str, password: str = "", tls: TlsFiles = TlsFiles()) -> RedisAddress:
    """The parts of a URL; ``password`` replaces the one in it. Raises ``ConfigError``."""
    scheme, _, rest = url.partition("://")
    protocol, _, kind = scheme.partition("+")
    parts = _split(f"//{rest}")
    user, _, hosts = parts.netloc.rpartition("@")
    if protocol not in ("redis", "rediss") or kind not in ("", "sentinel", "cluster"):
        raise _unusable("its scheme is none of redis, rediss, redis+sentinel, redis+cluster")
    addresses = tuple(_address(host, PORTS.get(kind, PORT)) for host in hosts.split(","))
    if not kind and len(addresses) != 1:
        raise _unusable("it names several servers: use redis+sentinel:// or redis+cluster://")
    path = [unquote(part) for part in parts.path.strip("/").split("/") if part]
    service = path.pop(0) if kind == "sentinel" and path else ""
    if kind == "sentinel" and not service:
        raise _unusable("the master's name is missing: redis+sentinel://host:26379/NAME")
    db = path.pop(0) if path else "0"
    if kind == "cluster" and db != "0":
        raise _unusable("a cluster has no database but 0")
    if path or not db.isdecimal() or parts.query or parts.fragment:
        raise _unusable("after the address comes at most a database number")
    name, _, secret = (unquote(part) for part in user.partition(":"))
    options: dict[str, Any] = {"username": name or None, "password": password or secret or None}
    if protocol == "rediss":
        options |= tls.options()
    elif tls != TlsFiles():
        raise _unusable("'store.tls_…' needs TLS: use rediss://, or remove these keys")
    return RedisAddress(kind, addresses, service, int(db), options)


def connect(address: RedisAddress, *, subscribes: bool = False, pool: int = 64) -> Client:
    """A client that has sent nothing yet; one that ``subscribes`` waits for messages for ever."""
    options = address.options | {
        "socket_timeout": None if subscribes else CALL_SECONDS,
        "socket_connect_timeout": CALL_SECONDS,
        "max_connections": pool,
    }
    no_retry = Retry(NoBackoff(), 0)
    if address.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in address.addresses]
        return RedisCluster(
            startup_nodes=nodes,
            retry=Retry(NoBackoff(), 1),
            require_full_coverage=False,
            # The client learns a moved slot by itself. To learn all slots again it would close
            # every connection, those in use too.
            reinitialize_steps=0,
            **options,
        )
    options |= {"retry": no_retry, "db": address.db}
    if address.kind == "sentinel":
        sentinel_options = {
            key: value for key, value in address.options.items() if key.startswith("ssl")
        }
        sentinel_options |= {"socket_timeout": CALL_SECONDS, "socket_connect_timeout": CALL_SECONDS}
        watchers = list(address.addresses)
        sentinel: Any = Sentinel(watchers, sentinel_kwargs=sentinel_options | {"retry": no_retry})  # type: ignore[no-untyped-call]
        client: Redis = sentinel.master_for(address.service, **options)
        return client
    [(host, port)] = address.addresses
    return Redis(host=host, port=port, **options)


def reason_of(failure: BaseException) -> str:
    """Why a call failed, for the log: of TLS what is wrong, else the kind of the failure."""
    found: BaseException | None = failure
    while found is not None:
        if isinstance(found, ssl.SSLCertVerificationError):
            return f"certificate: {found.verify_message}"
        if isinstance(found, ssl.SSLError):
            return f"TLS: {getattr(found, 'reason', None) or type(found).__name__}"
        found = found.__cause__ or found.__context__
    return type(failure).__name__


@dataclass(frozen=True, slots=True)
class ServerReport:
    """What a store's server reports about itself."""

    uptime_seconds: float


async def check_server(client: Client) -> ServerReport:
    """The server's report, if it fits.

    Raises ``ConfigError`` for what stays wrong until the operator changes it, else what the client
    raises. A server that may evict keys fits, with a warning in the log.
    """
    try:
        infos = await _infos(client)
        policies = await _policies(client)
    except (AuthenticationError, AuthorizationError):
        raise ConfigError(
            "key 'store.url': the server refuses the user or the password: correct them, "
            "or 'store.password_env'"
        ) from None
    except NoPermissionError as refusal:
        raise ConfigError(
            f"key 'store.url': the user lacks a right ({refusal}): docs/operations.md lists them"
        ) from None
    for info in infos:
        version = str(info.get("redis_version", "0"))
        if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST_VERSION:
            oldest = ".".join(map(str, OLDEST_VERSION))
            raise ConfigError(
                f"key 'store.url': the server is version {version}: it must be {oldest} or newer"
            )
    for policy in policies - {"noeviction"}:
        log.warning(
            "store_may_evict policy=%s: stored responses can be lost when memory is short: "
            "CONFIG SET maxmemory-policy noeviction",
            policy,
        )
    return ServerReport(min(float(info.get("uptime_in_seconds", 0)) for info in infos))


async def _infos(client: Client) -> list[dict[str, Any]]:
    if isinstance(client, RedisCluster):
        await client.initialize()
        return [await node.execute_command("INFO", "server") for node in client.get_primaries()]
    return [await client.info("server")]


async def _policies(client: Client) -> set[str]:
    """The eviction policies; empty where the server does not report them (some hosted ones)."""
    try:
        if isinstance(client, RedisCluster):
            nodes = client.get_primaries()
            answers = [await node.execute_command("CONFIG", "GET", POLICY) for node in nodes]
        else:
            answers = [await client.config_get(POLICY)]
    except (AuthenticationError, AuthorizationError):
        raise
    except ResponseError as refusal:
        log.warning("store_policy_unknown reason=%s", type(refusal).__name__)
        return set()
    return {_text(value) for answer in answers for value in dict(answer).values()}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _split(url: str) -> SplitResult:
    with contextlib.suppress(ValueError):  # its message may have the password
        return urlsplit(url)
    raise _unusable("it is no URL: is there a bracket too many?")


def _address(text: str, port: int) -> tuple[str, int]:
    found = ADDRESS.fullmatch(text)
    if found is None or not 0 < int(found["port"] or port) < 65536:
        raise _unusable("an address in it is not HOST or HOST:PORT")
    return found["host"].strip("[]"), int(found["port"] or port)


def _unusable(reason: str) -> ConfigError:
    return ConfigError(f"key 'store.url': {reason}")
