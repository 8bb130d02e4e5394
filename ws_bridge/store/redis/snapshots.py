"""Folds of running responses that somebody polls: each poll folds only what is new."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from ws_bridge.protocol.reducer import Reducer
from ws_bridge.store.base import Snapshot
from ws_bridge.store.redis.pages import ResponsePage

MOST_BYTES = 32 * 2**20  # of event text folded
KEEP_SECONDS = 60.0  # after a poll: who polled may hear of the end elsewhere, or have left


class RunningSnapshot:
    """One response's fold so far."""

    def __init__(self) -> None:
        self.reducer = Reducer()
        self.bytes = 0
        self.polled_at = 0.0


class RunningSnapshots:
    """The folds polled last, bounded by bytes and by time."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._folds: OrderedDict[str, RunningSnapshot] = OrderedDict()
        self._bytes = 0

    def number(self, response_id: str) -> int:
        """Up to where a response is folded already."""
        fold = self._folds.get(response_id)
        return fold.reducer.number if fold else -1

    def fold(self, view: ResponsePage) -> Snapshot | None:
        """The snapshot; None if there may be more pages, or the fold before them was dropped."""
        response_id = view.cursor.id
        finished = view.finished()
        if finished is not None:
            self.forget(response_id)
            return finished
        fold = self._folds.setdefault(response_id, RunningSnapshot())
        fold.polled_at = self._now()
        self._folds.move_to_end(response_id)
        if fold.reducer.number < view.cursor.after:
            return None
        new = [event for event in view.events if event.number > fold.reducer.number]
        fold.reducer.fold(new)
        self._count(fold, sum(len(event.text) for event in new))
        if not view.is_complete or view.record is None:
            return None
        response = fold.reducer.response()
        return Snapshot(view.record, response, fold.reducer.number, view.is_overdue)

    def forget(self, response_id: str) -> None:
        """Drop a fold."""
        fold = self._folds.pop(response_id, None)
        if fold is not None:
            self._bytes -= fold.bytes

    def _count(self, fold: RunningSnapshot, size: int) -> None:
        fold.bytes += size
        self._bytes += size
        while len(self._folds) > 1 and self._is_over(next(iter(self._folds.values()))):
            _, oldest = self._folds.popitem(last=False)
            self._bytes -= oldest.bytes

    def _is_over(self, oldest: RunningSnapshot) -> bool:
        return self._bytes > MOST_BYTES or oldest.polled_at < self._now() - KEEP_SECONDS
