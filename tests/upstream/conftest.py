"""A fake provider for the upstreams' tests; litellm's connections end with each test's loop."""

import pytest
from support.turned_loop import TurnedLoop
from upstreams import FakeProviders


def pytest_asyncio_loop_factories():
    return {"asyncio": TurnedLoop}


@pytest.fixture(scope="session")
def providers():
    with FakeProviders() as running:
        yield running


@pytest.fixture
async def fake(providers):
    from ws_bridge.upstream.litellm import client  # noqa: PLC0415 - litellm takes seconds to import

    providers.reset()
    yield providers
    await client.shutdown()
