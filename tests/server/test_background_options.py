"""`background_options` from a client's create to the provider's body, through the real litellm."""

import json

import pytest
from upstreams import FakeProviders

LONG = {"completion_window": "8h", "continuation_id": "customer-1"}
WINDOW = "background_options.completion_window"


@pytest.fixture(scope="module")
def running():
    with FakeProviders() as fake:
        yield fake


@pytest.fixture
def fake(running):
    running.reset()
    return running


@pytest.fixture
async def bridge(serve, fake):
    """``own-*`` runs in the provider's background mode; the others are run by the bridge."""
    here = {"api_base": fake.base_url + "/v1", "api_key_env": "KEY", "retries": 0}
    models = [
        {"name": "own-*", "model": "openai/gpt-*", **here},
        {"name": "own-err500", "model": "openai/gpt-err500", **here, "fallbacks": ["chat-text"]},
        {"name": "native-*", "model": "openai/gpt-*", **here},
        {"name": "chat-*", "model": "groq/m-*", **here},
        {"name": "claude-*", "model": "anthropic/claude-*", **here, "api_base": fake.base_url},
    ]
    config = {"models": models, "background": {"native_models": ["own-*", "own-err500"]}}
    return await serve(None, config, {"KEY": "k"})  # with an upstream of its own: the real one


async def end_of(bridge, response):
    while response["status"] in ("queued", "in_progress"):
        _, response = await bridge.get(f"/v1/responses/{response['id']}")
    return response


async def background(bridge, model, **fields):
    status, response = await bridge.post(
        "/v1/responses", model=model, input="hi", background=True, **fields
    )
    assert (status, response["status"]) == (200, "queued"), response
    return await end_of(bridge, response)


def leaks(fake):
    """The bodies that have any of the options."""
    bodies = [json.dumps(entry["body"]) for entry in fake.log if entry["method"] == "POST"]
    assert bodies
    return [body for body in bodies if "background_options" in body or "customer-1" in body]


@pytest.mark.parametrize(
    "options", [LONG, {"completion_window": "soonest"}, {"continuation_id": "customer-1"}]
)
async def test_they_reach_a_provider_in_its_own_background_mode(bridge, fake, options):
    response = await background(bridge, "own-text", background_options=options)
    assert response["status"] == "completed"
    assert [body.get("background_options") for body in fake.requests("gpt-text")] == [options]
    assert "background_options" not in response


@pytest.mark.parametrize("window", ["soonest", "2h", "8h"])
@pytest.mark.parametrize("model", ["native-text", "chat-text", "claude-text"])
async def test_a_response_that_the_bridge_runs_is_there_before_the_window_ends(
    bridge, fake, model, window
):
    options = {**LONG, "completion_window": window}
    assert (await background(bridge, model, background_options=options))["status"] == "completed"
    assert leaks(fake) == []


async def test_another_provider_that_takes_over_does_not_see_them(bridge, fake):
    response = await background(bridge, "own-err500", background_options=LONG)
    assert response["status"] == "completed"
    (body,) = fake.requests("m-text")
    assert "background_options" not in body


async def test_without_background_the_soonest_is_what_is_done(bridge, fake):
    for stream in (False, True):
        options = {**LONG, "completion_window": "soonest"}
        body = {"model": "own-text", "input": "hi", "background_options": options}
        url = bridge.url + "/v1/responses"
        async with bridge.session.post(url, json={**body, "stream": stream}) as got:
            assert got.status == 200
            assert '"completed"' in await got.text()
    assert leaks(fake) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"background_options": {"completion_window": "tomorrow"}, "background": True},
        {"background_options": LONG, "background": True, "stream": True},
        {"background_options": LONG},
        {"background_options": LONG, "stream": True},
    ],
)
async def test_what_cannot_be_is_refused_with_its_place(bridge, fake, fields):
    status, body = await bridge.post("/v1/responses", model="own-text", input="hi", **fields)
    assert status == 400
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", WINDOW)
    assert fake.log == []


@pytest.mark.parametrize("options", [LONG, {"completion_window": "tomorrow"}, "anything"])
async def test_on_a_socket_they_are_ignored(bridge, fake, options):
    client = await bridge.connect()
    events = await client.turn(model="own-text", input="hi", background_options=options)
    assert events[-1]["type"] == "response.completed"
    assert leaks(fake) == []
