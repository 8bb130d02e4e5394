"""Traces of a server of several workers, which are forked: each has a thread and a name of its own.

All are real: `ws-bridge serve` with a store, and a collector beside it.
"""

import asyncio

import aiohttp
import pytest
from support.collector import Collector
from support.fleet import Fresh
from support.hang import HANG_SECONDS
from support.redis_servers import Node, valkey_binary
from support.workers import DEMO, is_forked, workers_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def node():
    with Node(valkey_binary()) as running:
        yield running


@pytest.fixture
def collector():
    with Collector() as running:
        yield running


def config_of(node, collector, **server):
    return {
        "server": {"workers": 2, **server},
        "store": {"url": node.url},
        "models": [DEMO],
        "telemetry": {"otlp_endpoint": collector.url},
    }


async def turns(bridge, is_enough):
    """Turns over a new connection each, so that the kernel chooses the worker; their ids."""
    ids = []
    async with asyncio.timeout(HANG_SECONDS), aiohttp.ClientSession() as session:
        while not is_enough():
            async with session.ws_connect(bridge.ws_url) as ws:
                await ws.send_json({"type": "response.create", "model": "demo", "input": "hi"})
                while (event := await ws.receive_json())["type"] != "response.completed":
                    assert event["type"] not in ("error", "response.failed"), event
                ids.append(event["response"]["id"])
    return ids


async def test_both_workers_send_all_their_spans_before_they_end(node, collector, monkeypatch):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")

    def workers():
        return {one.resource.get("ws_bridge.worker") for one in collector.of_kind("server")}

    async with Fresh(config_of(node, collector)) as bridge:
        await bridge.wait_ready()
        ids = await turns(bridge, lambda: workers() >= {1, 2})
        assert all(map(is_forked, workers_of(bridge).values()))
        ids += await turns(bridge, iter((False, True)).__next__)  # and one that is not sent yet
        assert await bridge.terminate() == 0
        assert "spans_" not in bridge.log()
    creates = collector.of_kind("server")
    assert sorted(one.attributes["gen_ai.response.id"] for one in creates) == sorted(ids)
    assert len({one.resource["service.instance.id"] for one in creates}) == 2
    assert len({one.trace for one in creates}) == len(creates)
    linked = {link for flush in collector.named("mirror flush") for link in flush.links}
    assert linked == {one.place for one in creates}
    attempts = {one.parent for one in collector.of_kind("client")}
    assert attempts == {one.id for one in creates}


async def test_a_collector_that_stands_still_keeps_no_worker_from_its_end(node, collector):
    collector.gate.clear()
    async with Fresh(config_of(node, collector, drain_seconds=3600)) as bridge:
        await bridge.wait_ready()
        await turns(bridge, iter((False, True)).__next__)
        assert await bridge.terminate() == 0
        assert bridge.log().count("spans_unsent seconds=2") == 1
    assert not collector.gate.is_set()


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_server_without_the_library_says_so_and_does_not_start(
    node, collector, tmp_path, workers
):
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry/__init__.py").touch()  # it hides the one that is installed
    bridge = Fresh(config_of(node, collector, workers=workers), {"PYTHONPATH": str(tmp_path)})
    with pytest.raises(AssertionError, match="it ended with 2") as ended:
        async with bridge:
            await bridge.wait_ready()
    assert str(ended.value).count('pip install "ws-bridge[otel]"') == 1
