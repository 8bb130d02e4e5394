"""Create, poll, resume, cancel, delete and list over HTTP, with a scripted upstream."""

import asyncio
import gc
import json

import pytest
from support.hang import HANG_SECONDS
from support.scripted_upstream import (
    Scripted,
    answer,
    completed,
    done_item,
    message,
    opening,
    tool_call,
)

from ws_bridge.errors import UpstreamError
from ws_bridge.stream import Stream


def parse_sse(text):
    """The events of an SSE body, and whether it ended with [DONE]."""
    blocks = text.split("\n\n")
    events = []
    for block in blocks:
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if not lines or lines == ["data: [DONE]"]:
            continue
        name, data = lines
        event = json.loads(data.removeprefix("data: "))
        assert name == "event: " + event["type"]
        events.append(event)
    return events, text.endswith("data: [DONE]\n\n")


async def sse(bridge, path):
    async with bridge.session.get(bridge.url + path) as got:
        assert got.status == 200
        return parse_sse(await got.text())


async def test_a_plain_create_is_the_finished_response(serve):
    bridge = await serve(Scripted(answer("Hi")))
    status, response = await bridge.post("/v1/responses", model="m", input="hi")
    assert (status, response["status"]) == (200, "completed")
    assert await bridge.get(f"/v1/responses/{response['id']}") == (200, response)


async def test_a_streamed_create_is_sse_whatever_it_accepts(serve):
    bridge = await serve(Scripted(answer("Hi")))
    body = {"model": "m", "input": "hi", "stream": True}
    headers = {"Accept": "application/json"}
    url = bridge.url + "/v1/responses"
    async with bridge.session.post(url, json=body, headers=headers) as got:
        assert got.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert got.headers["Cache-Control"] == "no-cache, no-store"
        raw = await got.read()
    assert b"\r" not in raw
    events, done = parse_sse(raw.decode())
    assert done
    assert events[-1]["response"]["status"] == "completed"


async def test_an_error_before_created_is_plain_http_for_both_kinds(serve):
    refused = UpstreamError("Rate limit reached.", status=429, retry_after=3)
    bridge = await serve(Scripted([refused]))
    for stream in (False, True):
        body = {"model": "m", "input": "hi", "stream": stream}
        async with bridge.session.post(bridge.url + "/v1/responses", json=body) as got:
            assert got.status == 429
            assert got.headers["retry-after"] == "3"
            assert got.headers["x-request-id"].startswith("req_")
            assert (await got.json())["error"].keys() == {"message", "type", "param", "code"}


async def test_a_failure_after_created_is_a_failed_response(serve):
    broken = UpstreamError("The connection broke.")
    bridge = await serve(Scripted([*opening(), *message("par")[:3], broken]))
    status, response = await bridge.post("/v1/responses", model="m", input="hi")
    assert (status, response["status"]) == (200, "failed")
    assert response["error"] == {"code": "server_error", "message": "The connection broke."}


async def test_a_poller_beside_a_running_response_sees_growing_prefixes(serve):
    """And at the end the identical object that the socket got."""
    gates = [asyncio.Event() for _ in range(3)]
    steps = message("one ", "two ", "three")
    script = [*opening(), *steps[:3], gates[0], steps[3], gates[1], steps[4], gates[2], *steps[5:]]
    bridge = await serve(Scripted([*script, completed(done_item("one two three"))]))
    client = await bridge.connect()
    await client.create(input="hi")
    path = f"/v1/responses/{(await client.event())['response']['id']}"
    seen = [""]
    for gate, sent in zip(gates, ("one ", "one two ", "one two three"), strict=True):
        await client.until("response.output_text.delta")
        while seen[-1] != sent:
            _, snapshot = await bridge.get(path)
            text = snapshot["output"][0]["content"][0]["text"] if snapshot["output"] else ""
            assert text.startswith(seen[-1])
            seen.append(text)
        gate.set()
    terminal = (await client.until("response.completed"))[-1]
    assert await bridge.get(path) == (200, terminal["response"])


@pytest.mark.parametrize("cut", range(-1, 10))
async def test_replay_from_every_number_is_the_rest(serve, cut):
    bridge = await serve(Scripted(answer("Hel", "lo")))
    client = await bridge.connect()
    events = await client.turn(input="hi", stream_id="main")
    response_id = events[0]["response"]["id"]
    path = f"/v1/responses/{response_id}?stream=true&starting_after={cut}"
    assert await sse(bridge, path) == (events[cut + 1 :], True)


