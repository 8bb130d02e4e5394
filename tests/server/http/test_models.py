"""The list of models, token counts, compaction."""

import pytest
from support.scripted_upstream import Scripted, answer


async def test_models_lists_what_is_on(serve):
    """Of a wildcard the names that are known; none, where none is."""
    upstream = Scripted(answer("x"))
    bridge = await serve(upstream)
    _, models = await bridge.get("/v1/models")
    assert [model["id"] for model in models["data"]] == ["m"]
    names = ("claude-a", "claude-b/c", "x", "claude-..", "claude-*")
    upstream.known = [f"anthropic/{name}" for name in names] + ["openai/claude-d"]
    _, models = await bridge.get("/v1/models")
    assert [model["id"] for model in models["data"]] == ["m", "claude-a", "claude-b/c"]
    assert {model["object"] for model in models["data"]} == {"model"}


@pytest.mark.parametrize("name", ["m", "claude-a", "claude-b/c"])
async def test_a_model_that_can_be_asked_for_is_retrieved(serve, name):
    bridge = await serve(Scripted(answer("x")))
    status, model = await bridge.get(f"/v1/models/{name}")
    assert (status, model["id"], model["object"]) == (200, name, "model")


@pytest.mark.parametrize("name", ["n", "off", "claude-*", "claude-", "claude-a*b", "*"])
async def test_a_model_that_cannot_be_asked_for_is_not_found(serve, name):
    """Neither is it listed, nor does a create reach a provider."""
    upstream = Scripted(answer("x"))
    bridge = await serve(upstream)
    status, body = await bridge.get(f"/v1/models/{name}")
    assert (status, body["error"]["code"]) == (404, "model_not_found")
    status, body = await bridge.post("/v1/responses", model=name, input="hi")
    assert (status, body["error"]["code"]) == (404, "model_not_found")
    assert upstream.requests == []


async def test_input_tokens_counts_the_whole_chain(serve):
    bridge = await serve(Scripted(answer("x")))
    _, first = await bridge.post("/v1/responses", model="m", input="hi")
    _, counted = await bridge.post(
        "/v1/responses/input_tokens", model="m", input="more", previous_response_id=first["id"]
    )
    assert counted == {"object": "response.input_tokens", "input_tokens": 3}


async def test_compaction_is_a_window_that_the_bridge_takes_back(serve):
    upstream = Scripted(answer("Ada likes tea."), answer("tea"))
    bridge = await serve(upstream)
    status, compacted = await bridge.post(
        "/v1/responses/compact", model="m", input=[{"role": "user", "content": "I am Ada"}]
    )
    assert (status, compacted["object"]) == (200, "response.compaction")
    assert isinstance(compacted["created_at"], int)
    assert compacted["usage"]["input_tokens_details"]["cached_tokens"] == 0
    [item] = compacted["output"]
    assert item["type"] == "compaction"
    client = await bridge.connect()
    await client.turn(input=[item, {"role": "user", "content": "what?"}])
    summary, question = upstream.requests[1].input()
    assert "Ada likes tea." in summary["content"]
    assert question["content"] == "what?"


async def test_compact_without_a_model_is_400(serve):
    bridge = await serve(Scripted(answer("x")))
    status, error = await bridge.post("/v1/responses/compact", input="x")
    assert (status, error["error"]["param"]) == (400, "model")
