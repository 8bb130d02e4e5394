"""Steering and interrupting against every family of providers, over real loopback connections."""

import asyncio
import json
import re

import pytest
from support.native_service import NativeService
from upstreams.server import FakeProviders
from upstreams.sockets import FakeSockets

TERMINALS = ("response.completed", "response.failed", "response.incomplete", "error")
# family: what is asked for, the path of the provider's address, a scenario of two items, the
# provider's event in the middle of the first, and one in the middle of the second.
FAMILIES = {
    "native": ("openai/gpt-*", "/v1", "phase", 6, 14),
    "socket": ("openai/gpt-*", "/v1", "phase", 6, 14),
    "chat": ("groq/m-*", "/v1", "textools", 3, 6),
    "anthropic": ("anthropic/claude-*", "", "texttool", 6, 11),
}
TOOLS = [
    {"type": "function", "name": name, "parameters": {"type": "object", "properties": {}}}
    for name in ("get_weather", "get_time")
]

each_family = pytest.mark.parametrize("family", FAMILIES)


class Halting:
    """Providers whose ``halt<N>`` models send nothing more from their event N on, gate or not."""

    async def _hold(self, request, model, count):
        await super()._hold(request, model, count)
        if (halt := re.search(r"halt(\d+)", model)) and count == int(halt[1]):
            await super()._hold(request, f"stall-{model}", 6)


class HaltingProviders(Halting, FakeProviders):
    """HTTP."""


class HaltingSockets(Halting, FakeSockets):
    """WebSocket."""


@pytest.fixture
def fake(family):
    with HaltingSockets() if family == "socket" else HaltingProviders() as running:
        yield running


@pytest.fixture
async def bridge(fake, serve, family):
    model, path, *_ = FAMILIES[family]
    entry = {"name": "*", "model": model, "api_base": fake.base_url + path, "api_key_env": "KEY"}
    native = NativeService() if family == "socket" else None
    running = await serve(native, {"models": [entry | {"retries": 0}]}, {"KEY": "sk-operators"})
    while (await running.get("/readyz"))[0] != 200:  # noqa: ASYNC110 - asks a server
        await asyncio.sleep(0.05)
    return running


def asked(fake, model):
    """What the provider was asked for a model, in order."""
    creates = fake.creates() if isinstance(fake, FakeSockets) else []
    return [one for one in creates if one["model"] == model] or fake.requests(model)


def text_and_call(response):
    return [item["content"][0]["text"] for item in response["output"]]


def history(body):
    """Role and content of each message, in any dialect."""
    items = body.get("input") or body["messages"]
    return [(one.get("role"), json.dumps(one.get("content"))) for one in items]


@each_family
async def test_a_steer_ends_the_provider_after_the_item_and_the_successor_knows_it(
    bridge, fake, family
):
    prefix, _, scenario, middle, halt = FAMILIES[family]
    name = f"{scenario}-gate{middle}-halt{halt}"
    model = prefix.partition("/")[2].replace("*", name)
    client = await bridge.connect()
    await client.create(model=name, input="hi", tools=TOOLS)
    target = (await client.until("response.output_text.delta"))[0]["response"]["id"]
    await fake.reached(model)
    frame = {"type": "response.steer", "previous_response_id": target, "input": "Keep it short."}
    await client.ws.send_json(frame)
    await client.until("response.steer.accepted")
    assert fake.live["open"] == 1
    fake.release(model)
    events = await client.until(*TERMINALS)
    await fake.until(lambda: fake.live["closed_early"] == 1)
    ended = events[-1]["response"]
    assert ended["incomplete_details"] == {"reason": "steered"}
    assert len(ended["output"]) == 1
    assert {event.get("output_index", 0) for event in events} == {0}

    after = await client.until("response.output_text.delta")
    assert after[0]["response"]["previous_response_id"] == target
    _, successor = asked(fake, model)
    roles = [role for role, _ in history(successor)]
    assert roles == ["user", "assistant", "user"]
    seen = history(successor)
    assert text_and_call(ended)[0] in seen[1][1]
    assert "Keep it short." in seen[2][1]
    await client.ws.send_json({"type": "response.cancel"})
    await client.until(*TERMINALS)


@each_family
async def test_an_interrupt_ends_the_provider_at_once_and_keeps_what_was_finished(
    bridge, fake, family
):
    prefix, _, scenario, _, middle = FAMILIES[family]
    name = f"{scenario}-gate{middle}"
    model = prefix.partition("/")[2].replace("*", name)
    client = await bridge.connect()
    await client.create(model=name, input="hi", tools=TOOLS, store=False)
    events = await client.until("response.output_item.done")
    await client.until("response.output_item.added")
    await fake.reached(model)
    target = events[0]["response"]["id"]
    await client.ws.send_json({"type": "response.interrupt", "response_id": target})
    await fake.until(lambda: fake.live["closed_early"] == 1)
    ended = (await client.until(*TERMINALS))[-1]["response"]
    assert ended["incomplete_details"] == {"reason": "interrupted"}
    assert ended["output"] == [events[-1]["item"]]

    await client.create(model="text", input="go on", store=False, previous_response_id=target)
    await client.until("response.completed")
    [body] = asked(fake, prefix.partition("/")[2].replace("*", "text"))
    seen = history(body)
    assert [role for role, _ in seen] == ["user", "assistant", "user"]
    assert text_and_call(ended)[0] in seen[1][1]
    assert "go on" in seen[2][1]
