"""A create that is sent again finds its response: on every transport, on every server."""

import asyncio
import json

import aiohttp
import pytest
from support.fake_clock import let_others_run
from support.hang import HANG_SECONDS
from support.redis_servers import Node, valkey_binary
from support.scripted_upstream import Scripted, answer, completed, done_item, message, opening
from support.tcp_proxy import ReservedPort

from ws_bridge.clock import Clock
from ws_bridge.errors import UpstreamError

KEY = "canary-key-1"
BODY = {"model": "m", "input": "hi"}
TERMINALS = ("response.completed", "response.failed", "response.incomplete", "error")


@pytest.fixture(scope="module")
def node():
    with Node(valkey_binary()) as one:
        yield one


@pytest.fixture(params=["memory", "redis", "elsewhere"])
def servers(request, serve, node):
    """The server that gets a create, and the one that gets it again."""
    node.wipe()

    async def start(upstream, **sections):
        url = "memory://" if request.param == "memory" else node.url
        config = {"store": {"url": url}, "auth": {"keys_env": ["KEYS"]}, **sections}
        parts = {"environ": {"KEYS": "key-a,key-b"}}
        parts["clock"] = Clock(monotonic=asyncio.get_running_loop().time)
        here = await serve(upstream, config, **parts)
        if request.param != "elsewhere":
            return here, here
        return here, await serve(upstream, config, **parts)

    return start


def head(key=KEY, client="key-a"):
    return {"Authorization": f"Bearer {client}", **({"Idempotency-Key": key} if key else {})}


async def post(bridge, key=KEY, client="key-a", **fields):
    url = bridge.url + "/v1/responses"
    body = BODY | fields
    async with bridge.session.post(url, json=body, headers=head(key, client)) as got:
        return got.status, await got.json()


async def stream(bridge, key=KEY, **fields):
    """The lines of an answer as server-sent events, as they come."""
    url = bridge.url + "/v1/responses"
    body = BODY | {"stream": True} | fields
    async with bridge.session.post(url, json=body, headers=head(key)) as got:
        assert got.status == 200, await got.text()
        async for line in got.content:
            if line.startswith(b"data: "):
                yield line[6:].rstrip(b"\n")


async def connect(bridge):
    return await bridge.connect(headers=head(key=None))


async def texts(client, *kinds):
    """The frames up to one of these types, as they came."""
    found = []
    while True:
        found.append(await client.ws.receive_str(timeout=HANG_SECONDS))
        if json.loads(found[-1])["type"] in kinds:
            return [text.encode() for text in found]


def gated(gate, *deltas):
    steps = message(*(deltas or "ab"))
    return [*opening(), *steps[:3], gate, *steps[3:], completed(done_item("ab"))]


async def until(condition):
    async with asyncio.timeout(HANG_SECONDS):
        while not condition():  # noqa: ASYNC110 - nobody here could set an event
            await asyncio.sleep(0.001)


def followed(bridge):
    return bridge.bridge._quotas.followers


@pytest.mark.catalogue("C11")
@pytest.mark.parametrize("again", ["plain", "stream", "background", "socket"])
@pytest.mark.parametrize("first", ["plain", "stream", "socket"])
async def test_a_create_that_was_answered_is_found_by_every_transport(servers, first, again):
    upstream = Scripted(answer("Hi"))
    here, there = await servers(upstream)
    seen = await asked(here, first)
    found = await asked(there, again)
    if again == "background":  # it is another create: what it answers is another response
        assert found["error"]["code"] == "idempotency_key_reused"
    elif {first, again} <= {"stream", "socket"}:
        assert found == seen
    else:
        assert end_of(found) == end_of(seen)
    assert len(upstream.requests) == 1


async def asked(bridge, transport):
    """All that a create is answered with."""
    if transport == "plain":
        return (await post(bridge))[1]
    if transport == "background":
        return (await post(bridge, background=True))[1]
    if transport == "stream":
        return [line async for line in stream(bridge) if line != b"[DONE]"]
    client = await connect(bridge)
    await client.create(input="hi", idempotency_key=KEY)
    return await texts(client, *TERMINALS)


def end_of(answered):
    return json.loads(answered[-1])["response"] if isinstance(answered, list) else answered


