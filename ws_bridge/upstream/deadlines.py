"""Two limits of one stream: its whole life, and the provider's longest silence.

Rule 1: only time spent waiting for the provider counts; a slow reader of ours is no silence of it.
Rule 2: no timer is set per event: one timer looks at the attributes from time to time.
Rule 3: a read of a stream enters nothing here: it sets the attributes around its wait.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from ws_bridge.upstream.errors import SILENT, TIMED_OUT, DeadlineExceeded

LOOK_SECONDS = 1.0  # between two looks at a reader that is busy while a limit is over


class Deadlines:
    """``with deadlines:`` around each wait, ``record_activity`` where a silence begins.

    A read that must be quick sets ``waiting`` to its task, and to None after it, and ``since`` to
    ``now()`` where a silence begins; what its wait raises it gives to ``cause_of``. The first wait
    of all is a ``with``: it starts the timer, which runs until ``cancel``.
    A wait that outlives a limit is cancelled and raises ``DeadlineExceeded`` (504). Both limits are
    in seconds.
    """

    def __init__(self, life: float, silence: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self.since = self.now()  # when the provider said something, or was asked
        self.waiting: asyncio.Task[object] | None = None  # the task that waits for it now
        self._deadline = self.since + life
        self._silence = silence
        self._timer: asyncio.TimerHandle | None = None
        self._cancelled: asyncio.Task[object] | None = None  # by the limit

    def record_activity(self) -> None:
        """Start the silence from now: the provider sent something."""
        self.since = self.now()

    def remaining(self) -> float:
        """Seconds that are left of its life; negative after it."""
        return self._deadline - self.now()

    def cancel(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __enter__(self) -> Self:
        self.waiting = asyncio.current_task(self._loop)
        if self._timer is None:
            self._timer = self._loop.call_at(self._due(), self._look)
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        if error is None:
            self.waiting = None
            if self._cancelled is not None:  # a layer below has made nothing of it
                self._cancelled.uncancel()
                self._cancelled = None
        elif (cause := self.cause_of(error)) is not error:
            raise cause from None

    def cause_of(self, error: BaseException) -> BaseException:
        """The limit that made a wait fail, or its own error. The wait is over.

        A cancellation that is not ours stays as it is. Otherwise the limit caused the error,
        whatever its type: layers below turn a cancellation into errors of their own.
        """
        self.waiting = None
        task, self._cancelled = self._cancelled, None
        if task is None or task.uncancel():
            return error
        return DeadlineExceeded(TIMED_OUT if self.remaining() <= 0 else SILENT)

    def _due(self) -> float:
        return min(self._deadline, self.since + self._silence)

    def _look(self) -> None:
        now, due = self.now(), self._due()
        if now >= due and self.waiting is not None:
            self._timer = None
            self._cancelled, self.waiting = self.waiting, None
            self._cancelled.cancel()
            return
        # A wait may begin at any time: nothing tells of it.
        self._timer = self._loop.call_at(due if now < due else now + LOOK_SECONDS, self._look)
