"""Snapshots of running responses that are polled: each poll folds only the new events."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from ws_bridge.protocol.reducer import Reducer
from ws_bridge.store.base import Snapshot
from ws_bridge.store.redis.commands import ResponsePage

MAX_BYTES = 32 * 2**20  # of event text folded
KEEP_SECONDS = 60.0  # after a poll: another server may answer the polls from then on, or none


class RunningSnapshot:
    """One response, folded so far."""

    def __init__(self) -> None:
        self.reducer = Reducer()
        self.bytes = 0
        self.polled_at = 0.0


class RunningSnapshots:
    """The running responses polled last, bounded by bytes and by time. ``now`` is in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._snapshots: OrderedDict[str, RunningSnapshot] = OrderedDict()
        self._bytes = 0

    def last_number(self, response_id: str) -> int:
        """The number of the last event that is folded; -1 if none is."""
        kept = self._snapshots.get(response_id)
        return kept.reducer.number if kept else -1

    def fold(self, page: ResponsePage) -> Snapshot | None:
        """The snapshot; None if there may be more pages, or the events before are not kept."""
        response_id = page.cursor.id
        final = page.final_snapshot()
        if final is not None:
            self.forget(response_id)
            return final
        kept = self._snapshots.setdefault(response_id, RunningSnapshot())
        kept.polled_at = self._now()
        self._snapshots.move_to_end(response_id)
        if kept.reducer.number < page.cursor.after:
            return None
        new = [event for event in page.events if event.number > kept.reducer.number]
        kept.reducer.fold(new)
        self._count(kept, sum(len(event.text) for event in new))
        if not page.is_complete or page.record is None:
            return None
        response = kept.reducer.response()
        return Snapshot(page.record, response, kept.reducer.number, page.is_overdue)

    def forget(self, response_id: str) -> None:
        """Drop a response's fold, if there is one."""
        kept = self._snapshots.pop(response_id, None)
        if kept is not None:
            self._bytes -= kept.bytes

    def _count(self, kept: RunningSnapshot, size: int) -> None:
        kept.bytes += size
        self._bytes += size
        while len(self._snapshots) > 1 and self._is_over(next(iter(self._snapshots.values()))):
            _, oldest = self._snapshots.popitem(last=False)
            self._bytes -= oldest.bytes

    def _is_over(self, oldest: RunningSnapshot) -> bool:
        return self._bytes > MAX_BYTES or oldest.polled_at < self._now() - KEEP_SECONDS
