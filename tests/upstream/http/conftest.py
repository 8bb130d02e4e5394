"""A raw provider, and the client that asks it."""

import asyncio

import pytest
from support.turned_loop import TurnedLoop
from upstreams.raw import RawProvider

from ws_bridge.upstream.http.client import HttpClient


def pytest_asyncio_loop_factories():
    return {"asyncio": TurnedLoop}


@pytest.fixture
async def provider():
    one = RawProvider()
    server = await asyncio.start_server(one.accept, "127.0.0.1", 0)
    one.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield one
    server.close()


@pytest.fixture
async def client(provider):
    one = HttpClient(proxies={})
    await one.start()
    yield one
    await one.close()
    await provider.until(lambda: provider.closed == provider.connections)  # nothing is left open
