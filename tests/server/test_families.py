"""The whole bridge with real litellm calls to loopback providers of three families."""

import asyncio
import json

import pytest
from support.fleet import FAMILIES, KEYS, models_for
from support.turned_loop import silence
from upstreams import FakeProviders
from upstreams.responses import RESPONSE_ID

TERMINALS = ("response.completed", "response.failed", "response.incomplete", "error")
KEY = KEYS["KEY"]

each_family = pytest.mark.parametrize("family", FAMILIES)

SILENCE = 100.0  # of a provider, at most


@pytest.fixture(scope="module")
def fake():
    with FakeProviders() as running:
        yield running


@pytest.fixture
async def bridge(serve, fake):
    fake.reset()
    models = models_for(fake, stall_seconds=SILENCE)
    dead = {
        **models[0],
        "name": "dead",
        "model": "openai/gpt-dead",
        "api_base": "http://127.0.0.1:9",
    }
    running = await serve(None, {"models": [*models, dead]}, KEYS)
    while (await running.get("/readyz"))[0] != 200:  # noqa: ASYNC110 - asks a server
        await asyncio.sleep(0.05)
    return running


async def answered(client, model, fake=None, **fields):
    """A turn's events; at most one of them ends it. A provider that falls silent is given up."""
    turning = asyncio.create_task(client.turn(model=model, input="hi", **fields))
    if "stall" in model:
        family, _, scenario = model.partition("-")
        name = FAMILIES[family][0].partition("/")[2]
        await silence(fake, name.replace("*", scenario), SILENCE)
    events = await turning
    assert [event["type"] in TERMINALS for event in events].count(True) == 1
    return events


FAILURES = [
    ("err400", 400),
    ("err401", 401),
    ("err403", 403),
    ("err404", 404),
    ("err429", 429),
    ("err500", 500),
    ("pre1drop", 502),
    ("drop", None),
    ("reset", 502),
    ("stall", None),
    ("cleaneof", None),
    ("zerobytes", 502),
]


@each_family
@pytest.mark.parametrize(("scenario", "status"), FAILURES)
async def test_a_provider_that_fails_is_one_clean_end_and_the_next_turn_works(
    bridge, fake, family, scenario, status
):
    client = await bridge.connect()
    last = (await answered(client, f"{family}-{scenario}", fake))[-1]
    if status and last["type"] == "error":
        assert last["status"] == status
    else:
        assert last["type"] == "response.failed"
        assert last["response"]["error"].keys() == {"code", "message"}
    text = json.dumps(last.get("error") or last["response"]["error"]).lower()
    port = fake.base_url.rpartition(":")[2]
    for word in ("litellm", "traceback", "/", KEY, port, "127.0.0.1", "groq", "exception"):
        assert word not in text
    assert (await answered(client, f"{family}-text"))[-1]["type"] == "response.completed"


@pytest.mark.catalogue("U4")
@each_family
async def test_a_provider_that_falls_silent_fails_and_its_output_is_kept(bridge, fake, family):
    client = await bridge.connect()
    events = await answered(client, f"{family}-stall", fake)
    text = "".join(event.get("delta", "") for event in events)
    last = events[-1]["response"]
    assert (last["status"], last["error"]["code"]) == ("failed", "server_error")
    assert text == "".join(part["text"] for item in last["output"] for part in item["content"])
    assert text
    assert await bridge.get(f"/v1/responses/{last['id']}") == (200, last)
    await fake.wait_closed(1)


SCENARIOS = "text rtools refusal annot image custom mcp failed incomplete queued unknownev errevent"


@pytest.mark.catalogue("U13")
@pytest.mark.parametrize("scenario", SCENARIOS.split())
async def test_no_event_has_the_providers_id_of_the_response(bridge, scenario):
    client = await bridge.connect()
    events = await answered(client, f"native-{scenario}")
    ids = {event["response"]["id"] for event in events if "response" in event}
    assert len(ids) == 1
    stored = await bridge.get(f"/v1/responses/{ids.pop()}")
    assert RESPONSE_ID not in json.dumps([*events, stored])


@each_family
async def test_a_retry_after_reaches_the_client(bridge, family):
    client = await bridge.connect()
    [error] = await answered(client, f"{family}-err429")
    assert error["headers"] == {"retry-after": "7"}


async def test_a_refused_connection_is_one_error(bridge):
    client = await bridge.connect()
    [error] = await answered(client, "dead")
    assert (error["type"], error["status"]) == ("error", 502)


@pytest.mark.catalogue("U7")
@each_family
async def test_a_malformed_line_never_ends_in_silence(bridge, family):
    """What cannot be read is no success: nobody knows what it said."""
    client = await bridge.connect()
    last = (await answered(client, f"{family}-badline"))[-1]
    assert last["type"] == "response.failed"
    assert (await answered(client, f"{family}-text"))[-1]["type"] == "response.completed"


@each_family
@pytest.mark.parametrize("way", ["socket", "http", "close"])
async def test_a_cancel_closes_the_providers_connection(bridge, fake, family, way):
    client = await bridge.connect()
    model = f"{family}-gate6"
    await client.create(model=model, input="hi", store=way == "http")
    created = await client.event()
    assert created["type"] == "response.created", created
    await fake.until(lambda: fake.live["open"] == 1)
    if way == "socket":
        await client.ws.send_json({"type": "response.cancel"})
    elif way == "http":
        await bridge.post(f"/v1/responses/{created['response']['id']}/cancel")
    else:
        await client.ws.close()
    await fake.wait_closed(1)
    if way != "close":
        last = (await client.until(*TERMINALS))[-1]
        assert last["response"]["status"] == "cancelled"


@each_family
async def test_a_stored_response_whose_client_vanished_completes(bridge, fake, family):
    client = await bridge.connect()
    await client.create(model=f"{family}-gate6", input="hi")
    response_id = (await client.event())["response"]["id"]
    await client.ws.close()
    fake.release(f"{FAMILIES[family][0].partition('/')[2][:-1]}gate6")
    url = f"{bridge.url}/v1/responses/{response_id}"
    async with bridge.session.get(url + "?stream=true") as follower:
        assert (await follower.text()).endswith("data: [DONE]\n\n")
    async with bridge.session.get(url) as poller:
        assert (await poller.json())["status"] == "completed"


@each_family
async def test_the_next_turn_sends_the_provider_the_whole_history(bridge, family):
    client = await bridge.connect()
    first = (await answered(client, f"{family}-text"))[-1]["response"]
    last = (await answered(client, f"{family}-echo", previous_response_id=first["id"]))[-1]
    messages = json.loads(last["response"]["output"][0]["content"][0]["text"])
    messages = messages["messages"] if isinstance(messages, dict) else messages
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    answer_text = first["output"][0]["content"][0]["text"]
    assert answer_text in json.dumps(messages[1])
