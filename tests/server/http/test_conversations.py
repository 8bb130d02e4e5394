"""`/v1/conversations` and creates within one, over real connections."""

import asyncio
import json

import pytest
from support.event_checker import check_events
from support.native_service import NativeService
from support.scripted_upstream import Scripted, answer, completed, done_item, message, opening
from upstreams import FakeProviders
from upstreams.asking import KEY
from upstreams.sockets import FakeSockets

from ws_bridge.clock import Clock

ITEM = {"type": "message", "role": "user", "content": "before"}
UNKNOWN = "conv_" + "0" * 48


async def begin(bridge, *items, **more):
    """A new conversation's id."""
    status, body = await bridge.post("/v1/conversations", items=list(items), **more)
    assert status == 200
    return body["id"]


async def items_of(bridge, conversation_id, query="order=asc&limit=100"):
    status, body = await bridge.get(f"/v1/conversations/{conversation_id}/items?{query}")
    assert status == 200
    return body["data"]


def texts(items):
    return [text_of(item) for item in items]


def text_of(item):
    content = item["content"]
    return content if isinstance(content, str) else content[0]["text"]


def numbered(count):
    return [{"role": "user", "content": str(number)} for number in range(count)]


# The conversation itself


async def test_a_conversation_is_created_read_updated_and_deleted(serve):
    bridge = await serve(Scripted(answer("x")))
    status, body = await bridge.post("/v1/conversations", metadata={"topic": "herons"})
    path = f"/v1/conversations/{body['id']}"
    assert status == 200
    assert body.keys() == {"id", "object", "created_at", "metadata"}
    assert (body["object"], body["metadata"]) == ("conversation", {"topic": "herons"})
    assert isinstance(body["created_at"], int)
    assert await bridge.get(path) == (200, body)
    other = body | {"metadata": {"topic": "ospreys", "a": "b"}}
    assert await bridge.post(path, metadata=other["metadata"]) == (200, other)
    assert await bridge.get(path) == (200, other)
    reply = {"id": body["id"], "object": "conversation.deleted", "deleted": True}
    assert await bridge.delete(path) == (200, reply)
    assert (await bridge.get(path))[0] == 404


async def test_a_conversation_may_begin_with_nothing_at_all(serve):
    bridge = await serve(Scripted(answer("x")))
    for data in (None, b"{}", b'{"items":null,"metadata":null}'):
        async with bridge.session.post(bridge.url + "/v1/conversations", data=data) as got:
            body = await got.json()
            assert (got.status, body["metadata"]) == (200, {})
        assert await items_of(bridge, body["id"]) == []


async def test_items_are_added_read_and_taken_out(serve):
    bridge = await serve(Scripted(answer("x")))
    conversation_id = await begin(bridge, ITEM)
    path = f"/v1/conversations/{conversation_id}/items"
    own = {"id": "msg_own", "role": "assistant", "content": [{"type": "output_text", "text": "b"}]}
    status, added = await bridge.post(path, items=[{"role": "user", "content": "a"}, own])
    assert (status, added["object"], added["has_more"]) == (200, "list", False)
    assert texts(added["data"]) == ["a", "b"]
    assert [item["type"] for item in added["data"]] == ["message", "message"]
    assert (added["first_id"], added["last_id"]) == (added["data"][0]["id"], "msg_own")
    listed = await items_of(bridge, conversation_id)
    assert texts(listed) == ["before", "a", "b"]
    assert listed[1:] == added["data"]
    for item in listed:
        assert await bridge.get(f"{path}/{item['id']}") == (200, item)
    status, left = await bridge.delete(f"{path}/{listed[1]['id']}")
    assert (status, left) == await bridge.get(f"/v1/conversations/{conversation_id}")
    assert texts(await items_of(bridge, conversation_id)) == ["before", "b"]
    for method in (bridge.get, bridge.delete):
        status, error = await method(f"{path}/{listed[1]['id']}")
        assert (status, error["error"]["code"]) == (404, "item_not_found")


