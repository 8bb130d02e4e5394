"""Which requests are accepted: keys, origins, hosts. Checked before an upgrade, refused as HTTP.

Rule 1: keys are compared in constant time and never logged, echoed or stored; an owner is a hash,
keyed with the operator's secret where there is one.
Rule 2: a browser page of another origin gets nothing; without keys only this machine is served.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from ws_bridge.config import PLAIN, ClientKey, Config, Secrets, client_keys, secrets_in
from ws_bridge.config.addresses import is_loopback
from ws_bridge.errors import InvalidApiKey, InvalidRequest, OriginNotAllowed
from ws_bridge.protocol.sealing import Sealer
from ws_bridge.store.base import Store

BROWSER_KEY = "openai-insecure-api-key."
# Subprotocols that clients offer beside a key; one of them is answered, a key never is.
PROTOCOLS = ("openai-beta.responses.v1", "responses", "realtime")
LOCAL_OWNER = "local"  # of everything, where there are no keys

# Set by the middleware before any handler runs.
OWNER = web.RequestKey("owner", str)
KEY_NAME = web.RequestKey("key_name", str)


class Client(NamedTuple):
    """Who asks: the owner of what it makes, and the name of its key."""

    owner: str
    key_name: str


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
    ) -> None:
        self._clients = {
            _digest(one.key): Client(names_of(one.key, secrets)[0], one.name) for one in keys
        }
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)
        self._hosts = frozenset(hosts)
        self._browser_subprotocol = browser_subprotocol

    def authenticate(self, request: web.Request) -> Client:
        """The client that the request's key stands for. Raises ``BridgeError`` to refuse it."""
        self.allowed_origin(request)
        if "api_key" in request.query or "api-key" in request.query:
            raise InvalidRequest("API keys are not accepted in the query string.")
        if not self._clients:
            self._check_host(request)
            return Client(LOCAL_OWNER, LOCAL_OWNER)
        digest = _digest(self._key(request))
        client: Client | None = None
        for known, one in self._clients.items():
            if hmac.compare_digest(known, digest):
                client = one
        if client is None:
            raise InvalidApiKey
        return client

    def knows(self, owner: str) -> bool:
        """Whether some request may come from this owner."""
        if not self._clients:
            return owner == LOCAL_OWNER
        return any(client.owner == owner for client in self._clients.values())

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


def authenticator_of(config: Config, secrets: Secrets) -> Authenticator:
    """The authenticator that a configuration asks for."""
    return Authenticator(
        client_keys(config, secrets),
        origins=config.server.allowed_origins,
        hosts=[address.host.lower() for address in config.server.addresses()],
        browser_subprotocol=config.auth.browser_subprotocol,
        secrets=secrets_in(config.auth.secret, secrets),
    )


def owner_names(config: Config, secrets: Secrets) -> list[tuple[str, ...]]:
    """The names under which the store may know each owner."""
    signing = secrets_in(config.auth.secret, secrets)
    return [names_of(one.key, signing) for one in client_keys(config, secrets)]


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


def _digest(key: str) -> bytes:
    """The hash of the key's bytes as they came: a header need not be UTF-8."""
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()
