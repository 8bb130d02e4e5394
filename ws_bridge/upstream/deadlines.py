"""Two limits over one stream: its whole life, and its longest silence.

Rule 1: only waiting for the provider counts; a slow reader of ours is no silence of theirs.
Rule 2: nothing is armed per event: one timer looks, from time to time, at what was noted.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from ws_bridge.upstream.errors import SILENT, TIMED_OUT, DeadlineExceeded


class Deadlines:
    """``with deadlines:`` around each wait, ``record_activity`` after each draft, ``cancel`` last.

    A wait that outlives a limit is cancelled and raises ``UpstreamError`` (504). Seconds.
    """

    def __init__(self, life: float, silence: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + life
        self._silence = silence
        self._since = self._loop.time()
        self._task: asyncio.Task[object] | None = None  # who waits now
        self._timer: asyncio.TimerHandle | None = None
        self._cancelling = 0
        self._is_over = False

    def record_activity(self) -> None:
        """The provider gave something; its silence begins anew."""
        self._since = self._loop.time()

    def remaining(self) -> float:
        """Seconds of life."""
        return self._deadline - self._loop.time()

    def cancel(self) -> None:
        """Nothing is watched any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __enter__(self) -> Self:
        task = asyncio.current_task(self._loop)
        assert task is not None  # noqa: S101 - coroutines run in tasks
        self._task, self._cancelling = task, task.cancelling()
        if self._timer is None:
            self._timer = self._loop.call_at(self._due(), self._look)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        task, self._task = self._task, None
        if not self._is_over or task is None:
            return
        self._is_over = False
        others = task.uncancel() > self._cancelling
        # Somebody else's cancel goes on as it is. Else any error here is the limit's doing: layers
        # below turn a cancellation into errors of their own.
        if kind is not None and not others:
            raise DeadlineExceeded(TIMED_OUT if self.remaining() <= 0 else SILENT) from None

    def _due(self) -> float:
        return min(self._deadline, self._since + self._silence)

    def _look(self) -> None:
        self._timer = None
        if self._task is None:
            return  # the next wait arms it again
        if self._loop.time() < self._due():
            self._timer = self._loop.call_at(self._due(), self._look)
            return
        self._is_over = True
        self._task.cancel()