@pytest.mark.parametrize("item_id", ["a%2Fb%2Bc==", "with%20space", "x" * 300, "%C3%A9"])
async def test_an_items_id_may_be_as_odd_as_providers_make_them(serve, item_id):
    bridge = await serve(Scripted(answer("x")))
    plain = item_id.replace("%2F", "/").replace("%2B", "+").replace("%20", " ")
    plain = plain.replace("%C3%A9", "é")
    conversation_id = await begin(bridge, {**ITEM, "id": plain}, ITEM)
    path = f"/v1/conversations/{conversation_id}/items"
    assert (await items_of(bridge, conversation_id))[0]["id"] == plain
    assert (await bridge.get(f"{path}/{item_id}"))[1]["id"] == plain
    assert len(await items_of(bridge, conversation_id, f"order=asc&after={item_id}")) == 1
    assert (await bridge.delete(f"{path}/{item_id}"))[0] == 200
    assert len(await items_of(bridge, conversation_id)) == 1


async def test_items_are_listed_page_by_page_the_newest_first(serve):
    bridge = await serve(Scripted(answer("x")))
    conversation_id = await begin(bridge)
    path = f"/v1/conversations/{conversation_id}/items"
    _, empty = await bridge.get(path)
    assert empty == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }
    for _ in range(3):
        await bridge.post(path, items=numbered(20))
    _, newest = await bridge.get(path)
    assert texts(newest["data"]) == [str(number) for number in reversed(range(20))]
    assert newest["has_more"] is True
    for order in ("asc", "desc"):
        pages, after = [], ""
        while True:
            _, page = await bridge.get(f"{path}?limit=25&order={order}&after={after}")
            assert page["first_id"] == page["data"][0]["id"]
            assert page["last_id"] == page["data"][-1]["id"]
            pages.append(page["data"])
            after = page["last_id"]
            if not page["has_more"]:
                break
        assert [len(page) for page in pages] == [25, 25, 10]
        everything = await items_of(bridge, conversation_id, f"order={order}&limit=100")
        assert [item for page in pages for item in page] == everything
    for bad in ("limit=0", "limit=101", "limit=x", "order=up", "after=nothing"):
        status, error = await bridge.get(f"{path}?{bad}")
        assert (status, error["error"]["param"]) == (400, bad.partition("=")[0])


async def test_every_item_has_an_id_of_its_own_whatever_ids_come_in(serve):
    """Else pages would lead back to where they have been, or leave items out."""
    upstream = Scripted(answer("1"))  # each of whose messages has the same id
    bridge = await serve(upstream)
    same = [{**ITEM, "id": "msg_1", "content": text} for text in ("a", "b")]
    conversation_id = await begin(bridge, *same)
    path = f"/v1/conversations/{conversation_id}/items"
    status, added = await bridge.post(path, items=[{**ITEM, "id": "msg_1", "content": "c"}])
    for text in ("d", "e"):
        await over_post(bridge, input=text, conversation=conversation_id)
    after, seen = "", []
    while True:
        _, page = await bridge.get(f"{path}?limit=1&order=asc&after={after}")
        seen += page["data"]
        after = page["last_id"]
        if not page["has_more"]:
            break
    assert texts(seen) == ["a", "b", "c", "d", "1", "e", "1"]
    assert (status, seen[2]) == (200, added["data"][0])
    assert len({item["id"] for item in seen}) == len(seen)
    assert [item.get("id") for item in upstream.requests[1].input()][:3] == ["msg_1"] * 3
    for item in seen:
        assert await bridge.get(f"{path}/{item['id']}") == (200, item)


BAD = {
    "items no list": ("", {"items": "hi"}, "items"),
    "an item no object": ("", {"items": ["hi"]}, "items"),
    "too many items": ("", {"items": numbered(21)}, "items"),
    "a message without role": ("", {"items": [{"content": "x"}]}, "items"),
    "metadata no object": ("", {"metadata": ["a"]}, "metadata"),
    "metadata no text": ("", {"metadata": {"a": 1}}, "metadata"),
    "update without metadata": ("/ID", {"name": "x"}, "metadata"),
    "update with odd metadata": ("/ID", {"metadata": 5}, "metadata"),
    "add without items": ("/ID/items", {"x": 1}, "items"),
    "add nothing": ("/ID/items", {"items": []}, "items"),
    "add an odd item": ("/ID/items", {"items": [{"type": 5}]}, "items"),
}


@pytest.mark.parametrize(("tail", "body", "param"), BAD.values(), ids=BAD.keys())
async def test_a_bad_body_is_one_clear_error_and_changes_nothing(serve, tail, body, param):
    bridge = await serve(Scripted(answer("x")))
    conversation_id = await begin(bridge, ITEM, metadata={"a": "b"})
    before = await bridge.get(f"/v1/conversations/{conversation_id}")
    status, error = await bridge.post(
        f"/v1/conversations{tail.replace('ID', conversation_id)}", **body
    )
    assert status == 400
    assert error["error"].keys() == {"message", "type", "param", "code"}
    assert (error["error"]["type"], error["error"]["param"]) == ("invalid_request_error", param)
    assert await bridge.get(f"/v1/conversations/{conversation_id}") == before
    assert len(await items_of(bridge, conversation_id)) == 1


@pytest.mark.parametrize("data", [b"{", b"[]", b"null", b'"x"', b"\xff", b'{"items":["\\ud800"]}'])
async def test_a_body_that_is_no_json_object_is_refused(serve, data):
    bridge = await serve(Scripted(answer("x")))
    conversation_id = await begin(bridge)
    for tail in ("", f"/{conversation_id}", f"/{conversation_id}/items"):
        async with bridge.session.post(f"{bridge.url}/v1/conversations{tail}", data=data) as got:
            assert (got.status, (await got.json())["error"]["type"]) == (
                400,
                "invalid_request_error",
            )


KEYS = {"auth": {"keys_env": ["KEYS"]}}


def keyed(bridge, key):
    """The bridge as the holder of a key sees it."""

    async def ask(method, path, **body):
        headers = {"Authorization": f"Bearer {key}"}
        url = bridge.url + path
        async with bridge.session.request(method, url, json=body or None, headers=headers) as got:
            return got.status, await got.text()

    return ask


@pytest.mark.catalogue("A6")
@pytest.mark.parametrize(
    ("limits", "most"),
    [({"conversation_items": 4}, 4), ({"conversation_mib": 1}, 10)],
    ids=["items", "mib"],
)
async def test_beyond_its_bounds_an_addition_and_a_response_are_a_clear_400(serve, limits, most):
    bridge = await serve(Scripted(answer("x")), {"limits": limits})
    _, one = await bridge.post("/v1/conversations")
    path = f"/v1/conversations/{one['id']}/items"
    item = {"role": "user", "content": "x" * 100_000}
    reply = [await bridge.post(path, items=[item]) for _ in range(most + 1)]
    assert [status for status, _ in reply] == [200] * most + [400]
    assert reply[-1][1]["error"]["code"] == "conversation_full"
    _, begun = await bridge.post("/v1/conversations", items=[item] * (most + 1))
    assert begun["error"]["code"] == "conversation_full"
    _, listed = await bridge.get(f"{path}?limit=100")
    assert len(listed["data"]) == most
    if "conversation_items" in limits:
        status, reply = await bridge.post(
            "/v1/responses", model="m", input="hi", conversation=one["id"]
        )
        assert (status, reply["error"]["code"]) == (400, "conversation_full")


@pytest.mark.catalogue("A6")
async def test_a_response_that_no_longer_fits_is_whole_and_logged_as_lost(serve, caplog):
    caplog.set_level("INFO")
    bridge = await serve(Scripted(answer("x")), {"limits": {"conversation_items": 1}})
    _, one = await bridge.post("/v1/conversations")
    status, response = await bridge.post(
        "/v1/responses", model="m", input="hi", conversation=one["id"]
    )
    assert (status, response["status"]) == (200, "completed")
    _, listed = await bridge.get(f"/v1/conversations/{one['id']}/items")
    assert listed["data"] == []
    assert f"conversation_lost id={one['id']} reason=conversation_full" in caplog.text


