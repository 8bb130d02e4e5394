"""Where the server listens: its sockets, their TLS, and the errors of both.

Rule 1: every address is bound before anything else, so that one in use is seen at once.
Rule 2: of several processes each has a socket of its own on each port (SO_REUSEPORT): the kernel
spreads connections evenly over them, which one shared socket does not (3 : 1 was seen). A UNIX
socket is one for all, since a path can be bound once.
Rule 3: the file of a UNIX socket that no server listens on is replaced, and one in use is refused.
The file stays at the end: the next server may have replaced it by then.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ws_bridge.config import Config
from ws_bridge.config.addresses import ListenAddress
from ws_bridge.config.files import read_file
from ws_bridge.errors import ConfigError

Address = tuple[Any, ...]  # what `getaddrinfo` finds and `bind` takes

BACKLOG = 1024  # connections that wait to be accepted: after a restart all clients come at once
# Elsewhere the option is missing, or lets the kernel give all connections to one of the sockets.
SPREADS = sys.platform == "linux"
MOST_TLS_BYTES = 2**20  # of a certificate with its chain
PROBE_SECONDS = 1.0  # for a server that is alive and does not accept now


def listen(config: Config, count: int = 1) -> list[list[socket.socket]]:
    """Open the listening sockets of so many processes: for each a list, in the order of the file.

    Raises ``ConfigError``.
    """
    opened: list[socket.socket] = []  # what is open by then is closed if one fails
    by_process: list[list[socket.socket]] = [[] for _ in range(count)]
    try:
        for address in config.server.addresses():
            is_unix = bool(address.path)
            found = (_unix_sockets if is_unix else _sockets)(config, address, count)
            for own, one in zip(by_process, found, strict=True):
                opened.append(one)
                own.append(one)
    except OSError as refused:
        for one in opened:
            one.close()
        raise _cannot_listen(config, address, refused) from None
    return by_process


def control_socket(config: Config) -> socket.socket | None:
    """Open the control socket, for its owner alone; None without one. Raises ``ConfigError``."""
    if not (path := config.server.control_socket):
        return None
    try:
        return _unix_socket(path, 0o600)
    except OSError as refused:
        raise ConfigError(
            f"key 'server.control_socket': cannot listen on {path} ({refused.strerror or refused})"
        ) from None


def _sockets(config: Config, address: ListenAddress, count: int) -> Iterator[socket.socket]:
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    family, *_, place = found[0]
    # `::` is both families, unless an address of the other one is served beside it.
    is_shared = any(
        "." in one.host and one.port == address.port for one in config.server.addresses()
    )
    both = address.host == "::" and not is_shared
    # Bound without SO_REUSEPORT, so that the port of another server is refused, not shared.
    first = _bound(family, place, shares=False, both=both)
    if SPREADS and count > 1:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    first.listen(BACKLOG)
    yield first
    for _ in range(count - 1):
        if not SPREADS:
            yield first.dup()
            continue
        one = _bound(family, first.getsockname(), shares=True, both=both)
        one.listen(BACKLOG)
        yield one


def _bound(family: int, address: Address, *, shares: bool, both: bool) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not both))
        if shares:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(address)
    except BaseException:
        one.close()
        raise
    return one


def _unix_sockets(config: Config, address: ListenAddress, count: int) -> Iterator[socket.socket]:
    first = _unix_socket(address.path, int(config.server.unix_mode, 8))
    yield first
    for _ in range(count - 1):
        yield first.dup()


def _unix_socket(path: str, mode: int) -> socket.socket:
    _remove_stale(path)
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    others = os.umask(0o777 & ~mode)  # the file is never there with more rights
    try:
        one.bind(path)
        one.listen(BACKLOG)
    except BaseException:
        one.close()
        raise
    finally:
        os.umask(others)
    return one


def _remove_stale(path: str) -> None:
    """Remove the file of a socket that no server listens on. Raises ``OSError`` for any other."""
    try:
        is_socket = stat.S_ISSOCK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise FileExistsError(errno.EEXIST, "there is a file that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_SECONDS)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
            return
        except (BlockingIOError, TimeoutError):  # it has no room for one more
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _cannot_listen(config: Config, address: ListenAddress, refused: OSError) -> ConfigError:
    is_listed = bool(config.server.listen)
    if refused.errno == errno.EADDRINUSE:
        key, other = ("listen", "address") if is_listed else ("port", "port")
        return ConfigError(
            f"key 'server.{key}': {address} is in use: stop the other server or choose another "
            f"{other}"
        )
    key = "listen" if is_listed else "host"
    return ConfigError(f"key 'server.{key}': cannot listen on {address} ({refused.strerror})")


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
        for path in (server.tls_cert, server.tls_key):
            read_file(path, MOST_TLS_BYTES)  # OpenSSL would wait for a FIFO, and read a device
        context.load_cert_chain(server.tls_cert, server.tls_key, password=_no_password)
    except (OSError, ssl.SSLError):
        raise ConfigError(
            f"keys 'server.tls_cert' and 'server.tls_key': {server.tls_cert} and {server.tls_key} "
            "are not a readable PEM certificate and its key, without a password: correct the paths"
        ) from None
    return context


def _no_password() -> str:
    """What OpenSSL asks for an encrypted key; it would ask the terminal, or standard input."""
    return ""


def address(config: Config, listening: socket.socket) -> str:
    """The URL of the socket for a client on this machine; of a UNIX socket ``unix:PATH``."""
    name = listening.getsockname()
    if listening.family == socket.AF_UNIX:
        return str(ListenAddress("", 0, name))
    scheme = "https" if config.server.tls_cert else "http"
    return f"{scheme}://{ListenAddress(*name[:2])}"
