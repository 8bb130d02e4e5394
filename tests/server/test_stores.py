"""Which stores a configuration names."""

import pytest
from support.redis_servers import Node, valkey_binary

from ws_bridge.clock import Clock
from ws_bridge.config import Config, Settings
from ws_bridge.errors import ConfigError
from ws_bridge.server.stores import check_store, stores_of
from ws_bridge.store.base import Owners
from ws_bridge.store.conversations import MemoryConversations
from ws_bridge.store.memory import MemoryStore
from ws_bridge.store.redis.conversations import RedisConversations
from ws_bridge.store.redis.counters import RedisCounters
from ws_bridge.store.redis.store import RedisStore


def settings(url):
    return Settings(Config.model_validate({"store": {"url": url}}))


@pytest.mark.parametrize(
    ("url", "kinds"),
    [
        ("memory://", (MemoryStore, MemoryConversations, type(None))),
        ("redis://127.0.0.1:1", (RedisStore, RedisConversations, RedisCounters)),
    ],
)
def test_an_address_names_the_stores(url, kinds):
    made = stores_of(settings(url), Clock(), Owners())
    assert tuple(map(type, made)) == kinds


async def test_a_store_that_answers_is_well():
    with Node(valkey_binary()) as node:
        await check_store(settings(node.url))


async def test_one_that_does_not_answer_is_found_only_where_it_may_be_asked():
    unreachable = settings("redis://127.0.0.1:1")
    await check_store(unreachable, is_offline=True)
    with pytest.raises(ConfigError, match=r"'store\.url': the store does not answer"):
        await check_store(unreachable)
