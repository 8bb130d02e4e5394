"""One process that serves: a bridge on its listening sockets, from its start to its drained end.

Rule: a stop works at any time, also while the store is being opened.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from aiohttp import web

from ws_bridge.config import Settings
from ws_bridge.errors import ConfigError
from ws_bridge.processes.memory import give_back_large
from ws_bridge.processes.metrics_page import MetricsPage, serve_numbers
from ws_bridge.processes.reload import Reloader
from ws_bridge.processes.signals import StopSignals, wait_until_any
from ws_bridge.processes.sockets import ServerTls
from ws_bridge.processes.worker_usage import UsageAnswers, read_in
from ws_bridge.server.app import Bridge
from ws_bridge.server.transport.listener import serve_on

log = logging.getLogger("ws_bridge")

KEEPALIVE_SECONDS = 75.0  # longer than the proxies that keep connections for the next request


async def serve(
    settings: Settings,
    listening: Sequence[socket.socket],
    stop_signals: StopSignals,
    *,
    tls: ServerTls | None,
    on_listening: Callable[[Reloader], None],
    on_ready: Callable[[], None] = lambda: None,
    store_reached: asyncio.Event | None = None,
    usage: UsageAnswers | None = None,
    worker: int = 0,
    is_replacement: bool = False,
) -> int:
    """Serve until stopped, and return the exit code. Raises ``ConfigError``.

    ``on_listening`` is called when it accepts connections, with what can change its settings from
    then on; ``on_ready`` when responses can be made.
    ``store_reached`` is set when the store was reached once, here or by another process.
    ``usage`` gets what reads the usage of all keys.
    ``worker`` is the number of the process, if it is one of several. A replacement of another
    worker accepts no connection before it is ready.
    """
    bridge = Bridge(settings, worker=worker)
    bridge.force, bridge.lame_duck = stop_signals.force, stop_signals.leave
    bridge.store_reached = store_reached or bridge.store_reached
    if usage is not None:
        usage.begin(bridge.usage_of_all)
    read_usage = partial(read_in, asyncio.get_running_loop(), bridge.usage_of_all)
    if not worker and (page := serve_numbers(settings, bridge.metrics.registry, read_usage)):
        bridge.app.on_cleanup.append(partial(_close, page))
    if not await _open(bridge, stop_signals):
        return 0
    runner = web.AppRunner(
        bridge.app,
        access_log=None,
        handler_cancellation=True,
        keepalive_timeout=KEEPALIVE_SECONDS,
        shutdown_timeout=5,
    )
    await runner.setup()
    if is_replacement:
        await wait_until_any(stop_signals.stop, bridge.broken, bridge.ready)
    listener = await serve_on(runner, listening, settings.config, tls)
    on_listening(Reloader(bridge, listener, tls))
    await wait_until_any(stop_signals.stop, bridge.broken, bridge.ready)
    if bridge.ready.is_set():
        on_ready()
    await wait_until_any(stop_signals.stop, bridge.broken)
    log.info("draining")
    await listener.close()
    log.info("stopped")
    if bridge.problems:
        raise ConfigError(*bridge.problems)
    return 1 if bridge.broken.is_set() else 0


async def _close(page: MetricsPage, _app: web.Application) -> None:
    page.close()


async def _open(bridge: Bridge, stop_signals: StopSignals) -> bool:
    """Open the store; False if a stop came before it was open."""
    opening = asyncio.create_task(bridge.open_store())
    stopped = asyncio.create_task(stop_signals.stop.wait())
    await asyncio.wait((opening, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not opening.done():
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        return False
    await opening
    return True


def run(coroutine: Coroutine[Any, Any, int]) -> int:
    """Run a coroutine to its end in uvloop, or in the stock loop where there is none.

    From now on large pieces of memory are given back when they are freed.
    """
    give_back_large()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(coroutine)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes uvloop's event loop; None where there is no uvloop."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop
