"""Background creations that were refused, and may have happened all the same: to be deleted."""

from __future__ import annotations

from ws_bridge.store.base import Record, Store


class RefusedCreates:
    """What nobody was told the id of, until the store knows it no more."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._records: dict[str, Record] = {}

    def add(self, record: Record) -> None:
        """It may be in the store, or still on its way there."""
        self._records[record.id] = record

    async def delete(self) -> None:
        """Delete all there are. Raises ``StoreUnavailable``."""
        for response_id, record in list(self._records.items()):
            await self._store.delete(response_id, record.owner)
            self._records.pop(response_id, None)