@pytest.mark.catalogue("C11")
async def test_a_running_one_is_followed_from_its_first_event(servers):
    """By socket, SSE and plain, with the same numbers and bytes; one provider is asked once."""
    gate = asyncio.Event()
    upstream = Scripted(gated(gate))
    here, there = await servers(upstream)
    first = await connect(here)
    await first.create(input="hi", idempotency_key=KEY)
    seen = await texts(first, "response.output_text.delta")
    again = await connect(there)
    await again.create(input="hi", idempotency_key=KEY)
    found = await texts(again, "response.output_text.delta")
    assert found == seen
    waiting = asyncio.create_task(post(there))
    following = stream(there)
    lines = [await anext(following) for _ in seen]
    assert lines == seen
    await until(lambda: followed(there)() == 3)
    assert not waiting.done()
    gate.set()
    seen += await texts(first, *TERMINALS)
    found += await texts(again, *TERMINALS)
    lines += [line async for line in following]
    assert found == seen
    assert lines == [*seen, b"[DONE]"]
    assert await waiting == (200, end_of(seen))
    assert len(upstream.requests) == 1
    # Its chain goes on, on the new connection and its lane.
    turn = await again.turn(input="more", previous_response_id=end_of(seen)["id"])
    assert turn[-1]["response"]["previous_response_id"] == end_of(seen)["id"]
    assert next(item["content"] for item in upstream.requests[1].input()) == "hi"


@pytest.mark.catalogue("C11")
async def test_of_many_at_once_one_is_made_and_the_others_follow_it(servers):
    gate = asyncio.Event()
    upstream = Scripted([gate, *answer("Hi")])
    pair = await servers(upstream)
    asking = [asyncio.create_task(post(pair[number % 2])) for number in range(20)]
    await until(lambda: upstream.requests)
    await let_others_run()
    gate.set()
    answers = await asyncio.gather(*asking)
    assert {status for status, _ in answers} == {200}
    assert all(body == answers[0][1] for _, body in answers)
    assert len(upstream.requests) == 1


@pytest.mark.catalogue("C11")
async def test_a_client_that_is_cut_off_before_created_finds_its_response(servers):
    """The provider has been asked, and has not answered: nothing of the response was published."""
    gate = asyncio.Event()
    upstream = Scripted([gate, *answer("Hi")])
    here, there = await servers(upstream)
    cut = await connect(here)
    await cut.create(input="hi", idempotency_key=KEY)
    await until(lambda: upstream.requests)
    cut.ws._response.connection.transport.abort()
    again = await connect(there)
    await again.create(input="hi", idempotency_key=KEY)
    await let_others_run()
    gate.set()
    found = await texts(again, *TERMINALS)
    assert [json.loads(text)["sequence_number"] for text in found] == list(range(len(found)))
    assert end_of(found)["status"] == "completed"
    assert len(upstream.requests) == 1


async def test_a_background_create_is_found_as_the_stored_object(servers):
    gate = asyncio.Event()
    upstream = Scripted([gate, *answer("Hi")])
    here, there = await servers(upstream)
    status, queued = await post(here, background=True)
    assert (status, queued["status"]) == (200, "queued")
    assert await post(there, background=True) == (200, queued)
    following = [line async for line in released(gate, stream(there, background=True))]
    status, ended = await post(there, background=True)
    assert (ended["id"], ended["status"]) == (queued["id"], "completed")
    assert end_of(following[:-1]) == ended
    assert len(upstream.requests) == 1


async def released(gate, lines):
    async for line in lines:
        gate.set()
        yield line


async def test_a_key_of_another_create_is_a_422_that_says_so(servers):
    upstream = Scripted(answer("Hi"))
    here, there = await servers(upstream)
    _, made = await post(here)
    refusal = {
        "message": "This idempotency key was used for another create.",
        "type": "invalid_request_error",
        "param": "idempotency_key",
        "code": "idempotency_key_reused",
    }
    assert await post(there, input="other") == (422, {"error": refusal})
    client = await connect(there)
    error = (await client.turn(input="other", idempotency_key=KEY))[-1]
    assert (error["status"], error["error"]["code"]) == (422, "idempotency_key_reused")
    # Events carry the lane of their create: on another one they would not find the client.
    error = (await client.turn(input="hi", idempotency_key=KEY, stream_id="main"))[-1]
    assert (error["status"], error["stream_id"]) == (422, "main")
    assert (await client.turn(input="hi", idempotency_key=KEY))[-1]["response"] == made
    assert len(upstream.requests) == 1


