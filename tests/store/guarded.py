"""A Redis that lets in few: TLS with a private authority on both sides, and one user.

The user has the rights that docs/operations.md gives him, and no other.
"""

import re
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from store.opened import opened
from support.private_ca import PrivateCa
from support.redis_servers import Node
from support.tcp_proxy import ReservedPort

from ws_bridge.store.redis.connect import TlsFiles
from ws_bridge.store.redis.store import RedisStore

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
PREFIX = "team-a:"
PASSWORD = "s3cr3t/of the user"  # noqa: S105 - a test's own
RIGHTS = re.compile(r"^ACL SETUSER bridge on >PASSWORD (.*)$", re.MULTILINE)


class Guarded(Node):
    """The server, and how a store reaches it."""

    def __init__(self, binary: str, folder: Path) -> None:
        self._tls_port = ReservedPort()
        self.authority = PrivateCa(folder)
        server, client = self.authority.sign("server"), self.authority.sign("client")
        self.tls = TlsFiles(*map(str, (self.authority.certificate, client.certificate, client.key)))
        options = ("--tls-port", str(self._tls_port.number), "--tls-cluster", "no")
        options += ("--tls-cert-file", str(server.certificate), "--tls-key-file", str(server.key))
        options += ("--tls-ca-cert-file", str(self.authority.certificate))
        super().__init__(binary, options=options)
        self.tls_url = f"rediss://bridge@127.0.0.1:{self._tls_port.number}"

    def start(self) -> None:
        """Run it, with its user."""
        super().start()
        (rights,) = RIGHTS.findall(PAGE.read_text(encoding="utf-8"))
        words = rights.replace("PREFIX", PREFIX).split()
        self.cli("ACL", "SETUSER", "bridge", "reset", "on", f">{PASSWORD}", *words)

    def close(self) -> None:
        """End it."""
        super().close()
        self._tls_port.release()

    def opened(self, **fields: Any) -> AbstractAsyncContextManager[RedisStore]:
        """A store that is connected to it."""
        return opened(self.tls_url, PASSWORD, self.tls, **{"prefix": PREFIX, **fields})
