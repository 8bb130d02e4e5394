"""What was refused, counted and logged by reason: a flood is one line a second.

Rule: each refusal is counted at once. Of each reason the first is logged at once; those of the next
second are one line, which has their number and the last of them.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable

from aiohttp import web

log = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0


class RefusalLog:
    """The refusals of one process; in its event loop."""

    def __init__(self, count: Callable[[str], None]) -> None:
        self._count = count  # one more, by its reason
        # By reason, for as long as it has a pause: how many came in it, and a way to log the last.
        self._pending: dict[str, tuple[int, Callable[[int], None]]] = {}

    def refused(self, status: int, reason: str) -> None:
        """A request or create was refused. ``reason`` is the code of its error."""
        self._count(reason)
        context = contextvars.copy_context()  # it knows the caller

        def write(count: int) -> None:
            context.run(_write, status, reason, count)

        if reason in self._pending:
            self._pending[reason] = (self._pending[reason][0] + 1, write)
            return
        write(1)
        self._pause(reason, write)

    def _pause(self, reason: str, write: Callable[[int], None]) -> None:
        self._pending[reason] = (0, write)
        asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._resume, reason)

    def _resume(self, reason: str) -> None:
        count, write = self._pending.pop(reason)
        if count:
            write(count)
            self._pause(reason, write)


REFUSAL_LOG = web.AppKey("refusal_log", RefusalLog)  # for what no middleware sees


def _write(status: int, reason: str, count: int) -> None:
    log.info("request_refused status=%d code=%s count=%d", status, reason, count)