async def test_a_follower_replays_and_then_follows_live(serve):
    gate = asyncio.Event()
    steps = message("a", "b")
    script = [*opening(), *steps[:3], gate, *steps[3:], completed(done_item("ab"))]
    bridge = await serve(Scripted(script))
    client = await bridge.connect()
    await client.create(input="hi")
    seen = await client.until("response.output_text.delta")
    path = f"/v1/responses/{seen[0]['response']['id']}?stream=true&starting_after=1"
    async with bridge.session.get(bridge.url + path) as got:
        first = await got.content.readline()
        assert first == b"event: response.output_item.added\n"
        gate.set()
        rest = (first + await got.content.read()).decode()
    seen += await client.until("response.completed")
    assert parse_sse(rest) == (seen[2:], True)


@pytest.mark.parametrize("after", [8, 9, 2**53])
async def test_a_follower_from_beyond_the_end_gets_the_end_of_the_stream(serve, after):
    """Not cut off, as from a response that is gone: this one has ended."""
    gate = asyncio.Event()
    bridge = await serve(Scripted([*opening(), *message("ab"), gate, completed(done_item("ab"))]))
    client = await bridge.connect()
    await client.create(input="hi")
    seen = await client.until("response.output_item.done")
    path = f"/v1/responses/{seen[0]['response']['id']}?stream=true&starting_after={after}"
    async with bridge.session.get(bridge.url + path) as got:
        gate.set()
        seen += await client.until("response.completed")
        assert seen[-1]["sequence_number"] == 8
        assert parse_sse((await got.content.read()).decode()) == ([], True)


@pytest.mark.catalogue("A4")
async def test_a_replay_of_what_was_deleted_since_it_was_found_is_404_and_never_empty(serve):
    bridge = await serve(Scripted(answer("Hi")))
    _, response = await bridge.post("/v1/responses", model="m", input="hi")
    path = f"/v1/responses/{response['id']}"
    store = bridge.bridge._store
    read = store.read

    async def read_later(response_id, owner, *, after):
        assert (await bridge.delete(path))[0] == 200
        async for batch in read(response_id, owner, after=after):
            yield batch

    store.read = read_later
    status, body = await bridge.get(path + "?stream=true")
    assert (status, body["error"]["type"]) == (404, "invalid_request_error")


@pytest.mark.parametrize("stream", [True, False, None])
async def test_what_was_refused_is_freed_at_once(serve, stream):
    """Over HTTP and on the socket (None): no error keeps what led to it."""
    upstream = Scripted(*[[UpstreamError("No.", status=401)]] * 2)
    bridge = await serve(upstream)
    client = await bridge.connect()
    await refused(bridge, client, stream)  # the first of all leaves its imports behind
    gc.collect()
    gc.disable()
    try:
        known = {id(one) for one in gc.get_objects() if isinstance(one, Stream)}
        await refused(bridge, client, stream)
        upstream.requests.clear()
        await until(lambda: {id(one) for one in gc.get_objects() if type(one) is Stream} <= known)
    finally:
        gc.enable()


async def refused(bridge, client, stream):
    if stream is None:
        assert (await client.turn(input="hi"))[-1]["status"] == 401
    else:
        asked = await bridge.post("/v1/responses", model="m", input="hi", stream=stream)
        assert asked[0] == 401


async def until(is_true):
    async with asyncio.timeout(HANG_SECONDS):
        while not is_true():  # noqa: ASYNC110 - looks at the heap
            await asyncio.sleep(0.01)


async def test_background_answers_at_once_and_completes(serve):
    gate = asyncio.Event()
    bridge = await serve(Scripted([gate, *answer("done")]))
    status, queued = await bridge.post("/v1/responses", model="m", input="hi", background=True)
    assert (status, queued["status"], queued["background"]) == (200, "queued", True)
    path = f"/v1/responses/{queued['id']}"
    assert (await bridge.get(path))[1] == queued
    assert (await bridge.delete(path))[1]["error"]["message"] == (
        "Cannot delete an in-flight response."
    )
    gate.set()
    events, _ = await sse(bridge, path + "?stream=true")
    kinds = [event["type"] for event in events[:3]]
    assert kinds == ["response.created", "response.queued", "response.in_progress"]
    assert (await bridge.get(path))[1]["status"] == "completed"