async def test_a_named_lane_finds_its_response_and_http_reads_it(servers):
    upstream = Scripted(answer("Hi"))
    here, there = await servers(upstream)
    first = await connect(here)
    seen = await first.turn(input="hi", idempotency_key=KEY, stream_id="main")
    again = await connect(there)
    assert await again.turn(input="hi", idempotency_key=KEY, stream_id="main") == seen
    assert (await post(there))[1] == seen[-1]["response"]
    assert len(upstream.requests) == 1


async def test_every_client_has_its_own_keys(servers):
    upstream = Scripted(answer("Hi"))
    here, there = await servers(upstream)
    ours = (await post(here))[1]["id"]
    theirs = (await post(there, client="key-b"))[1]["id"]
    assert ours != theirs
    assert (await post(there))[1]["id"] == ours
    assert len(upstream.requests) == 2


async def test_a_create_that_its_provider_refuses_leaves_the_key_free(servers):
    """Whoever waits for its response asks then; the one that was refused gets the plain error."""
    gate = asyncio.Event()
    refusal = UpstreamError("Slow down.", status=429, retry_after=3)
    upstream = Scripted([gate, refusal], answer("Hi"))
    here, there = await servers(upstream)
    first = asyncio.create_task(post(here))
    await until(lambda: upstream.requests)
    second = asyncio.create_task(post(there))
    await let_others_run()
    gate.set()
    assert (await first)[0] == 429
    status, made = await second
    assert (status, made["status"]) == (200, "completed")
    assert await post(here) == (200, made)
    assert len(upstream.requests) == 2


async def test_a_create_that_the_bridge_refuses_leaves_the_key_free(servers):
    upstream = Scripted(answer("Hi"))
    here, there = await servers(upstream)
    assert (await post(here, model="unknown"))[0] == 404
    assert (await post(here, previous_response_id="resp_x"))[0] == 400
    assert (await post(there))[0] == 200


@pytest.mark.parametrize("streams", [True, False])
async def test_a_response_that_failed_is_found_and_not_made_again(servers, streams):
    broken = [*opening(), *message("par")[:3], UpstreamError("The connection broke.")]
    upstream = Scripted(broken, answer("Hi"))
    here, there = await servers(upstream)
    _, failed = await post(here)
    assert failed["status"] == "failed"
    if streams:
        lines = [line async for line in stream(there)]
        assert json.loads(lines[-2])["response"] == failed
    else:
        assert await post(there) == (200, failed)
    assert len(upstream.requests) == 1


async def test_a_deleted_response_leaves_its_key_free(servers):
    upstream = Scripted(answer("Hi"))
    here, there = await servers(upstream)
    _, made = await post(here)
    url = f"{there.url}/v1/responses/{made['id']}"
    async with there.session.delete(url, headers=head()) as got:
        assert got.status == 200
    asking = asyncio.create_task(post(there))
    await turn_clock(asking)
    status, other = await asking
    assert (status, other["id"] != made["id"]) == (200, True)


async def turn_clock(asking):
    """Let time pass until the answer is there: for so long the record might still come."""
    while not asking.done():
        asyncio.get_running_loop().turn(0.2)
        await asyncio.wait([asking], timeout=0.001)


async def test_a_cancel_ends_a_response_that_was_found(servers):
    upstream = Scripted(gated(asyncio.Event()), answer("Hi"))
    here, there = await servers(upstream)
    first = await connect(here)
    await first.create(input="hi", idempotency_key=KEY)
    await first.until("response.output_text.delta")
    again = await connect(there)
    await again.create(input="hi", idempotency_key=KEY)
    await again.until("response.output_text.delta")
    await again.ws.send_json({"type": "response.interrupt"})  # for those that it has begun
    await again.ws.send_json({"type": "response.cancel"})
    for client in (first, again):
        assert (await client.until(*TERMINALS))[-1]["response"]["status"] == "cancelled"
    assert (await again.turn(input="next"))[0]["type"] == "response.created"


async def test_a_drain_ends_what_follows_and_says_that_it_drains(servers):
    upstream = Scripted(gated(asyncio.Event()))
    here, there = await servers(upstream)
    first = await connect(here)
    await first.create(input="hi", idempotency_key=KEY)
    await first.until("response.output_text.delta")
    again = await connect(there)
    await again.create(input="hi", idempotency_key=KEY)
    await again.until("response.output_text.delta")
    waiting = asyncio.create_task(post(there))
    await until(lambda: followed(there)() == 2)
    there.bridge.force.clear()
    draining = asyncio.create_task(there.bridge.app.shutdown())
    error = (await again.until("error"))[-1]["error"]
    assert error["code"] == "server_draining"
    assert (await waiting)[0] == 503
    assert (await post(there))[1]["error"]["code"] == "server_draining"
    there.bridge.force.set()
    await draining


