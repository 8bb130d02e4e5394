"""The whole bridge with a provider's own WebSocket behind it."""

import json

import pytest
from support.native_service import NativeService
from upstreams.asking import KEY
from upstreams.sockets import FakeSockets


@pytest.fixture
def fake():
    with FakeSockets() as running:
        yield running
    assert running.violations == []


@pytest.fixture
def behind(serve, fake):
    async def start(scenario, **more):
        entry = {"name": "m", "model": f"openai/gpt-{scenario}", "api_base": fake.base_url + "/v1"}
        config = {"models": [entry | {"api_key_env": "K"} | more]}
        native = NativeService()
        return await serve(native, config, {"K": KEY})

    return start


def text_of(events):
    return events[-1]["response"]["output"][0]["content"][0]["text"]


@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("lane", [{}, {"stream_id": "side"}])
async def test_a_chain_goes_on_at_the_provider_under_the_bridges_ids(behind, fake, store, lane):
    running = await behind("echo")
    client = await running.connect()
    first = await client.turn(input="one", store=store, **lane)
    parent = first[-1]["response"]["id"]
    second = await client.turn(input="two", previous_response_id=parent, store=store, **lane)
    assert [event["sequence_number"] for event in second] == list(range(len(second)))
    assert {event.get("stream_id") for event in second} == {lane.get("stream_id")}
    assert second[-1]["response"]["previous_response_id"] == parent
    assert "theirs" not in json.dumps(first + second)
    assert [item["role"] for item in json.loads(text_of(second))] == ["user", "assistant", "user"]
    assert fake.creates()[1]["input"] == [{"type": "message", "role": "user", "content": "two"}]
    assert fake.creates()[1]["previous_response_id"] == "resp_theirs1"
    assert [create["store"] for create in fake.creates()] == [store, store]


async def test_a_stored_response_is_read_back_as_it_was_sent(behind):
    running = await behind("rtools")
    client = await running.connect()
    events = await client.turn(input="one")
    status, kept = await running.get(f"/v1/responses/{events[-1]['response']['id']}")
    assert (status, kept) == (200, events[-1]["response"])


async def test_no_client_sees_a_lost_upstream_connection(behind, fake):
    running = await behind("echo")
    client = await running.connect()
    first = await client.turn(input="one")
    fake.hang_up()
    await fake.gone()
    second = await client.turn(input="two", previous_response_id=first[-1]["response"]["id"])
    assert [item["role"] for item in json.loads(text_of(second))] == ["user", "assistant", "user"]
    assert len(fake.handshakes) == 2


async def test_what_is_cancelled_is_stopped_at_the_provider(behind, fake):
    running = await behind("gate5")
    client = await running.connect()
    await client.create(input="one")
    events = await client.until("response.in_progress")
    await running.post(f"/v1/responses/{events[0]['response']['id']}/cancel")
    ended = await client.until("response.failed")
    assert ended[-1]["response"]["status"] == "cancelled"
    await fake.wait_closed(closed_early=1)
