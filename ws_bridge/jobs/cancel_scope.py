"""Why a running response ends, and how its task learns of it.

A job runs inside of its scope. Whatever leaves the scope, or is requested meanwhile, becomes the
reason of the response's end; nothing is raised to the outside.

The scope points to the job's task and not to the job: the store's listener, which outlives no
response but points here, makes no ring of objects with the job.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from types import TracebackType
from typing import Self

from ws_bridge.errors import BridgeError
from ws_bridge.jobs.backlog import MirrorListener
from ws_bridge.jobs.spec import EndReason, Reason

log = logging.getLogger(__name__)

# These replace a steer: then no successor continues.
STRONGER_THAN_STEERED = (EndReason.CANCELLED, EndReason.TAKEN_OVER)


class CancelScope:
    """``with scope:`` around the work. ``reason`` is None while nothing has ended it early."""

    def __init__(self, response_id: str) -> None:
        self.reason: Reason | None = None
        self._id = response_id
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    def request(self, reason: Reason) -> None:
        """End the response for this reason: the task is cancelled, unless it is the caller.

        The first reason stands. Nothing happens once the scope is closed.
        """
        if self._is_closed:
            return
        if self.reason is None:
            self.reason, task = reason, self._task
            if task is not None and task is not asyncio.current_task():  # else it looks by itself
                task.cancel()
        elif self.reason is EndReason.STEERED and reason in STRONGER_THAN_STEERED:
            self.reason = reason

    def close(self) -> None:
        """The response's end is on its way: no request changes it any more."""
        self._is_closed = True

    def listener(self) -> MirrorListener:
        """What the store calls for this response."""
        return MirrorListener(
            cancelled=partial(self.request, EndReason.CANCELLED),
            taken_over=partial(self.request, EndReason.TAKEN_OVER),
        )

    def checkpoint(self) -> None:
        """Leave the scope if the end was requested before its task ran."""
        if self.reason is not None:
            raise asyncio.CancelledError

    def __enter__(self) -> Self:
        """Requests cancel the current task from now on."""
        self._task = asyncio.current_task()
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> bool:
        """Make an error the reason, if there is none yet; true for all that are handled so."""
        if error is None:
            return True
        reason: Reason
        if isinstance(error, asyncio.CancelledError):
            # Only `request` cancels a job, and has a reason; all else is the process going down.
            reason = EndReason.SHUTDOWN
            if self._task is not None:
                self._task.uncancel()
        elif isinstance(error, BridgeError):
            reason = error.without_traceback()
        elif isinstance(error, Exception):  # a bug must not leave a response unfinished
            log.error("job_crashed id=%s", self._id, exc_info=error)
            reason = BridgeError()
        else:
            return False
        self.reason = self.reason or reason
        return True
