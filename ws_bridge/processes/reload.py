"""New settings in a process that serves: prepared beside those in use, then swapped in.

Rule: preparing may fail, and changes nothing; committing cannot fail. So all processes of a server
can prepare before any of them commits.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import dataclass

from ws_bridge import logs
from ws_bridge.config import Settings
from ws_bridge.errors import ConfigError
from ws_bridge.processes.sockets import ServerTls, tls
from ws_bridge.server.app import Bridge, Change
from ws_bridge.server.transport.listener import Listener

log = logging.getLogger(__name__)


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


class OwnReload:
    """A ``Reloadable``: the process that this runs in, from the moment in which it listens."""

    def __init__(self) -> None:
        self._reloader: asyncio.Future[Reloader] = asyncio.get_running_loop().create_future()
        self._prepared: PreparedReload | None = None

    def begin(self, reloader: Reloader) -> None:
        """It listens: what was asked for so far is done."""
        self._reloader.set_result(reloader)

    async def prepare(self, generation: int, settings: Settings) -> None:  # noqa: ARG002 - one at a time
        """See ``Reloadable``."""
        reloader = await asyncio.shield(self._reloader)
        try:
            self._prepared = reloader.prepare(settings)
        except ConfigError:
            raise
        except Exception:  # the edge: a bug of ours must not end a server
            log.exception("reload_crashed")
            raise ConfigError("the new settings could not be prepared: see the log") from None

    async def commit(self, generation: int) -> None:  # noqa: ARG002
        """See ``Reloadable``."""
        reloader = await asyncio.shield(self._reloader)
        if self._prepared is not None:
            reloader.commit(self._prepared)
        self._prepared = None

    async def discard(self, generation: int) -> None:  # noqa: ARG002
        """See ``Reloadable``."""
        self._prepared = None
