"""Which requests are accepted: keys, origins, hosts. Checked before an upgrade, refused as HTTP.

Rule 1: a key is looked up by its hash, and never logged, echoed or stored. The owner of what is
made with a key is its name, if it has one in ``[[keys]]``; else a hash of the key, keyed with the
operator's secret where there is one. A key that gets a name still owns what it has made before.
Rule 2: a browser page of another origin gets nothing; without keys only this machine is served.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from ws_bridge.config import PLAIN, ClientKey, Config, KeyRules, Secrets, client_keys, secrets_in
from ws_bridge.config.addresses import is_loopback
from ws_bridge.config.client_keys import digest_of, key_rules
from ws_bridge.errors import InvalidApiKey, InvalidRequest, OriginNotAllowed
from ws_bridge.protocol.sealing import Sealer
from ws_bridge.store.base import Store

BROWSER_KEY = "openai-insecure-api-key."
# Subprotocols that clients offer beside a key; one of them is answered, a key never is.
PROTOCOLS = ("openai-beta.responses.v1", "responses", "realtime")
LOCAL_OWNER = "local"  # of everything, where there are no keys
NAMED = "name:"  # before the name of an owner that has one; it is stored, and never changes

# Set by the middleware before any handler runs.
OWNER = web.RequestKey("owner", str)
KEY_NAME = web.RequestKey("key_name", str)
KEY_DIGEST = web.RequestKey("key_digest", bytes)

Learn = Callable[[str, Sequence[str]], None]


class Client(NamedTuple):
    """Who asks: the owner of what it makes, the name of its key, and the key's digest."""

    owner: str
    key_name: str
    key_digest: bytes = b""  # empty where there are no keys


class Authenticator:
    """Checks the requests of one server."""

    def __init__(
        self,
        keys: Sequence[ClientKey],
        *,
        origins: Sequence[str],
        hosts: Collection[str],
        browser_subprotocol: bool,
        secrets: Sequence[bytes] = (),
        wall: Callable[[], float] = time.time,
        learn: Learn = lambda *_: None,
    ) -> None:
        """``learn`` gets an owner, and other names under which the store may know it."""
        self._keys = {one.digest: one for one in keys}
        self._owners = {digest: owner_of(one, secrets) for digest, one in self._keys.items()}
        self._secrets = secrets
        self._learn = learn
        self._learned: dict[bytes, tuple[str, ...]] = {}
        self._wall = wall
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)
        self._hosts = frozenset(hosts)
        self._browser_subprotocol = browser_subprotocol

    def authenticate(self, request: web.Request) -> Client:
        """The client that the request's key stands for. Raises ``BridgeError`` to refuse it."""
        self.allowed_origin(request)
        if "api_key" in request.query or "api-key" in request.query:
            raise InvalidRequest("API keys are not accepted in the query string.")
        if not self._keys:
            self._check_host(request)
            return Client(LOCAL_OWNER, LOCAL_OWNER)
        key = self._key(request)
        digest = digest_of(key)
        if not self.knows(digest):
            raise InvalidApiKey
        owner, found = self._owners[digest], self._keys[digest]
        if found.sha256 and digest not in self._learned:
            names = self._learned[digest] = names_of(key, self._secrets)
            self._learn(owner, names)
        return Client(owner, found.name, digest)

    def knows(self, key_digest: bytes) -> bool:
        """Whether requests with this key are served now."""
        if not self._keys:
            return not key_digest
        key = self._keys.get(key_digest)
        return key is not None and (key.expires is None or self._wall() < key.expires)

    def follow(self, other: Authenticator) -> None:
        """Know what another one has learned of keys that are still the same owner's."""
        for digest, names in other._learned.items():
            if self._owners.get(digest) == other._owners[digest]:
                self._learned[digest] = names
                self._learn(self._owners[digest], names)

    @property
    def next_expiry(self) -> float | None:
        """The wall time at which the next key expires; None: no key does."""
        times = (one.expires for one in self._keys.values())
        return min((one for one in times if one is not None and one > self._wall()), default=None)

    def _key(self, request: web.Request) -> str:
        scheme, _, key = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if scheme.lower() == "bearer" and key.strip():
            return key.strip()
        if self._browser_subprotocol:
            for name in offered_protocols(request):
                if name.startswith(BROWSER_KEY):
                    return name.removeprefix(BROWSER_KEY)
        raise InvalidApiKey

    def allowed_origin(self, request: web.Request) -> str | None:
        """The other origin whose page asks and may read the answer; None: no page, or our own.

        Raises ``OriginNotAllowed``.
        """
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is None or origin.lower() in self._origins:
            return origin
        if _netloc(origin) == request.host.lower() != "":
            return None
        raise OriginNotAllowed

    def _check_host(self, request: web.Request) -> None:
        """Without keys, a foreign name in ``Host`` means a page that rebinds its DNS name to us."""
        host = _hostname(request.host)
        if not is_loopback(host) and host not in self._hosts:
            raise OriginNotAllowed


