"""Requests to reload: by SIGHUP, or by `ws-bridge reload`. One reload at a time.

Rule 1: a configuration that cannot be used never replaces one that can: the files are read, the
parts that serve prepare, and only when all have prepared do all commit.
Rule 2: a request is never lost. One that comes before the parts can serve waits for that; those
that come during a reload are answered by the next one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from ws_bridge import logs
from ws_bridge.config import Settings
from ws_bridge.config.reloading import merged
from ws_bridge.errors import ConfigError
from ws_bridge.processes.notify import Notifier

log = logging.getLogger("ws_bridge")

RELOADED, REFUSED = "reloaded", "refused"
STOPPED = f"{REFUSED} the server stops"


class Reloadable(Protocol):
    """What serves with the settings: this process, or all workers."""

    async def prepare(self, generation: int, settings: Settings) -> None:
        """Make all that the settings need, beside what is in use. Raises ``ConfigError``."""

    async def commit(self, generation: int) -> None:
        """Have the settings that were prepared."""

    async def discard(self, generation: int) -> None:
        """Forget what was prepared, by any part."""


class ReloadRequests:
    """Carries out requests to reload. ``load`` reads the files again; ``hangup`` is a SIGHUP."""

    def __init__(
        self,
        settings: Settings,
        load: Callable[[], Settings],
        serves: Reloadable,
        hangup: asyncio.Event,
        notifier: Notifier | None = None,
    ) -> None:
        self.settings = settings  # in use; what starts now gets these
        self.generation = 1
        self._load = load
        self._serves = serves
        self._hangup = hangup
        self._notifier = notifier or Notifier()
        self._waiting: list[asyncio.Future[str]] = []
        self._has_ended = False

    async def ask(self) -> str:
        """Reload; the outcome: ``reloaded generation=N``, or ``refused`` and the reason."""
        if self._has_ended:
            return STOPPED
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self._hangup.set()
        return await answer

    async def run(self) -> None:
        """Reload whenever it is asked for, until this is cancelled."""
        answers: list[asyncio.Future[str]] = []
        try:
            while True:
                await self._hangup.wait()
                self._hangup.clear()
                answers, self._waiting = self._waiting, []
                self._notifier.reloading()
                outcome = await self._reload()
                self._notifier.reloaded()
                for answer in answers:
                    if not answer.done():
                        answer.set_result(outcome)
        finally:
            self._has_ended = True
            for answer in (*answers, *self._waiting):
                if not answer.done():
                    answer.set_result(STOPPED)

    async def _reload(self) -> str:
        generation = self.generation + 1
        try:
            wanted = await asyncio.to_thread(self._load)
            settings, stays = merged(self.settings, wanted)
            config = settings.config
            logs.change(self.settings.config.server.log_level, logs.secrets_of(settings))
            await self._serves.prepare(generation, settings)
        except ConfigError as refused:
            await self._serves.discard(generation)
            log.error("reload_refused reason=%s", str(refused))  # noqa: TRY400 - the reason is enough
            return f"{REFUSED} {refused}"
        except Exception:  # the edge: a bug of ours must not end all later reloads
            log.exception("reload_crashed")
            await self._serves.discard(generation)
            return f"{REFUSED} the new settings could not be prepared: see the log"
        self.settings, self.generation = settings, generation
        logs.change(config.server.log_level, logs.secrets_of(settings))
        await self._serves.commit(generation)
        if stays:
            log.warning("reload_ignores keys=%s", ",".join(stays))
        log.info("reloaded generation=%d", generation)
        ignored = f" without {', '.join(stays)}: restart to change them" if stays else ""
        return f"{RELOADED} generation={generation}{ignored}"