async def test_unknown_and_foreign_ones_get_one_and_the_same_answer(serve):
    bridge = await serve(Scripted(answer("x")), KEYS, {"KEYS": "key-a,key-b"})
    mine, other = keyed(bridge, "key-a"), keyed(bridge, "key-b")
    _, text = await mine("POST", "/v1/conversations", items=[{**ITEM, "id": "msg_1"}])
    conversation_id = json.loads(text)["id"]
    before = await mine("GET", f"/v1/conversations/{conversation_id}/items")
    one = "/v1/conversations/ID"
    calls = [
        ("GET", one, {}),
        ("POST", one, {"metadata": {"a": "b"}}),
        ("DELETE", one, {}),
        ("GET", f"{one}/items", {}),
        ("POST", f"{one}/items", {"items": [ITEM]}),
        ("GET", f"{one}/items/msg_1", {}),
        ("DELETE", f"{one}/items/msg_1", {}),
        ("POST", "/v1/responses", {"model": "m", "input": "x", "conversation": "ID"}),
        ("POST", "/v1/responses", {"model": "m", "input": "x", "conversation": {"id": "ID"}}),
    ]
    for method, path, body in calls:
        answers = set()
        for each in (conversation_id, UNKNOWN):
            asked = json.loads(json.dumps(body).replace("ID", each))
            status, text = await other(method, path.replace("ID", each), **asked)
            answers.add((status, text.replace(each, "ID")))
        assert len(answers) == 1
        [(status, text)] = answers
        error = json.loads(text)["error"]
        assert (status, error["code"]) == (404, "conversation_not_found")
        assert error.keys() == {"message", "type", "param", "code"}
    assert await mine("GET", f"/v1/conversations/{conversation_id}/items") == before


async def test_without_a_key_every_request_is_refused(serve):
    bridge = await serve(Scripted(answer("x")), KEYS, {"KEYS": "key-a"})
    for method, tail in (("POST", ""), ("GET", "/x"), ("GET", "/x/items"), ("DELETE", "/x")):
        async with bridge.session.request(method, f"{bridge.url}/v1/conversations{tail}") as got:
            assert got.status == 401


async def test_an_unused_conversation_is_forgotten(serve, clock):
    bridge = await serve(
        Scripted(answer("x")), {"store": {"conversation_seconds": 100}}, clock=clock
    )
    conversation_id = await begin(bridge, ITEM)
    path = f"/v1/conversations/{conversation_id}"
    for _ in range(3):
        clock.ahead += 99
        assert (await bridge.get(path))[0] == 200
    clock.ahead += 101
    assert (await bridge.get(path))[0] == 404


@pytest.fixture
def clock():
    return Ahead()


class Ahead:
    """The real clock, and time that a test adds to the wall's."""

    def __init__(self):
        self.ahead = 0.0
        self._real = Clock()
        self.monotonic, self.sleep = self._real.monotonic, self._real.sleep

    def wall(self):
        return self._real.wall() + self.ahead


# Creates within one


async def over_socket(bridge, **fields):
    client = await bridge.connect()
    events = await client.turn(**fields)
    await client.ws.close()
    return events[-1]["response"]


async def over_post(bridge, **fields):
    status, response = await bridge.post("/v1/responses", **{"model": "m"} | fields)
    assert status == 200
    return response


async def over_sse(bridge, **fields):
    body = {"model": "m", "stream": True} | fields
    async with bridge.session.post(bridge.url + "/v1/responses", json=body) as got:
        *_, last, done = (await got.text()).strip().split("\n\n")
    assert done == "data: [DONE]"
    return json.loads(last.partition("data: ")[2])["response"]


async def in_background(bridge, **fields):
    response = await over_post(bridge, background=True, **fields)
    path = f"/v1/responses/{response['id']}"
    async with bridge.session.get(f"{bridge.url}{path}?stream=true") as got:
        await got.read()
    return (await bridge.get(path))[1]


WAYS = {"socket": over_socket, "post": over_post, "sse": over_sse, "background": in_background}
each_way = pytest.mark.parametrize("ask", WAYS.values(), ids=WAYS.keys())


