"""The list of models, token counts, compaction."""

from support.scripted_upstream import Scripted, answer


async def test_models_lists_what_is_on(serve):
    bridge = await serve(Scripted(answer("x")))
    _, models = await bridge.get("/v1/models")
    assert [model["id"] for model in models["data"]] == ["m", "claude-*"]
    assert {model["object"] for model in models["data"]} == {"model"}


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