async def test_background_needs_store_and_a_provider_that_may(serve):
    config = {"background": {"polling": ["anthropic"]}}
    bridge = await serve(Scripted(answer("x")), config)
    body = {"model": "m", "input": "hi", "background": True}
    for more in ({"store": False}, {}):
        status, error = await bridge.post("/v1/responses", **body, **more)
        assert (status, error["error"]["code"]) == (400, "unsupported_parameter")
        assert error["error"]["param"] == "background"
    ok, _ = await bridge.post("/v1/responses", **{**body, "model": "claude-x"})
    assert ok == 200


async def test_cancel_over_http_reaches_the_provider_and_the_socket(serve):
    upstream = Scripted([*opening(), *message("par")[:3], asyncio.Event()])
    bridge = await serve(upstream)
    client = await bridge.connect()
    await client.create(input="hi")
    path = f"/v1/responses/{(await client.event())['response']['id']}"
    status, response = await bridge.post(path + "/cancel")
    assert (upstream.closed, upstream.open_now) == (1, 0)
    assert (status, response["status"], response["output"]) == (200, "cancelled", [])
    assert (await client.until("response.failed"))[-1]["response"] == response
    assert await bridge.post(path + "/cancel") == (200, response)
    assert await bridge.get(path) == (200, response)


async def test_a_finished_response_cannot_be_cancelled(serve):
    bridge = await serve(Scripted(answer("x")))
    _, response = await bridge.post("/v1/responses", model="m", input="hi")
    status, error = await bridge.post(f"/v1/responses/{response['id']}/cancel")
    assert status == 400
    assert error["error"]["message"] == "Cannot cancel a completed response."


async def test_delete_forgets_and_cancels_what_runs(serve):
    upstream = Scripted([*opening(), asyncio.Event()])
    bridge = await serve(upstream)
    client = await bridge.connect()
    await client.create(input="hi")
    response_id = (await client.event())["response"]["id"]
    path = f"/v1/responses/{response_id}"
    expected = {"id": response_id, "object": "response", "deleted": True}
    assert await bridge.delete(path) == (200, expected)
    assert upstream.open_now == 0
    for method in (bridge.get, bridge.delete):
        assert (await method(path))[0] == 404


async def test_unknown_foreign_and_odd_ids_get_one_and_the_same_answer(serve):
    keys = {"auth": {"keys_env": ["KEYS"]}}
    bridge = await serve(Scripted(answer("x")), keys, {"KEYS": "key-a,key-b"})
    owner, other = ({"Authorization": f"Bearer {key}"} for key in ("key-a", "key-b"))
    url = bridge.url + "/v1/responses"
    async with bridge.session.post(url, json={"model": "m", "input": "x"}, headers=owner) as got:
        response_id = (await got.json())["id"]
    calls = [
        ("GET", ""),
        ("GET", "?stream=true"),
        ("DELETE", ""),
        ("POST", "/cancel"),
        ("GET", "/input_items"),
    ]
    for method, tail in calls:
        answers = set()
        for each in (response_id, "resp_" + "0" * 48, "..%2F..%2Fetc"):
            async with bridge.session.request(method, f"{url}/{each}{tail}", headers=other) as got:
                answers.add((got.status, (await got.text()).replace(each, "ID")))
        answers = {(status, text.replace("../../etc", "ID")) for status, text in answers}
        assert len(answers) == 1
        assert answers.pop()[0] == 404
    body = {"model": "m", "input": "x", "previous_response_id": response_id}
    async with bridge.session.post(url, json=body, headers=other) as got:
        assert (await got.json())["error"]["code"] == "previous_response_not_found"
    async with bridge.session.post(url, json=body, headers=owner) as got:
        assert got.status == 200


async def test_input_items_list_the_chain_page_by_page(serve):
    bridge = await serve(Scripted(tool_call(call_id="c1"), answer("sunny")))
    _, first = await bridge.post("/v1/responses", model="m", input="weather?")
    output = {"type": "function_call_output", "call_id": "c1", "output": "22"}
    _, second = await bridge.post(
        "/v1/responses", model="m", input=[output], previous_response_id=first["id"]
    )
    path = f"/v1/responses/{second['id']}/input_items"
    _, everything = await bridge.get(path + "?order=asc")
    kinds = [item["type"] for item in everything["data"]]
    assert kinds == ["message", "function_call", "function_call_output"]
    assert everything["data"][0]["content"] == [{"type": "input_text", "text": "weather?"}]
    _, newest = await bridge.get(path + "?limit=1")
    assert (newest["data"][0]["type"], newest["has_more"]) == ("function_call_output", True)
    assert newest["first_id"] == newest["last_id"] == newest["data"][0]["id"]
    _, rest = await bridge.get(path + f"?after={newest['last_id']}")
    kinds = [item["type"] for item in rest["data"]]
    assert (kinds, rest["has_more"]) == (["function_call", "message"], False)
    for bad in ("limit=0", "limit=101", "limit=x", "order=up", "after=nothing"):
        assert (await bridge.get(f"{path}?{bad}"))[0] == 400


