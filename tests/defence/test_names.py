"""What a client puts in the place of a wildcard: a model's name, or a model that nobody knows."""

import json

import pytest
from support.scripted_upstream import Scripted, answer

MODELS = [
    {"name": "gem-*", "model": "gemini/*", "fallbacks": ["other-*"]},
    {"name": "other-*", "model": "openai/*"},
]
EVIL = ("gem-../../../../v1/files", "gem-a?key=mine&", "gem-a#", "gem-*", "gem-a b", "gem-a/")
WAYS = {
    "http": ("/v1/responses", {"input": "hi"}),
    "a stream": ("/v1/responses", {"input": "hi", "stream": True}),
    "background": ("/v1/responses", {"input": "hi", "background": True}),
    "tokens": ("/v1/responses/input_tokens", {"input": "hi"}),
    "compact": ("/v1/responses/compact", {"input": "hi"}),
}


@pytest.fixture
def upstream():
    return Scripted(answer("x"))


@pytest.fixture
async def bridge(serve, upstream):
    return await serve(upstream, {"models": MODELS})


@pytest.mark.parametrize("model", EVIL)
@pytest.mark.parametrize(("path", "body"), WAYS.values(), ids=WAYS)
@pytest.mark.catalogue("A10")
async def test_it_is_404_on_every_route_and_no_provider_is_asked(
    bridge, upstream, model, path, body
):
    status, told = await bridge.post(path, model=model, **body)
    assert (status, told["error"]["code"]) == (404, "model_not_found")
    assert upstream.requests == []


@pytest.mark.parametrize("model", EVIL)
@pytest.mark.catalogue("A10")
async def test_it_is_an_error_on_a_socket_named_in_the_frame_or_in_the_address(
    bridge, upstream, model
):
    client = await bridge.connect()
    named = await client.turn(model=model, input="hi")
    other = await bridge.session.ws_connect(bridge.url + "/v1/responses", params={"model": model})
    await other.send_json({"type": "response.create", "input": "hi"})
    for told in (named[-1], json.loads(await other.receive_str(timeout=60))):
        assert (told["status"], told["error"]["code"]) == (404, "model_not_found")
    assert upstream.requests == []


async def test_a_plain_name_is_asked_for(bridge, upstream):
    status, _ = await bridge.post("/v1/responses", model="gem-2.5/flash:x@1", input="hi")
    assert (status, upstream.requests[0].target.model) == (200, "gemini/2.5/flash:x@1")
