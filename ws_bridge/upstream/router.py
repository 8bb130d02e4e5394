"""All providers behind one `Service`; litellm is imported while the server already answers.

Rule 1: importing litellm takes seconds; it happens in a thread, and creates wait for it. The end of
the process does not: the thread is a daemon.
Rule 2: `start` fails only if an import raises. The first call of litellm costs more than later ones
and is made beforehand; `start` waits a while for its end, which may be a failure.
Rule 3: a background response of a model that has its own background mode runs there.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING

from ws_bridge.clock import Clock
from ws_bridge.protocol.history import Chain
from ws_bridge.protocol.sealing import UNSIGNED, Sealer
from ws_bridge.tracing import Traces
from ws_bridge.upstream.base import Answer, Request, Target, Upstream

if TYPE_CHECKING:
    from ws_bridge.upstream.assembly import Assembly, Step

log = logging.getLogger(__name__)

ASSEMBLY = "ws_bridge.upstream.assembly"  # with it litellm is imported, and all that needs it
# Its own limits are long: litellm does not bear that its first call is cut short.
WARM_UP = Target(
    name="demo", model="demo/demo", timeout_seconds=3600, stall_seconds=3600, retries=0
)
WARM_UP_SECONDS = 10.0  # it takes a third of a second of a core; creates gain no more by waiting
MESSAGE_LIMIT = 500  # characters of what an import raised
WARM_UP_STOP_SECONDS = 5.0  # `stop` waits so long for a first call that still runs


class Router:
    """A ``Service``. ``warm_up`` is the target of the first call.

    ``callbacks`` of litellm, by their names, hear of the calls that litellm makes.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        sealer: Sealer = UNSIGNED,
        *,
        warm_up: Target = WARM_UP,
        callbacks: Sequence[str] = (),
        traces: Traces | None = None,
        clock: Clock = Clock(),  # noqa: B008 - frozen
    ) -> None:
        self._callbacks = callbacks
        self._traces = traces
        self._targets = targets
        self._sealer = sealer
        self._first = warm_up
        self._clock = clock
        self._started = asyncio.Event()
        self._warming: asyncio.Task[None] | None = None
        self._parts: Assembly | None = None  # while litellm is not imported
        self._stops: Sequence[Step] = ()

    async def start(self) -> None:
        """Import litellm, register the models, and make a first call, so that later ones are fast.

        Raises ``ImportError``, in one line that says what was raised and where.
        """
        await _imported(ASSEMBLY)
        from ws_bridge.upstream.assembly import assemble  # noqa: PLC0415 - see rule 1

        parts = self._parts = assemble(self._targets, self._sealer, self._traces)
        self._stops = parts.stops
        for begin in parts.starts:
            await begin()
        # A task of its own goes on if this is cancelled: see `WARM_UP`.
        self._warming = asyncio.create_task(self._warm_up(parts.managed))
        if not await self._done_within(self._warming, WARM_UP_SECONDS):
            log.warning("warm_up_slow seconds=%g: ready without it", WARM_UP_SECONDS)
        parts.set_callbacks(self._callbacks)  # which need not hear of the first call
        self._started.set()

    def set_targets(self, targets: Sequence[Target]) -> None:
        """Be asked for these from now on; what runs goes on as it began."""
        self._targets = targets
        if self._parts is not None:
            self._parts.set_targets(targets)

    async def open(self, request: Request) -> Answer:
        """See ``Upstream``."""
        parts = await self._started_parts()
        by_mode = parts.by_mode[request.target.mode]
        answer = await (parts.background if request.background else by_mode).open(request)
        answer.prices = parts.prices_of(request.target)
        return answer

    async def count_tokens(self, request: Request) -> int:
        """See ``TokenCounter``."""
        parts = await self._started_parts()
        return await parts.counter.count_tokens(request)

    def known_models(self, provider: str) -> Sequence[str]:
        """See ``Service``."""
        return self._parts.known_models(provider) if self._parts is not None else ()

    async def stop(self) -> None:
        """Close all connections; ``open`` must not be called afterwards."""
        if self._warming is not None:
            if not await self._done_within(self._warming, WARM_UP_STOP_SECONDS):
                self._warming.cancel()
            await asyncio.gather(self._warming, return_exceptions=True)
        for stop in self._stops:
            await stop()

    async def _warm_up(self, managed: Upstream) -> None:
        hello = Chain(None, ({"type": "message", "role": "user", "content": "hello"},))
        asked = Request(self._first, hello, {"max_output_tokens": 1})
        try:
            answer = await managed.open(asked)
            try:
                while await answer.read() is not None:
                    pass
            finally:
                await answer.close()
        except Exception as failure:  # noqa: BLE001 - creates raise what is wrong
            # A slow call was warned of already, when the server became ready without it.
            level = logging.INFO if self._started.is_set() else logging.WARNING
            log.log(level, "warm_up_failed kind=%s: ready without it", type(failure).__name__)

    async def _done_within(self, task: asyncio.Task[None], seconds: float) -> bool:
        """Wait so many seconds for a task; whether it is done. It runs on if this is cancelled."""
        pause = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait((task, pause), return_when=asyncio.FIRST_COMPLETED)
        finally:
            pause.cancel()
        return task.done()

    async def _started_parts(self) -> Assembly:
        await self._started.wait()
        assert self._parts is not None  # noqa: S101 - it has started
        return self._parts


async def _imported(module: str) -> None:
    """Import a module in a thread, which runs on if this is cancelled. Raises ``ImportError``."""
    done: Future[None] = Future()
    done.set_running_or_notify_cancel()

    def work() -> None:
        try:
            importlib.import_module(module)
        except BaseException as failure:  # noqa: BLE001 - raised in the caller's task
            done.set_exception(ImportError(import_error(failure)))
        else:
            done.set_result(None)

    threading.Thread(target=work, name="import", daemon=True).start()
    await asyncio.wrap_future(done)


def import_error(failure: BaseException) -> str:
    """What was raised, and where: one line."""
    places = [(frame.f_code.co_filename, line) for frame, line in walk_tb(failure.__traceback__)]
    file, line = [one for one in places if not one[0].startswith("<frozen")][-1]
    message = f"{type(failure).__name__} at {Path(file).name}:{line}: {failure}"
    return " ".join(message.split())[:MESSAGE_LIMIT]
