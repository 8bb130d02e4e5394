"""`/v1/usage`: what the asking key's name has used, by day and model. It sees no other name."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence

from aiohttp import web

from ws_bridge.errors import InvalidRequest
from ws_bridge.server.auth import KEY_NAME
from ws_bridge.server.http.json import integer
from ws_bridge.server.json_responses import json_response
from ws_bridge.store.base import Store
from ws_bridge.store.ledger import KEPT_DAYS, NANO_USD, OUTCOMES, TOKEN_COUNTERS, Counts, DayUsage
from ws_bridge.types import Json

DEFAULT_DAYS = 30
READS = 4  # at once: each is some round trips to the store


class UsageRoutes:
    """The handler. The middleware has set the name of the request's key."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reads = asyncio.Semaphore(READS)

    def routes(self) -> list[web.RouteDef]:
        """The route."""
        return [web.get("/v1/usage", self.list, allow_head=False)]

    async def list(self, request: web.Request) -> web.Response:
        """The usage of the last days, today included."""
        days = integer(request, "days", default=DEFAULT_DAYS)
        if not 1 <= days <= KEPT_DAYS:
            raise InvalidRequest(f"'days' must be between 1 and {KEPT_DAYS}.", param="days")
        async with self._reads:
            usage = await self._store.read_usage(days, request[KEY_NAME])
        return json_response(usage_list(usage, days))


def usage_list(usage: Sequence[DayUsage], days: int, *, with_keys: bool = False) -> Json:
    """Usage as a list object, with the sum of all. Names of keys are for the operator alone."""
    data = [
        {"object": "usage", "day": one.day}
        | ({"key": one.key} if with_keys else {})
        | {"model": one.model}
        | _figures(one.counts)
        for one in usage
    ]
    total = {"object": "usage", "days": days} | _figures(_sum(one.counts for one in usage))
    return {"object": "list", "data": data, "total": total}


def _sum(all_counts: Iterable[Counts]) -> Counts:
    total: Counter[str] = Counter()
    for counts in all_counts:
        total.update(counts)
    return total


def _figures(counts: Counts) -> Json:
    outcomes = {name: counts.get(name, 0) for name in OUTCOMES}
    tokens = {name: counts.get(name, 0) for name in TOKEN_COUNTERS}
    cost = {"cost_usd": counts.get(NANO_USD, 0) / 1_000_000_000}
    return {"responses": sum(outcomes.values())} | outcomes | tokens | cost
