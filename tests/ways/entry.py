"""Bridges in this process, each in a thread and an event loop of its own.

This is the only file of the package that names modules of the product.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from support import long_limits
from support.fleet import KEYS
from support.hang import HANG_SECONDS

import ws_bridge
from ws_bridge.config import Config, Settings
from ws_bridge.processes.serving import serve
from ws_bridge.processes.signals import StopSignals

HOUSE = Path(ws_bridge.__file__).parent


@dataclass(frozen=True)
class Served:
    """A bridge that answers on a port of the loopback."""

    port: int
    _loop: asyncio.AbstractEventLoop

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    async def profile(self, function: Callable[..., None] | None) -> None:
        """Let ``sys.setprofile`` call the function in the bridge's thread; None ends it."""
        done: Future[None] = Future()

        def switch() -> None:
            sys.setprofile(function)
            done.set_result(None)

        self._loop.call_soon_threadsafe(switch)
        async with asyncio.timeout(HANG_SECONDS):
            await asyncio.wrap_future(done)


@contextlib.contextmanager
def served(sections: Mapping[str, Any]) -> Iterator[Served]:
    """A bridge with this configuration, which can begin responses; it is drained when left.

    No slowness of the machine reaches its limits. The loop is the stock one: its system calls are
    calls that a profiler sees, and those of uvloop are not.
    """
    config = Config.model_validate(long_limits.config(sections), strict=False)
    with contextlib.ExitStack() as ends:
        for home, name, value in long_limits.found(long_limits.CONSTANTS):
            ends.enter_context(patch.object(home, name, value))
        listening = ends.enter_context(socket.create_server(("127.0.0.1", 0)))
        port, stop_signals = listening.getsockname()[1], StopSignals()
        began: Future[asyncio.AbstractEventLoop] = Future()

        async def live() -> None:
            loop = asyncio.get_running_loop()
            await serve(
                Settings(config, dict(KEYS)),
                [listening],
                stop_signals,
                tls=None,
                on_listening=lambda _: None,
                on_ready=lambda: began.set_result(loop),
            )

        def run() -> None:
            try:
                with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                    runner.run(live())
            except BaseException as failure:
                if began.done():
                    raise
                began.set_exception(failure)

        thread = threading.Thread(target=run, name=f"bridge-{port}", daemon=True)
        thread.start()
        loop = began.result(HANG_SECONDS)
        try:
            yield Served(port, loop)
        finally:
            loop.call_soon_threadsafe(stop_signals.stop_now)
            thread.join(HANG_SECONDS)
            assert not thread.is_alive(), "the bridge did not end"
