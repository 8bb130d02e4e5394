"""Stores that are open and know their server, as one that has run for a while."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from store.contract import OWNERS
from support.hang import HANG_SECONDS

from ws_bridge.store.base import Record
from ws_bridge.store.redis.connect import TlsFiles, parse_url
from ws_bridge.store.redis.keys import CHANNEL_PREFIX, keys_of
from ws_bridge.store.redis.store import RedisStore

LEASE_SECONDS = 15.0
TTL_SECONDS = 60.0
NO_TLS = TlsFiles()


class Later:
    """A clock ahead of the machine's: a store that is open has been so for long."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@asynccontextmanager
async def opened(
    url: str, password: str = "", tls: TlsFiles = NO_TLS, **fields: Any
) -> AsyncIterator[RedisStore]:
    """A store that is connected, has a subscription, and may claim."""
    later = Later()
    usual = {"ttl_seconds": TTL_SECONDS, "lease_seconds": LEASE_SECONDS, "now": later}
    fields = usual | {"owners": OWNERS} | fields
    store = RedisStore(parse_url(url, password, tls), **fields)
    await store.open()
    try:
        await until_subscribed(store)
        later.ahead = 10 * LEASE_SECONDS  # as if the server had been up for longer than a lease
        store.scripts.standstill.stood_still_since(0.0)  # which is known before anything is asked
        yield store
    finally:
        await store.close()


async def until(is_true: Callable[[], Awaitable[Any]], what: str) -> None:
    """Return when it is true, within a bound that only a broken store reaches."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HANG_SECONDS):
            while not await is_true():  # noqa: ASYNC110 - of a server, which sets no event
                await asyncio.sleep(0.01)
            return
    raise AssertionError(f"never true: {what}")


async def until_subscribed(store: RedisStore) -> None:
    """Return when hints reach the store: a message of nothing has a receiver."""

    async def is_received() -> bool:
        channel = store.scripts.stored_name(CHANNEL_PREFIX + store.worker)
        command = "PUBLISH", channel, "-"
        return bool(await store._client.execute_command(*command)) or is_cluster(store)

    await until(is_received, "the store is subscribed")


def is_cluster(store: RedisStore) -> bool:
    """Whether receivers are on several nodes: a publisher counts those on its own only."""
    return store._logs._address.kind == "cluster"


async def expire(store: RedisStore, kept: Record) -> None:
    """Let a response's lease run out."""
    keys = keys_of(kept.id)
    stored = store.scripts.stored_name
    await store._client.hset(stored(keys.meta), "lx", "0")
    await store._client.zadd(stored(keys.leases), {kept.id: 0}, xx=True)
