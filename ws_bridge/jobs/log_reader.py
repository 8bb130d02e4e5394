"""A response's log, read to its end; a log that cannot be is an error, and never a short answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from ws_bridge.errors import ResponseNotFound, ServerDraining, StoreUnavailable
from ws_bridge.pacing import cancel_all
from ws_bridge.protocol.events import Event
from ws_bridge.store.base import Store


class LogReader:
    """Reads what the store has of responses. ``drained`` is set when this server drains."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.drained = asyncio.Event()

    async def read(
        self, response_id: str, owner: str, *, after: int = -1
    ) -> AsyncGenerator[Sequence[Event], None]:
        """All events after a number, to the end, in batches.

        Raises ``ResponseNotFound`` if the response is gone before its end was read, and
        ``StoreUnavailable`` if it exists and was not read to its end.
        """
        last, has_ended = after, False
        async for batch in self._store.read(response_id, owner, after=after):
            last, has_ended = batch[-1].number, batch[-1].is_terminal
            yield batch
        if has_ended:
            return
        found = await self._store.get(response_id, owner)
        if found is None:
            raise ResponseNotFound(response_id)
        if not found.is_terminal or found.number > last:
            raise StoreUnavailable

    async def read_until_drained(
        self, response_id: str, owner: str
    ) -> AsyncGenerator[Sequence[Event], None]:
        """All events, as ``read``. Raises ``ServerDraining`` when this server drains."""
        batches = self.read(response_id, owner)
        draining = asyncio.ensure_future(self.drained.wait())
        reading: asyncio.Future[Sequence[Event] | None] = draining  # type: ignore[assignment]
        try:
            while True:
                reading = asyncio.ensure_future(anext(batches, None))
                await asyncio.wait((reading, draining), return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    raise ServerDraining
                if (batch := reading.result()) is None:
                    return
                yield batch
        finally:
            await cancel_all(reading, draining)
            await batches.aclose()
