"""A fake provider with a WebSocket, and the upstream that asks it."""

import pytest
from upstreams.asking import Pauses
from upstreams.sockets import FakeSockets

from ws_bridge.upstream.websocket.upstream import WebSocketUpstream


@pytest.fixture
def fake():
    with FakeSockets() as running:
        yield running
    assert running.violations == []


@pytest.fixture
async def native():
    upstream = WebSocketUpstream(clock=Pauses().clock, jitter=lambda: 0.0)
    yield upstream
    await upstream.stop()