@each_way
@pytest.mark.parametrize("named", ["ID", {"id": "ID"}])
async def test_two_turns_share_a_history(serve, ask, named):
    upstream = Scripted(answer("1"), answer("2"))
    bridge = await serve(upstream)
    conversation_id = await begin(bridge, ITEM)
    named = conversation_id if named == "ID" else {"id": conversation_id}
    for text in "ab":
        response = await ask(bridge, input=text, conversation=named)
        assert response["status"] == "completed"
        assert response["conversation"] == {"id": conversation_id}
        assert response["previous_response_id"] is None
    assert texts(upstream.requests[1].input()) == ["before", "a", "1", "b"]
    listed = await items_of(bridge, conversation_id)
    assert texts(listed) == ["before", "a", "1", "b", "2"]
    assert [item["role"] for item in listed] == ["user", "user", "assistant", "user", "assistant"]
    _, body = await bridge.get(f"/v1/responses/{response['id']}/input_items")
    assert listed[3] == body["data"][0]


@each_way
async def test_a_model_is_shown_items_as_they_came(serve, ask):
    """No id of ours: a provider does not know it, and some refuse what does not look like one."""
    upstream = Scripted(answer("x"))
    bridge = await serve(upstream)
    output = {"type": "function_call_output", "call_id": "c", "output": "1"}
    called = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    conversation_id = await begin(bridge, ITEM, called, output)
    await ask(bridge, input="a", conversation=conversation_id)
    await ask(bridge, input="b", conversation=conversation_id)
    asked = {"type": "message", "role": "user"}
    shown = upstream.requests[1].input()
    assert [item for item in shown if item.get("role") != "assistant"] == [
        *(ITEM, called, output),
        *({**asked, "content": text} for text in "ab"),
    ]


async def test_every_event_with_an_object_names_the_conversation(serve):
    bridge = await serve(Scripted(answer("x")))
    conversation_id = await begin(bridge)
    events = await (await bridge.connect()).turn(input="a", conversation=conversation_id)
    assert check_events(events) == []
    objects = [event["response"] for event in events if "response" in event]
    assert [one["conversation"] for one in objects] == [{"id": conversation_id}] * 3
    assert "conversation" not in (await over_post(bridge, input="a"))


async def test_the_items_are_stored_when_the_client_gets_the_end_not_before(serve):
    gates = [asyncio.Event(), asyncio.Event()]
    script = [*opening(), *message("x"), gates[0], completed(done_item("x"))]
    bridge = await serve(Scripted(script))
    conversation_id = await begin(bridge)
    client = await bridge.connect()
    await client.create(input="a", conversation=conversation_id)
    await client.until("response.output_item.done")
    assert await items_of(bridge, conversation_id) == []
    gates[0].set()
    await client.until("response.completed")
    assert texts(await items_of(bridge, conversation_id)) == ["a", "x"]


async def test_a_conversation_deleted_during_a_turn_stays_deleted_and_the_turn_ends_well(serve):
    gate = asyncio.Event()
    script = [*opening(), gate, *message("x"), completed(done_item("x"))]
    bridge = await serve(Scripted(script))
    conversation_id = await begin(bridge, ITEM)
    client = await bridge.connect()
    await client.create(input="a", conversation=conversation_id)
    await client.until("response.in_progress")
    assert (await bridge.delete(f"/v1/conversations/{conversation_id}"))[0] == 200
    gate.set()
    assert (await client.until("response.completed"))[-1]["response"]["status"] == "completed"
    [error] = await client.turn(input="b", conversation=conversation_id)
    assert (error["status"], error["error"]["code"]) == (404, "conversation_not_found")


async def test_an_unstored_response_is_in_its_conversation_and_nowhere_else(serve):
    bridge = await serve(Scripted(answer("1"), answer("2")))
    conversation_id = await begin(bridge)
    response = await over_post(bridge, input="a", conversation=conversation_id, store=False)
    assert (await bridge.get(f"/v1/responses/{response['id']}"))[0] == 404
    assert texts(await items_of(bridge, conversation_id)) == ["a", "1"]


@pytest.mark.parametrize("store", [True, False])
async def test_a_chain_on_the_socket_goes_on_from_the_whole_conversation(serve, store):
    """And leaves nothing in it: only what names a conversation is added to it."""
    upstream = Scripted(answer("1"), answer("2"))
    bridge = await serve(upstream)
    conversation_id = await begin(bridge, ITEM)
    client = await bridge.connect()
    first = await client.turn(input="a", conversation=conversation_id, store=store)
    parent = first[-1]["response"]["id"]
    await client.turn(input="b", previous_response_id=parent, store=store)
    assert texts(upstream.requests[1].input()) == ["before", "a", "1", "b"]
    assert texts(await items_of(bridge, conversation_id)) == ["before", "a", "1"]


