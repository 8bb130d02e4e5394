"""References to items over every way in, with a real server."""

import json

import pytest
from support.redis_servers import Node, valkey_binary
from support.scripted_upstream import Scripted, answer, completed, done_item, message, opening

HI = {"type": "message", "role": "user", "content": "hi"}
NOT_FOUND = "Item with id 'msg_none' not found."


def wire(text, item_id):
    return [*opening(), *message(text, item_id=item_id), completed(done_item(text, item_id))]


@pytest.fixture
async def asked(serve):
    upstream = Scripted(wire("one", "msg_own"), answer("two"))
    return await serve(upstream), upstream


def seen(upstream):
    return json.dumps(upstream.requests[-1].input())


async def test_a_socket_finds_the_items_of_its_own_turns_stored_or_not(asked):
    bridge, upstream = asked
    client = await bridge.connect()
    await client.turn(input="hi", store=False)
    events = await client.turn(input=[HI, {"id": "msg_own"}], store=False)
    assert events[-1]["type"] == "response.completed"
    assert "one" in seen(upstream)
    other = await bridge.connect()
    [error] = await other.turn(input=[HI, {"type": "item_reference", "id": "msg_own"}])
    assert error["error"]["message"] == "Item with id 'msg_own' not found."
    assert error["error"]["param"] == "input"


async def test_a_stored_item_is_found_over_http_and_listed_in_its_place(asked):
    bridge, upstream = asked
    await bridge.post("/v1/responses", model="m", input="hi")
    status, second = await bridge.post("/v1/responses", model="m", input=[HI, {"id": "msg_own"}])
    assert (status, "one" in seen(upstream)) == (200, True)
    _, listed = await bridge.get(f"/v1/responses/{second['id']}/input_items?order=asc")
    assert [item["role"] for item in listed["data"]] == ["user", "assistant"]
    status, unknown = await bridge.post("/v1/responses", model="m", input=[{"id": "msg_none"}])
    assert (status, unknown["error"]["message"]) == (400, NOT_FOUND)


async def test_an_item_goes_into_a_conversation_by_its_id(asked):
    bridge, _ = asked
    await bridge.post("/v1/responses", model="m", input="hi")
    status, body = await bridge.post("/v1/conversations", items=[{"id": "msg_own"}])
    assert status == 200
    _, listed = await bridge.get(f"/v1/conversations/{body['id']}/items")
    assert [item["role"] for item in listed["data"]] == ["assistant"]
    status, unknown = await bridge.post("/v1/conversations", items=[{"id": "msg_none"}])
    assert (status, unknown["error"]["param"]) == (400, "items")
    assert unknown["error"]["message"] == NOT_FOUND


async def test_an_id_that_is_no_text_is_refused(asked):
    status, body = await asked[0].post("/v1/responses", model="m", input=[{"id": 7}])
    assert (status, body["error"]["param"]) == (400, "input")


async def test_an_item_is_counted_by_its_id(asked):
    bridge, _ = asked
    path = "/v1/responses/input_tokens"
    await bridge.post("/v1/responses", model="m", input="hi")
    _, alone = await bridge.post(path, model="m", input=[HI])
    status, both = await bridge.post(path, model="m", input=[HI, {"id": "msg_own"}])
    assert status == 200
    assert both["input_tokens"] > alone["input_tokens"]
    status, unknown = await bridge.post(path, model="m", input=[{"id": "msg_none"}])
    assert (status, unknown["error"]["message"]) == (400, NOT_FOUND)


async def test_an_item_is_compacted_by_its_id(asked):
    bridge, upstream = asked
    path = "/v1/responses/compact"
    await bridge.post("/v1/responses", model="m", input="hi")
    status, _ = await bridge.post(path, model="m", input=[HI, {"id": "msg_own"}])
    assert (status, "one" in seen(upstream)) == (200, True)
    status, unknown = await bridge.post(path, model="m", input=[{"id": "msg_none"}])
    assert (status, unknown["error"]["message"]) == (400, NOT_FOUND)


@pytest.fixture(scope="module")
def node():
    with Node(valkey_binary()) as one:
        yield one


@pytest.mark.parametrize("named", [True, False], ids=["of-the-bridge", "of-the-provider"])
async def test_an_item_of_another_key_is_not_found_on_any_server_nor_way(serve, node, named):
    """Nor is it told apart from one that does not exist, and the provider is not asked."""
    config = {"auth": {"keys_env": ["KEYS"]}, "store": {"url": node.url}}
    script = answer("secret") if named else wire("secret", "msg_own")
    upstreams = Scripted(script), Scripted(script)
    one, other = [await serve(each, config, {"KEYS": "key-a,key-b"}) for each in upstreams]
    _, first = await one.json("POST", "/v1/responses", "key-a", model="m", input="hi")
    [item] = first["output"]
    _, kept = await one.json("POST", "/v1/conversations", "key-a", items=[HI])
    _, listed = await one.json("GET", f"/v1/conversations/{kept['id']}/items", "key-a")
    _, inputs = await one.json("GET", f"/v1/responses/{first['id']}/input_items", "key-a")
    own = {item["id"]: None, inputs["data"][0]["id"]: None, listed["data"][0]["id"]: kept["id"]}
    for server, upstream in zip((one, other), upstreams, strict=True):
        asked = len(upstream.requests)
        for name in own:
            refused = await refusals(server, "key-b", {"type": "item_reference", "id": name})
            assert set(refused) == {f"Item with id '{name}' not found."}
        assert len(upstream.requests) == asked
    for name, conversation in own.items():  # of a conversation: for a turn of it
        asked = {"model": "m", "input": [{"id": name}], "conversation": conversation}
        status, _ = await other.json("POST", "/v1/responses", "key-a", **asked)
        assert status == 200
    assert [len(request.input()) for request in upstreams[1].requests] == [1, 1, 2]
    [found] = [name for name, conversation in own.items() if conversation]
    status, body = await one.json(
        "POST", "/v1/responses", "key-a", model="m", input=[{"id": found}]
    )
    assert (status, body["error"]["message"]) == (400, f"Item with id '{found}' not found.")


async def refusals(server, key, reference):
    """What each way to name an item says."""
    ways = (
        ("/v1/responses", {"model": "m", "input": [HI, reference]}),
        ("/v1/responses", {"model": "m", "input": [HI, reference], "background": True}),
        ("/v1/responses/input_tokens", {"model": "m", "input": [HI, reference]}),
        ("/v1/responses/compact", {"model": "m", "input": [HI, reference]}),
        ("/v1/conversations", {"items": [reference]}),
    )
    said = []
    for path, body in ways:
        status, refused = await server.json("POST", path, key, **body)
        assert status == 400
        said.append(refused["error"]["message"])
    client = await server.connect(headers={"Authorization": f"Bearer {key}"})
    [error] = await client.turn(input=[HI, reference])
    return [*said, error["error"]["message"]]
