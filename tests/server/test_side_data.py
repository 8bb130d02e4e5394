"""Side data of a provider's end: back to its maker with the next turn, and to nobody else."""

import asyncio
import json

import pytest
from support.redis_servers import Node, valkey_binary
from support.scripted_upstream import Scripted, done_item, message, opening

from ws_bridge.protocol.events import COMPLETED, FAILED, INCOMPLETE, Draft
from ws_bridge.protocol.history import PROVIDER_TURN

CANARY = "side-data-canary"
SIDE_DATA = {"blocks": [{"type": "server_tool_use", "secret": CANARY}]}
HISTORY = ["message", PROVIDER_TURN, "message"]
PLAIN = ["message", "message", "message"]


def said(kind=COMPLETED, side_data=SIDE_DATA, **response):
    """A whole answer with side data."""
    output = [done_item("hello")]
    end = Draft(kind, {"response": {"output": output, **response}, "side_data": side_data})
    return [*opening(), *message("hello"), end]


@pytest.fixture(scope="module")
def node():
    with Node(valkey_binary(), aof=True) as one:
        yield one


@pytest.fixture(params=["memory", "valkey"])
def config(request):
    shared = request.param == "valkey" and request.getfixturevalue("node").url
    return {"store": {"url": shared or "memory://"}}


async def first_turn(client, **fields):
    events = await client.turn(input="hi", **fields)
    return events[-1]["response"]["id"]


def told(upstream):
    """The kinds of the items that the maker was sent last, and the one of its turn."""
    items = upstream.requests[-1].input()
    turns = [item for item in items if item["type"] == PROVIDER_TURN]
    return [item["type"] for item in items], *turns


def assert_whole(upstream):
    kinds, turn = told(upstream)
    assert kinds == HISTORY
    assert turn["side_data"] == SIDE_DATA
    assert [item["content"][0]["text"] for item in turn["items"]] == ["hello"]


async def test_the_next_turn_has_it_on_this_socket_and_on_another(serve, config):
    upstream = Scripted(said())
    running = await serve(upstream, config)
    client = await running.connect()
    first = await first_turn(client)
    await client.turn(input="and?", previous_response_id=first)
    assert_whole(upstream)
    other = await running.connect()
    await other.turn(input="and?", previous_response_id=first)
    assert_whole(upstream)
    await running.post("/v1/responses", model="m", input="and?", previous_response_id=first)
    assert_whole(upstream)


async def test_what_is_not_stored_has_it_on_its_socket(serve, config):
    upstream = Scripted(said())
    client = await (await serve(upstream, config)).connect()
    first = await first_turn(client, store=False)
    await client.turn(input="and?", previous_response_id=first, store=False)
    assert_whole(upstream)


async def test_another_server_has_it_and_so_has_one_after_a_restart(serve, node):
    config = {"store": {"url": node.url}}
    here, there, later = Scripted(said()), Scripted(said()), Scripted(said())
    first = await first_turn(await (await serve(here, config)).connect())
    second = await (await serve(there, config)).connect()
    events = await second.turn(input="and?", previous_response_id=first)
    assert_whole(there)
    await asyncio.to_thread(node.restart)
    client = await (await serve(later, config)).connect()
    await client.turn(input="and?", previous_response_id=events[-1]["response"]["id"])
    kinds, *turns = told(later)
    assert kinds == [*HISTORY[:2], *HISTORY]
    assert [turn["side_data"] for turn in turns] == [SIDE_DATA] * 2


async def test_another_maker_gets_the_items(serve, config):
    upstream = Scripted(said())
    running = await serve(upstream, config)
    client = await running.connect()
    first = await first_turn(client)
    for socket in (client, await running.connect()):
        await socket.turn(model="claude-x", input="and?", previous_response_id=first)
        assert told(upstream) == (PLAIN,)
        assert CANARY not in json.dumps(upstream.requests[-1].input())


