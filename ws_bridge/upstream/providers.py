"""All providers behind one `Upstream`: litellm, opened beside a server that answers already.

Rule 1: importing litellm takes seconds; it happens in a thread, and creates wait for it. The end of
the process does not: the thread is a daemon.
Rule 2: a background response of a model that has its own background mode runs there.
"""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from typing import Any

from ws_bridge.clock import Clock
from ws_bridge.protocol.events import Draft
from ws_bridge.protocol.history import Chain
from ws_bridge.upstream.base import Request, Service, Target, Upstream

WARM_UP = Target(name="demo", model="demo/demo", timeout_seconds=10, retries=0)


class Providers:
    """An ``Upstream``; ``open`` before use, ``close`` last."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self._targets = targets
        self._opened = asyncio.Event()
        self._door: Any = None
        self._warming: asyncio.Task[None] | None = None
        self._managed: Upstream
        self._background: Upstream
        self._native: Service
        self._ways: dict[str, Upstream]

    async def open(self) -> None:
        """Import litellm, tell it the models, and make one call, so that the first is not slow."""
        await _imported("ws_bridge.upstream.door")
        from ws_bridge.upstream import (  # noqa: PLC0415 - see rule 1
            auto,
            background,
            compacting,
            demo,
            door,
            managed,
            models,
            native,
        )

        demo.register()
        models.register(self._targets)
        self._door = door
        self._managed = managed.Managed()
        self._native = native.Native(self._managed, reasons=models.reasons)
        await self._native.open()
        ways: dict[str, Upstream] = {
            "managed": self._managed,
            "native": self._native,
            "auto": auto.Auto(self._native, self._managed, Clock()),
        }
        self._ways = {mode: compacting.Compacting(way) for mode, way in ways.items()}
        self._background = background.NativeBackground()
        # To its end even if this is cancelled: litellm minds being cut short in its first call.
        self._warming = asyncio.create_task(self._warm_up())
        await asyncio.shield(self._warming)
        self._opened.set()

    def respond(self, request: Request) -> AsyncGenerator[Draft, None]:
        """See ``Upstream``."""
        if self._opened.is_set():  # nothing is to stand between a draft and its job
            return self._way(request).respond(request)
        return self._respond_later(request)

    async def _respond_later(self, request: Request) -> AsyncGenerator[Draft, None]:
        await self._opened.wait()
        async with aclosing(self._way(request).respond(request)) as drafts:
            async for draft in drafts:
                yield draft

    async def _warm_up(self) -> None:
        hello = Chain(None, ({"type": "message", "role": "user", "content": "hello"},))
        async for _ in self._managed.respond(Request(WARM_UP, hello, {"max_output_tokens": 1})):
            pass

    def _way(self, request: Request) -> Upstream:
        if request.background:
            return self._background
        return self._ways[request.target.mode]

    async def count_tokens(self, request: Request) -> int:
        """See ``Upstream``."""
        await self._opened.wait()
        return await self._managed.count_tokens(request)

    async def close(self) -> None:
        """Close litellm's connections; nothing is asked of it afterwards."""
        if self._warming is not None:
            await asyncio.gather(self._warming, return_exceptions=True)
        if self._door is not None:
            await self._native.close()
            await self._door.shutdown()


async def _imported(module: str) -> None:
    """Import a module in a thread; one that nobody waits for, if this is cancelled."""
    done: Future[object] = Future()
    done.set_running_or_notify_cancel()

    def work() -> None:
        try:
            done.set_result(importlib.import_module(module))
        except BaseException as failure:  # noqa: BLE001 - raised where it is waited for
            done.set_exception(failure)

    threading.Thread(target=work, name="import", daemon=True).start()
    await asyncio.wrap_future(done)
