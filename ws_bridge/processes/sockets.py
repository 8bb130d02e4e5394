"""Where the server listens: its sockets, their TLS, and the errors of both.

Rule 1: the port is bound before anything else, so that an address in use is seen at once.
Rule 2: of several processes each has a socket of its own on the port (SO_REUSEPORT): the kernel
spreads connections evenly over them, which one shared socket does not (3 : 1 was seen).
"""

from __future__ import annotations

import errno
import socket
import ssl
import sys
from collections.abc import Iterator
from typing import Any

from ws_bridge.config import Config, ServerConfig
from ws_bridge.errors import ConfigError

Address = tuple[Any, ...]  # what `getaddrinfo` finds and `bind` takes

BACKLOG = 1024  # connections that wait to be accepted: after a restart all clients come at once
# Elsewhere the option is missing, or lets the kernel give all connections to one of the sockets.
SPREADS = sys.platform == "linux"


def listen(config: Config, count: int = 1) -> list[socket.socket]:
    """Open so many listening sockets on one port. Raises ``ConfigError``."""
    server = config.server
    opened: list[socket.socket] = []
    try:
        for one in _sockets(server, count):
            opened.append(one)  # noqa: PERF402 - what is open by then is closed if one fails
    except OSError as refused:
        for one in opened:
            one.close()
        raise _cannot_listen(server, refused) from None
    return opened


def _sockets(server: ServerConfig, count: int) -> Iterator[socket.socket]:
    found = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
    family, *_, address = found[0]
    if count == 1:
        yield socket.create_server(address[:2], family=family, backlog=BACKLOG)
        return
    # Bound without the option, so that the port of another server is refused, not shared.
    first = _bound(family, address[:2], shares=False)
    if SPREADS:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    first.listen(BACKLOG)
    yield first
    for _ in range(count - 1):
        if not SPREADS:
            yield first.dup()
            continue
        one = _bound(family, first.getsockname()[:2], shares=True)
        one.listen(BACKLOG)
        yield one


def _bound(family: int, address: Address, *, shares: bool) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if shares:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(address)
    except BaseException:
        one.close()
        raise
    return one


def _cannot_listen(server: ServerConfig, refused: OSError) -> ConfigError:
    where = f"{server.host}:{server.port}"
    if refused.errno == errno.EADDRINUSE:
        return ConfigError(
            f"key 'server.port': {where} is in use: stop the other server or choose another port"
        )
    return ConfigError(f"key 'server.host': cannot listen on {where} ({refused.strerror})")


class ServerTls(ssl.SSLContext):
    """The TLS context of connections. Its certificate can change: the next handshake has it."""

    successor: ssl.SSLContext | None = None

    def replace(self, context: ssl.SSLContext) -> None:
        """Have another certificate from now on."""
        self.successor = context
        self.sni_callback = self._switch

    def _switch(self, connection: ssl.SSLObject, _name: str | None, _own: ssl.SSLContext) -> None:
        """What OpenSSL calls in each handshake, also of clients that name no server."""
        if self.successor is not None:
            connection.context = self.successor


def tls(config: Config) -> ServerTls | None:
    """The TLS context of connections; None without TLS. Raises ``ConfigError``."""
    server = config.server
    if not server.tls_cert:
        return None
    context = ServerTls(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(server.tls_cert, server.tls_key)
    except (OSError, ssl.SSLError):
        raise ConfigError(
            f"keys 'server.tls_cert' and 'server.tls_key': {server.tls_cert} and {server.tls_key} "
            "are not a readable PEM certificate and its key: correct the paths"
        ) from None
    return context


def address(config: Config, listening: socket.socket) -> str:
    """The URL of the socket for a client on this machine."""
    host, port = listening.getsockname()[:2]
    scheme = "https" if config.server.tls_cert else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
