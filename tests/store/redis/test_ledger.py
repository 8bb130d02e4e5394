"""The ledger in Redis beyond the contract: its keys, and days that are over."""

import secrets
import time

import pytest
from redis.asyncio import Redis
from store.ledger_contract import booking, counts, end, key_name
from store.opened import opened
from support.redis_servers import Node, valkey_binary

from ws_bridge.store.ledger import KEPT_DAYS, day_of
from ws_bridge.store.redis.keys import PARTITIONS, day_sum_key, spent_key, usage_key
from ws_bridge.store.redis.ledger import FIRST_DAY_KEY

DAY = 86_400.0


class Wall:
    """The days of a store, ahead of the server's or behind them."""

    def __init__(self, days: float = 0.0) -> None:
        self.days = days

    def __call__(self) -> float:
        return time.time() + self.days * DAY


@pytest.fixture(scope="module")
def node():
    with Node(valkey_binary()) as own:
        yield own


@pytest.fixture
async def client(node):
    async with Redis.from_url(node.url) as one:
        await one.flushall()
        yield one


async def test_an_older_day_is_one_sum_and_its_parts_are_dropped(node, client):
    key, other, wall = key_name(), key_name(), Wall(-3)
    async with opened(node.url, wall=wall) as store:
        await end(store, *([booking(key)] * 9), booking(key, "b"), booking(other))
        await store.book(1, [booking(key)])
        day, before = day_of(wall()), await store.read_usage(KEPT_DAYS)
        wall.days = 0
        await end(store, booking(key))
        both = await store.read_usage(KEPT_DAYS)
        assert both[:3] == before
        spent = await store.read_spent(KEPT_DAYS, [key, other])
        await store._ledger.settle()
        assert await client.exists(day_sum_key(day)) == 1
        parts = [spent_key(n, day) for n in range(PARTITIONS)]
        parts += [usage_key(n, day, key) for n in range(PARTITIONS)]
        assert await client.exists(*parts) == 0
        assert await store.read_usage(KEPT_DAYS) == both
        assert await store.read_spent(KEPT_DAYS, [key, other]) == spent
        assert await counts(store, key) == {
            "gpt-*": {name: 11 * count for name, count in booking(key).counts.items()},
            "b": dict(booking(key).counts),
        }


async def test_a_sum_is_made_once_and_never_of_a_day_that_may_go_on(node, client):
    """A server whose clock is days ahead makes no sum of a day that still changes."""
    key, wall = key_name(), Wall(-2)
    async with opened(node.url, wall=wall) as store:
        await end(store, booking(key))
        wall.days = 0
        await store._ledger.settle()
        summed = await store.read_usage(KEPT_DAYS)
        wall.days = -2  # a booking that comes late is not counted, and changes no sum
        await end(store, booking(key))
        wall.days = 0
        await store._ledger.settle()
        assert await store.read_usage(KEPT_DAYS) == summed
        await end(store, booking(key))
        now, wall.days = day_of(wall()), 5
        await store._ledger.settle()
        assert await client.exists(day_sum_key(now)) == 0


async def test_no_day_before_the_first_is_read(node, client):
    async with opened(node.url) as store:
        await store.read_usage(KEPT_DAYS)
        began = (await client.get(FIRST_DAY_KEY)).decode()
        assert began == day_of(time.time() - DAY)
        assert await store._ledger._days(KEPT_DAYS) == [began, day_of(time.time())]


async def test_every_key_of_the_ledger_expires(node, client):
    key = key_name()
    async with opened(node.url) as store:
        await end(store, booking(key))
        await store.book(1, [booking(key)])
        await store.read_usage(1)
        kept = [name async for name in client.scan_iter()]
        assert len([name for name in kept if key.encode() in name]) in (1, 2)
        lives = {name: await client.pttl(name) for name in kept}
        assert min(lives.values()) > 0
        assert max(lives.values()) <= (KEPT_DAYS + 1) * DAY * 1000


async def test_a_broken_key_of_the_ledger_holds_up_no_end(node, client):
    key = key_name()
    async with opened(node.url) as store:
        for partition in range(PARTITIONS):
            await client.set(usage_key(partition, day_of(time.time()), key), secrets.token_hex())
        await end(store, booking(key))