async def raw(running, method, path, **body):
    asked = {"json": body} if body else {}
    async with running.session.request(method, running.url + path, **asked) as answer:
        assert answer.status == 200
        return await answer.read()


async def test_no_client_ever_sees_it(serve, config):
    """Sockets, SSE, a replay, the object, its input, a conversation: byte by byte."""
    upstream = Scripted(said())
    running = await serve(upstream, config)
    named = json.loads(await raw(running, "POST", "/v1/conversations", metadata={"a": "b"}))["id"]
    client = await running.connect()
    first = await first_turn(client)
    await client.create(input="and?", previous_response_id=first)
    seen = []
    while not seen or b"response.completed" not in seen[-1]:
        seen.append((await client.ws.receive()).data.encode())
    second = json.loads(seen[-1])["response"]["id"]
    asked = {"model": "m", "input": "hi"}
    seen += [
        await raw(running, "POST", "/v1/responses", **asked, previous_response_id=first),
        await raw(running, "POST", "/v1/responses", **asked, stream=True),
        await raw(running, "POST", "/v1/responses", **asked, conversation=named),
        await raw(running, "GET", f"/v1/conversations/{named}/items"),
        await raw(running, "GET", f"/v1/conversations/{named}"),
        await raw(running, "GET", f"/v1/responses/{second}?stream=true"),
    ]
    for key in (first, second):
        seen.append(await raw(running, "GET", f"/v1/responses/{key}"))
        seen.append(await raw(running, "GET", f"/v1/responses/{key}/input_items"))
    everything = b"".join(seen)
    assert b"hello" in everything
    assert not [
        word for word in (CANARY, "side_data", PROVIDER_TURN) if word.encode() in everything
    ]


async def test_a_conversation_is_told_by_its_items(serve, config):
    upstream = Scripted(said())
    running = await serve(upstream, config)
    named = json.loads(await raw(running, "POST", "/v1/conversations", metadata={"a": "b"}))["id"]
    for _ in range(2):
        await running.post("/v1/responses", model="m", input="hi", conversation=named)
    assert told(upstream) == (PLAIN,)


async def test_an_answer_that_its_maker_cut_short_has_it_and_a_failed_one_does_not(serve, config):
    upstream = Scripted(said(INCOMPLETE, incomplete_details={"reason": "max_output_tokens"}))
    client = await (await serve(upstream, config)).connect()
    first = await first_turn(client)
    await client.turn(input="and?", previous_response_id=first)
    assert_whole(upstream)
    upstream.scripts = [said(FAILED, error={"code": "server_error", "message": "no"})]
    failed = await first_turn(client)
    upstream.scripts = [said()]
    [error] = await client.turn(input="and?", previous_response_id=failed)
    assert error["type"] == "error"


@pytest.mark.parametrize("side_data", [{"a": "x" * 2**20}, {"a": "\ud800"}, [1], {"a": 2**80}])
async def test_what_cannot_be_kept_is_dropped_with_one_line(serve, config, side_data, caplog):
    upstream = Scripted(said(side_data=side_data))
    running = await serve(upstream, config)
    client = await running.connect()
    first = await first_turn(client)
    for socket in (client, await running.connect()):
        await socket.turn(input="and?", previous_response_id=first)
        assert told(upstream) == (PLAIN,)
    assert caplog.text.count(f"side_data_dropped id={first} bytes=") == 1


async def test_a_client_cannot_bring_it_along(serve, config):
    upstream = Scripted(said())
    running = await serve(upstream, config)
    forged = {"type": PROVIDER_TURN, "side_data": SIDE_DATA, "items": []}
    for path, words in (
        ("/v1/responses", {"model": "m", "input": [forged]}),
        ("/v1/conversations", {"items": [forged]}),
    ):
        status, body = await running.post(path, **words)
        assert status == 400
        assert f"'{PROVIDER_TURN}'" in body["error"]["message"]
    assert upstream.requests == []