async def test_what_is_followed_counts_and_not_what_its_own_create_runs(servers):
    """A key that has reached its limits still finds its responses."""
    upstream = Scripted(gated(asyncio.Event()))
    limits = {"running_per_key": 1, "creates_per_minute": 1, "followers_per_key": 1}
    here, there = await servers(upstream, limits=limits)
    first = await connect(here)
    await first.create(input="hi", idempotency_key=KEY)
    await first.until("response.output_text.delta")
    again = await connect(there)
    await again.create(input="hi", idempotency_key=KEY)
    await again.until("response.output_text.delta")
    assert (await post(there))[0] == 429


async def test_what_is_found_cannot_be_steered(servers):
    upstream = Scripted(gated(asyncio.Event()))
    here, _ = await servers(upstream)
    client = await connect(here)
    await client.create(input="hi", idempotency_key=KEY)
    seen = await client.until("response.output_text.delta")
    steer = {"type": "response.steer", "input": "more"}
    steer["previous_response_id"] = seen[0]["response"]["id"]
    await client.ws.send_json(steer)
    failed = (await client.until("response.steer.failed"))[-1]
    assert failed["error"]["code"] == "steering_not_supported"


async def test_the_key_reaches_no_provider_and_is_not_readable_in_the_store(servers, node):
    upstream = Scripted(answer("Hi"))
    here, _ = await servers(upstream)
    for background in (False, True):
        await post(here, key=f"{KEY}-{background}", background=background)
    client = await connect(here)
    await client.turn(input="hi", idempotency_key=f"{KEY}-socket", stream_id="lane")
    for request in upstream.requests:
        assert "canary" not in repr(request)
    for kept in node.cli("KEYS", "*"):
        value = node.cli("DUMP", kept)
        assert "canary" not in kept
        assert "canary" not in repr(value)


@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        ([("Idempotency-Key", "")], {}),
        ([("Idempotency-Key", "k" * 256)], {}),
        ([("Idempotency-Key", "schlüssel")], {}),
        ([("Idempotency-Key", "one"), ("Idempotency-Key", "two")], {}),
        ([("Idempotency-Key", "one")], {"idempotency_key": "two"}),
        ([], {"idempotency_key": 5}),
        ([], {"idempotency_key": ""}),
        ([("Idempotency-Key", "one")], {"store": False}),
    ],
)
async def test_a_key_that_cannot_be_is_a_400_that_names_it(serve, headers, fields):
    upstream = Scripted(answer("Hi"))
    bridge = await serve(upstream)
    url = bridge.url + "/v1/responses"
    async with bridge.session.post(url, json=BODY | fields, headers=headers) as got:
        body = await got.json()
    assert (got.status, body["error"]["param"]) == (400, "idempotency_key")
    assert upstream.requests == []


async def test_a_key_in_the_body_is_that_of_the_header(serve):
    upstream = Scripted(answer("Hi"))
    bridge = await serve(upstream)
    _, made = await bridge.post("/v1/responses", **BODY, idempotency_key=KEY)
    headers = {"Idempotency-Key": KEY}
    async with aiohttp.ClientSession(headers=headers) as session:
        for fields in ({}, {"idempotency_key": KEY}):
            async with session.post(bridge.url + "/v1/responses", json=BODY | fields) as got:
                assert await got.json() == made
    assert len(upstream.requests) == 1


async def test_a_store_that_is_away_promises_nothing(serve):
    """Without a key the create would be made; with one it could be made twice."""
    upstream = Scripted(answer("Hi"))
    port = ReservedPort()
    bridge = await serve(upstream, {"store": {"url": f"redis://127.0.0.1:{port.number}"}})
    async with asyncio.timeout(HANG_SECONDS):
        headers = {"Idempotency-Key": KEY}
        async with bridge.session.post(
            bridge.url + "/v1/responses", json=BODY, headers=headers
        ) as got:
            body = await got.json()
    assert (got.status, body["error"]["code"]) == (503, "store_unavailable")
    assert got.headers["retry-after"]
    client = await bridge.connect()
    error = (await client.turn(input="hi", idempotency_key=KEY))[-1]
    assert (error["status"], error["error"]["code"]) == (503, "store_unavailable")
    assert upstream.requests == []
    port.release()
