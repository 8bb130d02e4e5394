"""What all processes of a store take of the limits of client keys, in Redis.

Rule 1: each report is one script on one key; all reports of a process go in one round trip.
Rule 2: time is the server's. A process says how long ago something was used.
Rule 3: names are kept as digests, and a counter expires when nothing of it counts any more.
"""

from __future__ import annotations

from collections.abc import Sequence

from redis.exceptions import ResponseError

from ws_bridge.errors import StoreUnavailable
from ws_bridge.store.base import HELD_SECONDS, Tally, UseReport
from ws_bridge.store.redis.keys import counter_key
from ws_bridge.store.redis.scripts import COUNT, ScriptCall, Scripts, log_refusal


class RedisCounters:
    """The ``Counters`` of one store. ``worker`` names this process, and never another one."""

    def __init__(self, scripts: Scripts, worker: str) -> None:
        self._scripts = scripts
        self._worker = worker

    async def count(self, reports: Sequence[UseReport]) -> Sequence[Tally]:
        """See ``Counters``."""
        answers = await self._scripts.call_all([self._call(report) for report in reports])
        tallies = []
        for answer in answers:
            if isinstance(answer, ResponseError):
                log_refusal(COUNT, answer)
                raise StoreUnavailable
            held, taken, wait = answer
            tallies.append(Tally(held, taken, wait / 1000))
        return tallies

    def _call(self, report: UseReport) -> ScriptCall:
        arguments: list[str | int] = [self._worker, report.number, report.batch, report.most]
        arguments += [int(report.window_seconds * 1000), int(HELD_SECONDS * 1000)]
        arguments += [report.held, report.wanted, report.spare]
        for ago, count in report.used:
            arguments += [int(ago * 1000), count]
        return ScriptCall(COUNT, (counter_key(report.limit, report.key),), arguments)
