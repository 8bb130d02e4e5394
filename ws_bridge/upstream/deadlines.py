"""Two limits of one stream: its whole life, and the provider's longest silence.

Rule 1: only time spent waiting for the provider counts; a slow reader of ours is no silence of it.
Rule 2: no timer is set per event: one timer compares, from time to time, with the last activity.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from ws_bridge.upstream.errors import SILENT, TIMED_OUT, DeadlineExceeded


class Deadlines:
    """``with deadlines:`` around each wait, ``record_activity`` where a silence begins.

    ``cancel`` comes last, but a further wait starts the watch again.
    A wait that outlives a limit is cancelled and raises ``DeadlineExceeded`` (504). Both limits are
    in seconds.
    """

    def __init__(self, life: float, silence: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + life
        self._silence = silence
        self._since = self._loop.time()
        self._task: asyncio.Task[object] | None = None  # that waits now
        self._timer: asyncio.TimerHandle | None = None
        self._cancelling = 0
        self._is_over = False

    def record_activity(self) -> None:
        """Start the silence from now: the provider sent something."""
        self._since = self._loop.time()

    def remaining(self) -> float:
        """Seconds that are left of its life; negative after it."""
        return self._deadline - self._loop.time()

    def cancel(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __enter__(self) -> Self:
        task = asyncio.current_task(self._loop)
        assert task is not None  # noqa: S101 - coroutines run in tasks
        self._task, self._cancelling = task, task.cancelling()
        if self._timer is None:
            self._timer = self._loop.call_at(self._due(), self._check)
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
        # A cancellation that is not ours goes on as it is. Otherwise the limit caused the error,
        # whatever its type: layers below turn a cancellation into errors of their own.
        if kind is not None and not others:
            raise DeadlineExceeded(TIMED_OUT if self.remaining() <= 0 else SILENT) from None

    def _due(self) -> float:
        return min(self._deadline, self._since + self._silence)

    def _check(self) -> None:
        self._timer = None
        if self._task is None:
            return  # the next wait starts it again
        if self._loop.time() < self._due():
            self._timer = self._loop.call_at(self._due(), self._check)
            return
        self._is_over = True
        self._task.cancel()
