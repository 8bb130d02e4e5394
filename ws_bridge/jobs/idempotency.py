"""A create that is sent again finds its response, and no provider is asked twice.

Rule 1: a key is acquired, then the response is stored, then the key is acquired as begun, and only
then a provider is asked. So what a key stands for can be read, or was never asked for.
Rule 2: what is refused before `response.created` leaves the key free: the same create may come
again.
Rule 3: a key that stands for a response which the store does not have, for ``RECORD_SECONDS``, is
free: its server died between the first two steps, or the response was deleted or has expired.
Rule 4: a response that failed is a response. Whether to pay again is the client's decision, which
it says with another key.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass

from ws_bridge.clock import Clock
from ws_bridge.errors import IdempotencyKeyReused, ResponseNotFound, StoreUnavailable
from ws_bridge.jobs.log_reader import LogReader
from ws_bridge.jobs.spec import Create
from ws_bridge.protocol.events import Event
from ws_bridge.store.base import KeyHold, Store

log = logging.getLogger(__name__)

RECORD_SECONDS = 2.0
LOOK_SECONDS = 0.05  # between two looks for a record


class KeyTaken(Exception):
    """Another create with the key came first: its response is to be found."""


@dataclass(frozen=True, slots=True)
class FoundResponse:
    """The response of an earlier create, which is read from the store."""

    id: str
    owner: str
    events: AsyncGenerator[Sequence[Event], None]  # from number 0 on; raises as `LogReader.read`


class IdempotentCreates:
    """The keys of creates, in the store."""

    def __init__(self, store: Store, logs: LogReader, clock: Clock) -> None:
        self._store = store
        self._logs = logs
        self._clock = clock

    async def find(self, create: Create) -> FoundResponse | None:
        """The response that the create's key stands for, once it has an event.

        None if it stands for none, or has no key. Raises ``IdempotencyKeyReused`` if the response
        is that of another create, ``StoreUnavailable`` and ``ServerDraining``.
        """
        key, owner = create.request.idempotency_key, create.owner
        waiting_for, since = "", self._clock.monotonic()
        while key is not None and (hold := await self._store.find_key(key, owner)) is not None:
            _check(create, hold)
            if hold.response_id != waiting_for:
                waiting_for, since = hold.response_id, self._clock.monotonic()
            if (found := await self._open(hold, owner)) is not None:
                log.info("create_found id=%s", found.id)
                return found
            if self._clock.monotonic() - since < RECORD_SECONDS:
                await self._clock.sleep(LOOK_SECONDS)
            else:
                await self._store.release_key(key, owner, hold)
        return None

    async def acquire(self, create: Create, response_id: str, *, is_begun: bool) -> None:
        """Let the create's key stand for this response: before it is stored, and when it was.

        Raises ``KeyTaken`` if it stands for another one (it took so long that the key was free),
        and ``StoreUnavailable``. The caller releases the key then.
        """
        hold = _hold(create, response_id, is_begun=is_begun)
        key = create.request.idempotency_key or ""
        held = await self._store.acquire_key(key, create.owner, hold)
        if held.response_id != response_id:
            raise KeyTaken

    async def release(self, create: Create, response_id: str) -> None:
        """Let the create's key stand for nothing, if it stands for this response.

        Where the store is away the key is free as by rule 3.
        """
        key = create.request.idempotency_key
        with suppress(StoreUnavailable):
            for is_begun in (True, False) if key is not None else ():
                hold = _hold(create, response_id, is_begun=is_begun)
                await self._store.release_key(key or "", create.owner, hold)

    async def cancel(self, found: FoundResponse) -> None:
        """Ask for the response's end, on whichever server it runs. Raises ``StoreUnavailable``."""
        await self._store.cancel(found.id, found.owner)

    async def _open(self, hold: KeyHold, owner: str) -> FoundResponse | None:
        """The response, once it has an event; None if the store does not have it."""
        response_id = hold.response_id
        if await self._store.get(response_id, owner) is None:
            return None
        async with aclosing(self._logs.read_until_drained(response_id, owner)) as events:
            try:
                await anext(events)
            except ResponseNotFound:
                return None
        # Read anew: what is not begun holds nothing, and not every caller reads it.
        events = self._logs.read_until_drained(response_id, owner)
        return FoundResponse(response_id, owner, events)


def _hold(create: Create, response_id: str, *, is_begun: bool) -> KeyHold:
    return KeyHold(response_id, create.request.digest, create.lane, is_begun)


def _check(create: Create, hold: KeyHold) -> None:
    """Raise ``IdempotencyKeyReused`` if the hold is that of another create.

    Events carry the lane of the create that made them: on a socket they must find theirs.
    """
    is_elsewhere = create.transport == "websocket" and create.lane != hold.lane
    if create.request.digest != hold.digest or is_elsewhere:
        raise IdempotencyKeyReused
