"""Health, readiness, the page, metrics, unknown paths, and the drain."""

import asyncio

import pytest
from aiohttp import WSMsgType
from support.hang import HANG_SECONDS
from support.redis_servers import Node, valkey_binary
from support.scripted_upstream import Scripted, answer, completed, done_item, message, opening

from ws_bridge.config import Config, Settings
from ws_bridge.server.app import MIB, Bridge


async def test_health_is_at_once_and_readiness_when_the_upstream_has_started(serve):
    started = asyncio.Event()

    class Slow(Scripted):
        async def start(self):
            await started.wait()

    bridge = await serve(Slow(answer("x")))
    assert (await bridge.get("/healthz"))[0] == 200
    assert await bridge.get("/readyz") == (503, {"status": "not ready", "missing": ["upstream"]})
    started.set()
    while (await bridge.get("/readyz"))[0] != 200:
        pass
    assert await bridge.get("/readyz") == (200, {"status": "ready"})


@pytest.mark.parametrize(("given", "status"), [({}, 200), ({"ready_without_store": False}, 503)])
async def test_a_store_that_was_reached_may_go_away_as_the_operator_wants(serve, given, status):
    """A server that has lost its store serves; whether a balancer is to use it is a key."""
    with Node(valkey_binary()) as node:
        config = {"store": {"url": node.url}, "server": given}
        bridge = await serve(Scripted(answer("x")), config)
        while (await bridge.get("/readyz"))[0] != 200:
            pass
        node.kill()
        while "missing" not in (found := await bridge.get("/readyz"))[1]:
            assert (await bridge.get("/v1/responses/resp_x"))[0] in (404, 503)
        said = "ready" if status == 200 else "not ready"
        assert found == (status, {"status": said, "missing": ["store"]})


async def test_unknown_paths_and_methods_are_errors_of_the_contract(serve):
    bridge = await serve(Scripted(answer("x")))
    for path, status in (("/v1/nothing", 404), ("/v1/responses/x/cancel", 405)):
        got, body = await bridge.get(path)
        assert (got, body["error"]["type"]) == (status, "invalid_request_error")


async def test_the_page_comes_with_a_strict_policy(serve):
    bridge = await serve(Scripted(answer("x")))
    async with bridge.session.get(bridge.url + "/") as got:
        assert "default-src 'self'" in got.headers["Content-Security-Policy"]
        assert "unsafe-inline" not in got.headers["Content-Security-Policy"]
        assert got.headers["X-Content-Type-Options"] == "nosniff"
    async with bridge.session.get(bridge.url + "/static/../config.toml") as got:
        assert got.status == 404


async def test_a_drain_lets_a_turn_finish_and_refuses_new_ones(serve):
    gate = asyncio.Event()
    bridge = await serve(Scripted([*opening(), gate, *message("x"), completed(done_item("x"))]))
    bridge.bridge.force.clear()
    busy, idle = await bridge.connect(), await bridge.connect()
    await busy.create(input="hi")
    await busy.until("response.in_progress")
    await busy.create(input="waits")
    await busy.ws.send_str("{")
    await busy.event()
    ending = asyncio.create_task(bridge.bridge.app.shutdown())
    closed = await idle.ws.receive()
    assert (closed.type, idle.ws.close_code) == (WSMsgType.CLOSE, 1012)
    await busy.create(input="new", stream_id="b")
    assert (await busy.event())["error"]["code"] == "server_draining"
    gate.set()
    assert (await busy.until("response.completed"))[-1]["response"]["status"] == "completed"
    assert (await busy.event())["error"]["code"] == "server_draining"  # what waited, in its turn
    assert (await busy.ws.receive()).type is WSMsgType.CLOSE
    assert busy.ws.close_code == 1012
    await ending


async def test_a_drain_does_not_wait_for_a_client_that_leaves_meanwhile(serve):
    gate = asyncio.Event()
    bridge = await serve(Scripted([*opening(), gate, *message("x"), completed(done_item("x"))]))
    bridge.bridge.force.clear()
    client = await bridge.connect()
    await client.create(input="hi")
    await client.until("response.in_progress")
    ending = asyncio.create_task(bridge.bridge.app.shutdown())
    await client.create(input="new", stream_id="b")
    assert (await client.event())["error"]["code"] == "server_draining"
    await client.ws.close()
    gate.set()
    async with asyncio.timeout(HANG_SECONDS):
        await ending


async def test_a_forced_drain_ends_what_runs_as_failed(serve):
    bridge = await serve(Scripted([*opening(), *message("par")[:3], asyncio.Event()]))
    client = await bridge.connect()
    await client.create(input="hi")
    await client.until("response.output_text.delta")
    ending = asyncio.create_task(bridge.bridge.app.shutdown())
    last = (await client.until("response.failed"))[-1]["response"]
    assert last["error"]["message"] == "The server shut down before the response finished."
    assert last["output"][0]["content"][0]["text"] == "par"
    await ending


@pytest.mark.catalogue("A13")
@pytest.mark.parametrize(("message_mib", "most_mib"), [(1, 129), (64, 129), (512, 1025)])
def test_a_stored_value_unfolds_to_what_a_message_can_become_and_no_further(message_mib, most_mib):
    sections = {
        "server": {"max_message_mib": message_mib},
        "store": {"url": "redis://127.0.0.1:1"},
    }
    bridge = Bridge(Settings(Config.model_validate(sections)), upstream=Scripted([]))
    for part in (bridge._store, bridge._conversations):
        assert part._codec.max_bytes == most_mib * MIB
