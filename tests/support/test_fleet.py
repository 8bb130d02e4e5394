"""The bridge processes of the tests start, answer, freeze and end as told."""

import asyncio
import tomllib

import aiohttp
import pytest
from support.fleet import fleet, models_for, toml
from support.hang import HANG_SECONDS
from upstreams import FakeProviders

DEMO = {"name": "demo", "model": "demo/demo", "drop_params": True}
TERMINALS = ("response.completed", "response.failed", "response.incomplete", "error")


@pytest.fixture(scope="module")
def fake():
    with FakeProviders() as running:
        yield running


async def turn(bridge, model, **fields):
    """The events of one turn on a new socket."""
    async with aiohttp.ClientSession() as session, session.ws_connect(bridge.ws_url) as socket:
        await socket.send_json(
            {"type": "response.create", "model": model, "input": "count to 3", **fields}
        )
        events = [await socket.receive_json(timeout=HANG_SECONDS)]
        while events[-1]["type"] not in TERMINALS:
            events.append(await socket.receive_json(timeout=HANG_SECONDS))
        return events


async def status(bridge, path, seconds=20):
    timeout = aiohttp.ClientTimeout(total=seconds)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.get(bridge.url + path) as answer,
    ):
        return answer.status


def test_a_configuration_is_written_as_it_is_meant():
    config = {
        "server": {"host": 'q"\\\n\u00e9\U0001f600', "drain_seconds": 0.5, "report_cost": True},
        "auth": {"keys_env": ["A", "B"], "table": {"a-b": [1, 2]}},
        "limits": {},
        "models": [{"name": "m"}, {"name": "n"}],
    }
    assert tomllib.loads(toml(config)) == config


async def test_two_bridges_answer_and_outlive_each_other(fake):
    """Their whole life: start, turns, frozen, thawed, killed, back at the same address, ended."""
    config = {
        "server": {"drain_seconds": 1},
        "store": {"url": "memory://"},
        "models": [DEMO, *models_for(fake, stall_seconds=5)],
    }
    async with fleet(2, config) as bridges:
        first, second = bridges
        assert first.url != second.url
        for bridge in bridges:
            assert await status(bridge, "/healthz") == 200
            assert await status(bridge, "/readyz") == 200
            for model in ("demo", "native-text", "chat-text", "anthropic-text"):
                assert (await turn(bridge, model))[-1]["type"] == "response.completed", model

        first.freeze()
        with pytest.raises(TimeoutError):
            await status(first, "/healthz", seconds=0.2)
        assert await status(second, "/healthz") == 200
        first.thaw()
        assert await status(first, "/healthz") == 200

        await first.kill()
        with pytest.raises(aiohttp.ClientConnectionError):
            await status(first, "/healthz")
        address, pid = first.url, first.pid
        await first.start()
        assert await status(first, "/healthz") == 200
        assert (first.url, first.pid != pid) == (address, True)

        codes = await asyncio.gather(*(bridge.terminate() for bridge in bridges))
        assert codes == [0, 0]
        assert "model demo: on" in second.log()
        assert "stopped" in second.log()
