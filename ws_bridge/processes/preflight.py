"""What would keep a server from starting, found without starting it: `ws-bridge check`.

Rule: it looks at everything, and reports all that is wrong.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from ws_bridge.config import Settings
from ws_bridge.errors import ConfigError
from ws_bridge.processes.sockets import listen, tls
from ws_bridge.processes.temporary import choose_directory
from ws_bridge.server.stores import check_store

Step = Callable[[Settings], Awaitable[None]]


async def problems_of_start(settings: Settings, *, is_offline: bool) -> list[str]:
    """What is wrong beside the configuration itself, a line each.

    Offline only files are looked at; else addresses are bound for a moment, and the store is asked.
    """

    async def try_store(settings: Settings) -> None:
        await check_store(settings, is_offline=is_offline)

    steps: list[Step] = [_try_directory, _try_tls, try_store]
    if not is_offline:
        steps.insert(2, _try_addresses)
    problems: list[str] = []
    for step in steps:
        try:
            await step(settings)
        except ConfigError as unusable:
            problems += unusable.problems
    return problems


async def _try_directory(_settings: Settings) -> None:
    choose_directory()


async def _try_tls(settings: Settings) -> None:
    tls(settings.config)


async def _try_addresses(settings: Settings) -> None:
    _bind(settings)


def _bind(settings: Settings) -> None:
    for one in listen(settings.config)[0]:
        name = one.getsockname()
        one.close()
        if one.family == socket.AF_UNIX:
            Path(name).unlink()