async def test_so_does_one_over_http_and_its_input_items_are_each_one(serve):
    upstream = Scripted(answer("1"), answer("2"), answer("3"))
    bridge = await serve(upstream)
    conversation_id = await begin(bridge, ITEM)
    for text in "ab":
        parent = await over_post(bridge, input=text, conversation=conversation_id)
    last = await over_post(bridge, input="c", previous_response_id=parent["id"])
    assert texts(upstream.requests[2].input()) == ["before", "a", "1", "b", "2", "c"]
    _, body = await bridge.get(f"/v1/responses/{last['id']}/input_items?order=asc")
    assert texts(body["data"]) == ["before", "a", "1", "b", "2", "c"]
    asked = [item["id"] for item in body["data"] if item["role"] == "user"]
    assert len(set(asked)) == 4


async def test_a_conversation_and_a_previous_response_exclude_each_other(serve):
    bridge = await serve(Scripted(answer("x")))
    conversation_id = await begin(bridge)
    parent = (await over_post(bridge, input="a"))["id"]
    fields = {"input": "b", "conversation": conversation_id, "previous_response_id": parent}
    status, error = await bridge.post("/v1/responses", model="m", **fields)
    assert (status, error["error"]["param"]) == (400, "conversation")
    [frame] = await (await bridge.connect()).turn(**fields)
    assert (frame["status"], frame["error"]["param"]) == (400, "conversation")
    assert await items_of(bridge, conversation_id) == []


@pytest.mark.parametrize("named", [5, {}, {"id": None}, {"id": 5}, []])
async def test_what_names_no_conversation_is_refused_on_every_way(serve, named):
    bridge = await serve(Scripted(answer("x")))
    status, error = await bridge.post("/v1/responses", model="m", input="a", conversation=named)
    assert (status, error["error"]["param"]) == (400, "conversation")
    [frame] = await (await bridge.connect()).turn(input="a", conversation=named)
    assert (frame["status"], frame["error"]["param"]) == (400, "conversation")


async def test_an_unknown_one_is_an_error_on_its_lane_and_the_socket_lives_on(serve):
    bridge = await serve(Scripted(answer("x")))
    client = await bridge.connect()
    [error] = await client.turn(input="a", conversation=UNKNOWN, stream_id="main")
    assert (error["status"], error["stream_id"]) == (404, "main")
    assert error["error"]["code"] == "conversation_not_found"
    assert (await client.turn(input="a", stream_id="main"))[-1]["type"] == "response.completed"


async def test_what_runs_in_a_conversation_is_not_steered(serve):
    gate = asyncio.Event()
    script = [*opening(), *message("x"), gate, completed(done_item("x"))]
    upstream = Scripted(script)
    bridge = await serve(upstream)
    conversation_id = await begin(bridge)
    client = await bridge.connect()
    await client.create(input="a", conversation=conversation_id)
    response_id = (await client.event())["response"]["id"]
    await client.ws.send_json(
        {"type": "response.steer", "previous_response_id": response_id, "input": "b"}
    )
    failed = (await client.until("response.steer.failed"))[-1]
    assert failed["error"]["code"] == "steering_not_supported"
    gate.set()
    await client.until("response.completed")
    assert texts(await items_of(bridge, conversation_id)) == ["a", "x"]
    assert len(upstream.requests) == 1


async def test_a_client_that_leaves_finds_the_answer_in_the_conversation(serve):
    gate = asyncio.Event()
    bridge = await serve(Scripted([*opening(), gate, *message("x"), completed(done_item("x"))]))
    conversation_id = await begin(bridge)
    client = await bridge.connect()
    await client.create(input="a", conversation=conversation_id)
    response_id = (await client.event())["response"]["id"]
    await client.ws.close()
    gate.set()
    async with bridge.session.get(f"{bridge.url}/v1/responses/{response_id}?stream=true") as got:
        await got.read()
    assert texts(await items_of(bridge, conversation_id)) == ["a", "x"]


