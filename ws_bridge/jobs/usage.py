"""What each response used goes to the ledger of the store, before its end is published.

Rule 1: a stored response's booking goes with its end (``Mirror.append_end``), in one write.
Rule 2: a response that is not stored is booked by itself. Its end waits for one attempt, as long as
the store answers anything; it has no other need of the store. If that is away, the booking is kept
and made later.
Rule 3: what is kept is one sum for each key's name and model, so it does not grow with the outage.
It is lost with the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Sequence

from ws_bridge.clock import Clock
from ws_bridge.errors import StoreUnavailable
from ws_bridge.jobs.store_timeout import wait_while_answering
from ws_bridge.protocol.response import tokens_of
from ws_bridge.store.base import Record, Store
from ws_bridge.store.ledger import MOST, NANO_USD, OUTCOMES, Booking, bounded, joined
from ws_bridge.types import Json

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.1
BILLION = 10**9


class UsageRecorder:
    """Books what is not stored. ``run`` is its task's body; its owner awaits it.

    ``on_booked`` is called with each booking of this process, of stored responses too.
    """

    def __init__(self, store: Store, clock: Clock, on_booked: Callable[[Booking], None]) -> None:
        self._store = store
        self._clock = clock
        self._on_booked = on_booked
        self._kept: list[Booking] = []  # one of each key's name and model
        self._number = 0
        self._sent: Sequence[Booking] = ()  # under that number, and perhaps not booked
        self._waiting: set[asyncio.Event] = set()  # for the next attempt's outcome
        self._has_work = asyncio.Event()

    def note(self, booking: Booking) -> None:
        """A booking was made with an end."""
        self._on_booked(booking)

    async def book(self, booking: Booking) -> None:
        """Book, and return when the store has it, did not take it at once, or does not answer."""
        self._on_booked(booking)
        self._kept = joined([*self._kept, booking])
        self._has_work.set()
        if self._store.is_available():
            tried = asyncio.Event()
            self._waiting.add(tried)
            with contextlib.suppress(TimeoutError):
                await wait_while_answering(self._store.answer_count, tried.wait())

    async def run(self) -> None:
        """Book what is kept, until cancelled."""
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            while not await self._send_once():
                await self._clock.sleep(RETRY_SECONDS)

    async def drain(self) -> None:
        """Book what is left, once."""
        while self._sent or self._kept:
            if not await self._send():
                log.warning("usage_lost bookings=%d", len(self._sent) + len(self._kept))
                return

    def unbooked(self) -> int:
        """How many sums wait for the store."""
        return len(self._sent) + len(self._kept)

    async def _send_once(self) -> bool:
        """As ``_send``; those who waited for it go on."""
        waiting, self._waiting = self._waiting, set()
        try:
            return await self._send()
        finally:
            for tried in waiting:
                tried.set()

    async def _send(self) -> bool:
        """Send what is kept, or again what was sent in vain; false if the store is away."""
        if not self._sent:
            self._sent, self._kept = self._kept, []
            self._number += 1
        try:
            if self._sent:
                await self._store.book(self._number, self._sent)
        except StoreUnavailable:
            return False
        except Exception:  # the edge of the task: one booking must not end all
            log.exception("usage_crashed")
        self._sent = ()
        return not self._kept or await self._send()


def booking_of(record: Record, response: Json, cost: float | None = None) -> Booking | None:
    """What a response used that ends so; None where it is not known whose it is.

    ``cost`` is in USD.
    """
    if not record.key_name:
        return None
    status, usage = str(response.get("status")), response.get("usage")
    counts = {status: 1} if status in OUTCOMES else {}
    counts |= _tokens(usage) | {NANO_USD: nano_usd(cost)}
    return Booking(record.key_name, record.entry, bounded(counts))


def usage_booking(key: str, model: str, usage: Json, cost: float | None) -> Booking:
    """What was used beside responses, as for a compaction: it counts as no response."""
    return Booking(key, model, bounded(_tokens(usage) | {NANO_USD: nano_usd(cost)}))


def nano_usd(cost: float | None) -> int:
    """USD in billionths, rounded; 0 for what is no cost."""
    if cost is None or not math.isfinite(cost):
        return 0
    return round(max(0.0, min(cost, MOST)) * BILLION)


def _tokens(usage: Json | None) -> dict[str, int]:
    return {f"{kind}_tokens": count for kind, count in tokens_of(usage)}
