"""Real reverse proxies of the Debian packages, on loopback, in front of servers.

Rule: what they need is a part of what docs/operations.md tells operators to set.
"""

import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from support.redis_servers import Process, until
from support.tcp_proxy import ReservedPort

NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
  upstream bridges {{ {servers} keepalive 32; }}
  server {{
    listen 127.0.0.1:{port};
    client_max_body_size 64m;
    location / {{
      proxy_pass http://bridges;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header Host $host;
      proxy_buffering off;
      proxy_read_timeout 3600s;
      proxy_send_timeout 3600s;
      proxy_next_upstream error timeout http_503 non_idempotent;
    }}
  }}
}}
"""
HAPROXY = """
global
  maxconn 8192
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h
  timeout check 5s
  retries 3
  option redispatch
  retry-on conn-failure 503
frontend front
  bind 127.0.0.1:{port}
  default_backend bridges
backend bridges
  balance roundrobin
  option httpchk GET /readyz
  default-server check inter 200ms fall 1 rise 1
  {servers}
"""


BUFFERS = """
      proxy_ignore_headers X-Accel-Buffering;
      proxy_buffer_size 1m; proxy_buffers 8 1m; proxy_busy_buffers_size 2m;
"""


class ReverseProxy:
    """``with Nginx(ports) as proxy``: clients connect to ``proxy.port``."""

    program: str
    package: str

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self._reserved = ReservedPort()
        self.port = self._reserved.number
        self._folder = tempfile.TemporaryDirectory(prefix="proxy-")
        self.folder = Path(self._folder.name)
        self._process: Process | None = None

    def __enter__(self) -> Self:
        path = self.folder / "configuration"
        path.write_text(self._configuration(self._ports), encoding="ascii")
        self._process = Process(self._command(path), self.folder / "log")
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

    def _configuration(self, ports: Sequence[int]) -> str:
        raise NotImplementedError

    def _command(self, path: Path) -> list[str]:
        raise NotImplementedError


class Nginx(ReverseProxy):
    """nginx; a server that cannot be reached, or says 503, is asked no more for a while."""

    program = package = "nginx"

    def _configuration(self, ports: Sequence[int]) -> str:
        servers = " ".join(
            f"server 127.0.0.1:{port} max_fails=1 fail_timeout=1s;" for port in ports
        )
        return NGINX.format(folder=self.folder, servers=servers, port=self.port)

    def _command(self, path: Path) -> list[str]:
        return [find(self.program), "-c", str(path), "-p", str(self.folder)]


class SocketlessNginx(Nginx):
    """nginx as many have it: no upgrade gets through. The name of a page's origin does."""

    changes: tuple[tuple[str, str], ...] = (
        ("Upgrade $http_upgrade", 'Upgrade ""'),
        ("Connection $connection_upgrade", 'Connection ""'),
        ("Host $host", "Host $http_host"),
    )

    def _configuration(self, ports: Sequence[int]) -> str:
        text = super()._configuration(ports)
        for old, new in self.changes:
            assert old in text
            text = text.replace(old, new)
        return text


class BufferingNginx(SocketlessNginx):
    """The same, and it sends an answer on when it has all of it, whatever the answer asks for."""

    changes = (
        *SocketlessNginx.changes,
        ("proxy_http_version 1.1", "proxy_http_version 1.0"),  # its default, as are buffers
        ("proxy_buffering off;", BUFFERS),
    )


class HaProxy(ReverseProxy):
    """HAProxy; it asks `/readyz` of each server, and gives new connections to those that are."""

    program = package = "haproxy"

    def _configuration(self, ports: Sequence[int]) -> str:
        servers = "\n  ".join(
            f"server bridge{number} 127.0.0.1:{port}" for number, port in enumerate(ports)
        )
        return HAPROXY.format(servers=servers, port=self.port)

    def _command(self, path: Path) -> list[str]:
        return [find(self.program), "-db", "-f", str(path)]


def find(program: str) -> str:
    """The program's path; Debian has it where users do not look."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    return found or program
