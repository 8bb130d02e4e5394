"""Where a server listens, as text: ``HOST:PORT``, ``[IPv6]:PORT``, ``unix:PATH``."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

HOST_PORT = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+(%\w+)?\]|[^\s:/\[\]@]+):(?P<port>[0-9]{1,5})")
UNIX = "unix:"
LONGEST_PATH = 107  # bytes of a UNIX socket's path; the kernel takes no more


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """One address to listen on: a host and a port, or the path of a UNIX socket."""

    host: str
    port: int
    path: str = ""

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return bool(self.path) or is_loopback(self.host)

    def __str__(self) -> str:
        if self.path:
            return f"{UNIX}{self.path}"
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def parse_address(text: str) -> ListenAddress:
    """The address that a text stands for. Raises ``ValueError`` with the remedy."""
    path = text.removeprefix(UNIX)
    if path != text:
        if not path.startswith("/") or "\0" in path or len(path.encode()) > LONGEST_PATH:
            raise ValueError(
                f"use unix: and an absolute path of at most {LONGEST_PATH} bytes, such as "
                "unix:/run/ws-bridge.sock"
            )
        return ListenAddress("", 0, path)
    found = HOST_PORT.fullmatch(text)
    if found is None or int(found["port"]) > 65535:
        raise ValueError("use HOST:PORT, [IPv6]:PORT or unix:/PATH, such as 0.0.0.0:8787")
    return ListenAddress(bare(found["host"]), int(found["port"]))


def bare(host: str) -> str:
    """A host without the brackets that an IPv6 address has in a URL."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host."""
    try:
        return ipaddress.ip_address(bare(host)).is_loopback
    except ValueError:
        return host == "localhost"
