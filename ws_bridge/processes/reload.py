"""New settings in a process that serves: prepared beside those in use, then swapped in.

Rule: preparing may fail, and changes nothing; committing cannot fail. So all processes of a server
can prepare before any of them commits.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from ws_bridge import logs
from ws_bridge.config import Settings
from ws_bridge.processes.sockets import ServerTls, tls
from ws_bridge.server.app import Bridge, Change
from ws_bridge.server.transport.listener import Listener


@dataclass(frozen=True, slots=True)
class PreparedReload:
    """Settings that this process can have."""

    settings: Settings
    change: Change
    certificate: ssl.SSLContext | None


class Reloader:
    """Changes the settings of one process. ``tls`` is what its connections use."""

    def __init__(self, bridge: Bridge, listener: Listener, tls: ServerTls | None) -> None:
        self._bridge = bridge
        self._listener = listener
        self._tls = tls

    def prepare(self, settings: Settings) -> PreparedReload:
        """Check settings that ``reloading.merged`` has made. Raises ``ConfigError``."""
        return PreparedReload(settings, self._bridge.prepare(settings), tls(settings.config))

    def commit(self, prepared: PreparedReload) -> None:
        """Have the settings from now on. What runs goes on."""
        config = prepared.settings.config
        logs.change(config.server.log_level, logs.secrets_of(prepared.settings))
        if self._tls is not None and prepared.certificate is not None:
            self._tls.replace(prepared.certificate)
        self._listener.set_limits(config.limits)
        self._bridge.commit(prepared.change)