def authenticator_of(
    config: Config,
    secrets: Secrets,
    wall: Callable[[], float] = time.time,
    learn: Learn = lambda *_: None,
) -> Authenticator:
    """The authenticator that a configuration asks for."""
    return Authenticator(
        client_keys(config, secrets),
        origins=config.server.allowed_origins,
        hosts=[address.host.lower() for address in config.server.addresses()],
        browser_subprotocol=config.auth.browser_subprotocol,
        secrets=secrets_in(config.auth.secret, secrets),
        wall=wall,
        learn=learn,
    )


def owner_names(config: Config, secrets: Secrets) -> list[tuple[str, ...]]:
    """The names under which the store may know each owner."""
    signing = secrets_in(config.auth.secret, secrets)
    names: dict[str, dict[str, None]] = {}
    for one in client_keys(config, secrets):
        known = names.setdefault(owner := owner_of(one, signing), {owner: None})
        known |= dict.fromkeys(names_of(one.key, signing) if one.key else ())
    return [tuple(known) for known in names.values()]


def rules_by_owner(config: Config) -> dict[str, KeyRules]:
    """What the owners that have a name may ask for."""
    return {NAMED + name: rules for name, rules in key_rules(config).items()}


def sealer_of(config: Config, secrets: Secrets, store: Store) -> Sealer:
    """A sealer that signs with the operator's secret, or else the store's key, and accepts both."""
    signing = [one for one in secrets_in(config.auth.secret, secrets) if one != PLAIN]
    return Sealer(lambda: (*signing, *filter(None, [store.shared_key()])))


def offered_protocols(request: web.Request) -> list[str]:
    """The subprotocols that a client offers."""
    offered = request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "")
    return [name.strip() for name in offered.split(",") if name.strip()]


def answered_protocol(request: web.Request) -> tuple[str, ...]:
    """The one subprotocol to answer, or none."""
    return tuple(name for name in offered_protocols(request) if name in PROTOCOLS)[:1]


def owner_of(key: ClientKey, secrets: Sequence[bytes]) -> str:
    """The owner of what is made with a key."""
    return NAMED + key.name if key.is_named else names_of(key.key, secrets)[0]


def names_of(key: str, secrets: Sequence[bytes]) -> tuple[str, ...]:
    """The names of a key's owner: with the first secret, with the others, and without any.

    With a secret, a reader of the store cannot try out keys.
    """
    text = b"ws_bridge owner " + key.encode(errors="surrogateescape")
    plain = hashlib.sha256(text).digest()
    keyed = (plain if one == PLAIN else hmac.digest(one, text, "sha256") for one in secrets)
    return tuple(dict.fromkeys(digest.hex()[:32] for digest in (*keyed, plain)))


def _netloc(origin: str) -> str:
    """Host and port of an origin; "" if it is none, as many headers are."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:  # brackets without an address, letters that become others
        return ""


def _hostname(host: str) -> str:
    """The name in a ``Host``, without its port; "" if there is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
