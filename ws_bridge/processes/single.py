"""A server of one process: its sockets, its signals, its reloads, around the one bridge."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

from ws_bridge.config import Settings
from ws_bridge.processes import notify, serving, signals
from ws_bridge.processes.control import reloads
from ws_bridge.processes.reload import OwnReload, Reloader
from ws_bridge.processes.reload_requests import ReloadRequests
from ws_bridge.processes.sockets import control_socket, listen, tls


def run(
    settings: Settings,
    load: Callable[[], Settings],
    announce: Callable[[Sequence[socket.socket]], None],
) -> int:
    """Serve until stopped, and return the exit code. Raises ``ConfigError``.

    ``load`` reads the settings again; ``announce`` is called when connections are accepted.
    """
    return signals.exit_process(serving.run(_serve(settings, load, announce)))


async def _serve(
    settings: Settings,
    load: Callable[[], Settings],
    announce: Callable[[Sequence[socket.socket]], None],
) -> int:
    stop_signals = signals.catch_signals()
    notifier = notify.from_environment()
    [listening] = listen(settings.config)
    control = control_socket(settings.config)
    reload = OwnReload()
    requests = ReloadRequests(settings, load, reload, stop_signals.hangup, notifier)
    was_ready = asyncio.Event()

    def listens(reloader: Reloader) -> None:
        announce(listening)
        reload.begin(reloader)

    def is_ready() -> None:
        was_ready.set()
        notifier.ready()

    def lame_duck_seconds() -> float:
        notifier.stopping()
        return requests.settings.config.server.lame_duck_seconds if was_ready.is_set() else 0

    async with reloads(requests, control):
        lame_duck = asyncio.create_task(signals.lame_duck(stop_signals, lame_duck_seconds))
        try:
            return await serving.serve(
                settings,
                listening,
                stop_signals,
                tls=tls(settings.config),
                on_listening=listens,
                on_ready=is_ready,
            )
        finally:
            lame_duck.cancel()
            await asyncio.gather(lame_duck, return_exceptions=True)
