"""Responses whose server has died: every server searches for them, one takes each over.

Rule 1: no response stays unfinished. One whose output no client can have seen is generated again;
one that a provider generates by itself is asked for again; every other ends as failed, with its
output so far.
Rule 2: each is settled by itself: one that cannot be holds up no other, and is logged once.
Rule 3: a reader of an overdue response settles it first, so a poll never calls a dead job running.
"""

from __future__ import annotations

import logging
import random

from ws_bridge.clock import Clock
from ws_bridge.errors import (
    BridgeError,
    InvalidRequest,
    ServerDraining,
    ServerLost,
    StoreUnavailable,
)
from ws_bridge.jobs.registry import JobRegistry
from ws_bridge.jobs.spec import Create, envelope_of
from ws_bridge.jobs.usage import booking_of
from ws_bridge.protocol.events import Event
from ws_bridge.protocol.sequencer import Sequencer, end_after_loss, end_for
from ws_bridge.store.base import Claim, Record, Store, Write

log = logging.getLogger(__name__)

SEARCH_SECONDS = 2.0


class Takeover:
    """Searches for overdue responses. ``run`` is its task's body; its owner awaits it."""

    def __init__(self, store: Store, jobs: JobRegistry, clock: Clock) -> None:
        self._store = store
        self._jobs = jobs
        self._clock = clock
        self._crashed: set[str] = set()  # of those that are overdue; the log has each
        self.taken = 0  # responses claimed here

    async def run(self) -> None:
        """Search about every two seconds, not all servers at once, until cancelled."""
        while True:
            await self._clock.sleep(SEARCH_SECONDS * random.uniform(0.75, 1.25))  # noqa: S311 - spread
            try:
                found = await self._store.find_overdue()
            except StoreUnavailable:
                continue
            except Exception:  # the edge of the task: the search must never end
                log.exception("takeover_search_crashed")
                continue
            self._crashed &= set(found)
            for response_id in found:
                await self._settle_found(response_id)

    async def _settle_found(self, response_id: str) -> None:
        try:
            await self.settle(response_id)
        except StoreUnavailable:
            return  # the next search finds it again
        except Exception:  # as above: one bad record must not end the search
            if response_id not in self._crashed:
                log.exception("takeover_crashed id=%s", response_id)
            self._crashed.add(response_id)

    async def settle(self, response_id: str) -> None:
        """Take an overdue response over, if no other server does. Raises ``StoreUnavailable``."""
        if self._jobs.runs(response_id):
            return  # this server was away for a while; its next write renews the lease
        if self._jobs.is_draining:
            return  # a server that stays takes it over
        claim = await self._store.claim(response_id)
        if claim is None:
            return
        self.taken += 1
        error: BridgeError | None = None if claim.is_cancelled else ServerLost()
        if claim.may_run:
            try:
                await self._jobs.resume(claim)
            except StoreUnavailable:
                raise  # the lease expires again
            except ServerDraining:
                await self._store.release(claim.lease)
                return
            except BridgeError as refused:  # its model is gone, or its parent
                error = refused
            except Exception as broken:  # noqa: BLE001 - its request is not readable
                log.error("takeover_broken id=%s reason=%s", response_id, type(broken).__name__)  # noqa: TRY400 - no content
                error = ServerLost()
            else:
                log.warning("taken_over id=%s fence=%d runs=yes", response_id, claim.lease.fence)
                return
        await self._write_end(claim, error)
        log.warning("taken_over id=%s fence=%d runs=no", response_id, claim.lease.fence)

    async def _write_end(self, claim: Claim, error: BridgeError | None) -> None:
        key, events, lost_until = claim.record.id, claim.events, claim.lost_until
        has_gap = lost_until is not None
        if lost_until is None:
            opening = [] if events else self._opening(claim.record)
            new = [*opening, end_for(key, opening or events, error)]
        else:
            new = end_after_loss(key, events, lost_until, error)
        booking = booking_of(claim.record, new[-1].json()["response"])
        await self._store.append([Write(claim.lease, new, has_gap, booking=booking)])

    def _opening(self, record: Record) -> list[Event]:
        """What a response begins with whose server died before; its record may tell too little."""
        try:
            create = Create.of_record(record)
        except InvalidRequest:
            return []
        now = self._clock.wall
        envelope = envelope_of(create, record.id, create.request.model or "", int(now()))
        return Sequencer(envelope, create.lane, now).open()