async def test_a_client_that_leaves_lets_a_stored_response_run_and_ends_another(serve):
    gate = asyncio.Event()
    script = [*opening(), gate, *message("x"), completed(done_item("x"))]
    upstream = Scripted(script)
    bridge = await serve(upstream)
    ids = {}
    for store in (True, False):
        body = {"model": "m", "input": "hi", "stream": True, "store": store}
        async with bridge.session.post(bridge.url + "/v1/responses", json=body) as got:
            await got.content.readline()
            ids[store] = json.loads((await got.content.readline())[6:])["response"]["id"]
            got.close()
    while upstream.open_now > 1:  # noqa: ASYNC110 - the unstored one's end is what is waited for
        await asyncio.sleep(0.001)
    gate.set()
    await sse(bridge, f"/v1/responses/{ids[True]}?stream=true")
    assert (await bridge.get(f"/v1/responses/{ids[True]}"))[1]["status"] == "completed"


async def test_on_disconnect_cancel_ends_stored_responses_too(serve):
    upstream = Scripted([*opening(), asyncio.Event()])
    bridge = await serve(upstream, {"server": {"on_disconnect": "cancel"}})
    client = await bridge.connect()
    await client.create(input="hi")
    path = f"/v1/responses/{(await client.event())['response']['id']}"
    await client.ws.close()
    events, _ = await sse(bridge, path + "?stream=true")
    assert events[-1]["response"]["status"] == "cancelled"


BAD_BODIES = {
    "not JSON": (b"{", 400, "invalid_request_error"),
    "empty": (b"", 400, "invalid_request_error"),
    "array": (b"[]", 400, "invalid_request_error"),
    "no model": (b'{"input":"x"}', 400, "missing_required_parameter"),
    "no input": (b'{"model":"m"}', 400, "missing_required_parameter"),
    "unknown model": (b'{"model":"gpt-none","input":"x"}', 404, "model_not_found"),
    "wrong type": (b'{"model":"m","input":"x","tools":1}', 400, "invalid_request_error"),
    "conversation": (
        b'{"model":"m","input":"x","conversation":"c"}',
        404,
        "conversation_not_found",
    ),
    "lone surrogate": (b'{"model":"m","input":"\\ud800"}', 400, "invalid_request_error"),
}


@pytest.mark.parametrize(("body", "status", "code"), BAD_BODIES.values(), ids=BAD_BODIES.keys())
async def test_a_bad_body_is_one_clear_error(serve, body, status, code):
    bridge = await serve(Scripted(answer("x")))
    async with bridge.session.post(bridge.url + "/v1/responses", data=body) as got:
        assert (got.status, (await got.json())["error"]["code"]) == (status, code)


async def test_bad_cursors_and_flags_are_400(serve):
    bridge = await serve(Scripted(answer("x")))
    _, response = await bridge.post("/v1/responses", model="m", input="hi")
    path = f"/v1/responses/{response['id']}"
    for query in (
        "stream=perhaps",
        "stream=true&starting_after=abc",
        "stream=1&starting_after=1e3",
    ):
        assert (await bridge.get(f"{path}?{query}"))[0] == 400
    assert await sse(bridge, f"{path}?stream=true&starting_after={2**53}") == ([], True)


async def test_a_body_over_the_limit_is_refused_as_json(serve):
    bridge = await serve(Scripted(answer("x")), {"server": {"max_message_mib": 1}})
    body = json.dumps({"model": "m", "input": "x" * 2**21})
    async with bridge.session.post(bridge.url + "/v1/responses", data=body) as got:
        assert got.status == 413
        assert (await got.json())["error"]["type"] == "invalid_request_error"


async def test_a_plain_get_on_the_socket_path_asks_for_an_upgrade(serve):
    bridge = await serve(Scripted(answer("x")))
    async with bridge.session.get(bridge.url + "/v1/responses") as got:
        assert (got.status, got.headers["upgrade"]) == (426, "websocket")
