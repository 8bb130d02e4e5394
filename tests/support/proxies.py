"""Real reverse proxies of the Debian packages, on loopback, in front of servers.

Rule: they run the files of `deploy/` as they are, but for addresses and folders.
"""

import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Self

from support.redis_servers import Process, until
from support.tcp_proxy import ReservedPort

DEPLOY = Path(__file__).parents[2] / "deploy"
SERVERS = ("bridge-1:8787", "bridge-2:8787")


BUFFERS = """
      proxy_ignore_headers X-Accel-Buffering;
      proxy_buffer_size 1m; proxy_buffers 8 1m; proxy_busy_buffers_size 2m;
"""


class ReverseProxy:
    """``with Nginx(ports) as proxy``: clients connect to ``proxy.port``.

    It has two servers, which may be the same one.
    """

    program: str
    file: str  # in `deploy/`
    listens: tuple[str, str]  # where the file has the clients' port, and what stands there here
    environ: Mapping[str, str] = MappingProxyType({})

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self._reserved = ReservedPort()
        self.port = self._reserved.number
        self._folder = tempfile.TemporaryDirectory(prefix="proxy-")
        self.folder = Path(self._folder.name)
        self._process: Process | None = None

    def __enter__(self) -> Self:
        path = self.folder / self.file
        path.write_text(self.configuration(), encoding="ascii")
        environ = {**os.environ, "HOME": str(self.folder), **self.environ}
        self._process = Process(self._command(path), self.folder / "log", environ=environ)
        until(self._listens, f"{self.program} listens")
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.end()
        self._reserved.release()
        self._folder.cleanup()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def log(self) -> str:
        """What it printed."""
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "log").read_text(errors="replace")
        return ""

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.exit_code is None, self.log()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False

    def configuration(self) -> str:
        """The file of `deploy/`, with this machine's addresses."""
        text = (DEPLOY / self.file).read_text(encoding="ascii")
        there, here = self.listens
        changes = {there: here.format(self.port)}
        for server, port in zip(SERVERS, (*self._ports, *self._ports), strict=False):
            changes[server] = f"127.0.0.1:{port}"
        for old, new in changes.items():
            assert text.count(old) == 1, f"{self.file} has to name {old} once"
            text = text.replace(old, new)
        return text

    def _command(self, path: Path) -> list[str]:
        raise NotImplementedError


class Nginx(ReverseProxy):
    """nginx; a server that cannot be reached is asked no more for a second."""

    program, file, listens = "nginx", "nginx.conf", ("listen 8080;", "listen 127.0.0.1:{};")

    def configuration(self) -> str:
        """Its files are in a folder of its own."""
        return super().configuration().replace("/tmp/", f"{self.folder}/")  # noqa: S108 - replaced

    def _command(self, path: Path) -> list[str]:
        directives = "daemon off; master_process off;"  # one process: it ends by its id
        return [find(self.program), "-e", "stderr", "-g", directives, "-c", str(path)]


class ChangedNginx(Nginx):
    """nginx as others have it."""

    changes: tuple[tuple[str, str], ...] = ()

    def configuration(self) -> str:
        """The file of `deploy/` with the changes."""
        text = super().configuration()
        for old, new in self.changes:
            assert old in text
            text = text.replace(old, new)
        return text


class SocketlessNginx(ChangedNginx):
    """No upgrade gets through."""

    changes = (
        ("Upgrade $http_upgrade", 'Upgrade ""'),
        ("Connection $connection_upgrade", 'Connection ""'),
    )


class PortlessNginx(ChangedNginx):
    """The port of the page's address does not get through."""

    changes = (("Host $http_host", "Host $host"),)


class BufferingNginx(SocketlessNginx):
    """No upgrade, and it sends an answer on when it has all of it, whatever the answer asks for."""

    changes = (
        *SocketlessNginx.changes,
        ("proxy_http_version 1.1", "proxy_http_version 1.0"),  # its default, as are buffers
        ("proxy_buffering off;", BUFFERS),
    )


class HaProxy(ReverseProxy):
    """HAProxy; it asks `/readyz` of each server, and gives new connections to those that are."""

    program, file, listens = "haproxy", "haproxy.cfg", ("bind :8080", "bind 127.0.0.1:{}")

    def _command(self, path: Path) -> list[str]:
        return [find(self.program), "-db", "-f", str(path)]


class Caddy(ReverseProxy):
    """Caddy; it asks `/readyz` as well."""

    program, file = "caddy", "Caddyfile"
    listens = (":8080 {", "http://127.0.0.1:{} {{")

    def __init__(self, ports: Sequence[int]) -> None:
        super().__init__(ports)
        # What changes a running Caddy listens where nobody else is.
        self.environ = {"CADDY_ADMIN": f"unix/{self.folder / 'admin'}"}

    def _command(self, path: Path) -> list[str]:
        return [find(self.program), "run", "--adapter", "caddyfile", "--config", str(path)]


def find(program: str) -> str:
    """The program's path; Debian has it where users do not look."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    return found or program