async def test_items_that_were_taken_out_are_not_shown(serve):
    upstream = Scripted(answer("1"), answer("2"))
    bridge = await serve(upstream)
    conversation_id = await begin(bridge, ITEM)
    await over_post(bridge, input="a", conversation=conversation_id)
    listed = await items_of(bridge, conversation_id)
    for item in listed[:2]:
        await bridge.delete(f"/v1/conversations/{conversation_id}/items/{item['id']}")
    await over_post(bridge, input="b", conversation=conversation_id)
    assert texts(upstream.requests[1].input()) == ["1", "b"]


# With providers


@pytest.fixture(scope="module")
def fake():
    with FakeProviders() as running:
        yield running


@pytest.fixture
async def provided(serve, fake):
    fake.reset()
    families = {
        "native": ("openai/gpt-*", "/v1"),
        "chat": ("groq/m-*", "/v1"),
        "claude": ("anthropic/claude-*", ""),
    }
    models = [
        {"name": f"{name}-*", "model": model, "api_base": fake.base_url + path, "api_key_env": "K"}
        for name, (model, path) in families.items()
    ]
    running = await serve(None, {"models": models}, {"K": "sk-operators-own"})
    while (await running.get("/readyz"))[0] != 200:  # noqa: ASYNC110 - asks a server
        await asyncio.sleep(0.05)
    return running


@each_way
async def test_models_of_several_providers_talk_in_one_conversation(provided, ask):
    conversation_id = await begin(provided, {"role": "user", "content": "word heron"})
    models = ("native-echo", "claude-echo", "chat-echo")
    birds = ("osprey", "egret", "ibis")
    for model, word in zip(models, birds, strict=True):
        response = await ask(
            provided, model=model, input=f"word {word}", conversation=conversation_id
        )
        assert response["status"] == "completed", response
    last = json.dumps(response["output"])
    assert all(word in last for word in ("heron", *birds))
    assert len(await items_of(provided, conversation_id)) == 7


async def test_a_providers_own_events_name_the_conversation_too(serve):
    """Where lifecycle events are passed on as they came, but for what is the bridge's."""
    with FakeSockets() as fake:
        entry = {"name": "m", "model": "openai/gpt-echo", "api_base": fake.base_url + "/v1"}
        config = {"models": [entry | {"api_key_env": "K"}]}
        bridge = await serve(NativeService(), config, {"K": KEY})
        conversation_id = await begin(bridge, {"role": "user", "content": "heron"})
        client = await bridge.connect()
        for text in ("a", "b"):
            events = await client.turn(input=text, conversation=conversation_id)
        shown = json.loads(text_of(events[-1]["response"]["output"][0]))
        assert [item["role"] for item in shown] == ["user", "user", "assistant", "user"]
        objects = [event["response"] for event in events if "response" in event]
        assert [one.get("conversation") for one in objects] == [{"id": conversation_id}] * 3
        path = f"/v1/responses/{objects[-1]['id']}"
        assert (await bridge.get(path))[1]["conversation"] == {"id": conversation_id}


async def test_what_only_its_maker_can_read_goes_back_to_its_maker_only(provided, fake):
    conversation_id = await begin(provided)
    await over_post(provided, model="claude-thinking", input="think", conversation=conversation_id)
    assert [item["type"] for item in await items_of(provided, conversation_id)] == [
        "message",
        "reasoning",
        "message",
    ]
    for model, knows in (("chat-echo", False), ("claude-echo", True)):
        await over_post(provided, model=model, input="on", conversation=conversation_id)
        assert ("EqQBsig" in json.dumps(fake.log[-1]["body"])) is knows


async def test_a_tool_loop_runs_within_a_conversation(provided):
    weather = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}}
    for family in ("native", "chat", "claude"):
        conversation_id = await begin(provided)
        fields = {"model": f"{family}-toolloop", "conversation": conversation_id}
        asked = await over_post(provided, input="weather?", tools=[weather], **fields)
        [call] = [item for item in asked["output"] if item["type"] == "function_call"]
        output = {"call_id": call["call_id"], "output": "raining herons"}
        reply = await over_post(
            provided, input=[{"type": "function_call_output", **output}], tools=[weather], **fields
        )
        assert "raining herons" in json.dumps(reply["output"])
