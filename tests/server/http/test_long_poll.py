"""Polls that wait, over HTTP, on the server that runs the response and on another one."""

import asyncio

import pytest
from openai import AsyncOpenAI
from support.fake_clock import let_others_run
from support.hang import HANG_SECONDS
from support.redis_servers import Node, valkey_binary
from support.scripted_upstream import Scripted, answer, completed, done_item, message, opening

from ws_bridge.server.http.long_poll import MOST_SECONDS, NUMBER_HEADER


@pytest.fixture(scope="module")
def node():
    with Node(valkey_binary()) as one:
        yield one


@pytest.fixture(params=["memory", "redis", "elsewhere"])
def servers(request, serve, node):
    """The server that is asked to create, and the one that is polled."""

    async def start(upstream, **sections):
        url = "memory://" if request.param == "memory" else node.url
        config = {"store": {"url": url}, **sections}
        here = await serve(upstream, config)
        return here, await serve(upstream, config) if request.param == "elsewhere" else here

    return start


async def poll(bridge, response_id, query=""):
    """Status, number and snapshot."""
    async with bridge.session.get(f"{bridge.url}/v1/responses/{response_id}{query}") as got:
        return got.status, int(got.headers.get(NUMBER_HEADER, "-1")), await got.json()


async def begun(bridge):
    """A socket with a response that stands at its first delta, its id and the number of that."""
    client = await bridge.connect()
    await client.create(input="hi")
    seen = await client.until("response.output_text.delta")
    response_id, number = seen[0]["response"]["id"], seen[-1]["sequence_number"]
    # The store is a moment behind the socket.
    assert (await poll(bridge, response_id, f"?wait=60&after={number - 1}"))[1] == number
    return client, response_id, number


async def waits(bridge):
    """Return when a poll waits there."""
    async with asyncio.timeout(HANG_SECONDS):
        while not bridge.bridge._quotas.followers():  # noqa: ASYNC110 - it is counted, not told
            await asyncio.sleep(0.001)
    await let_others_run()


def gated(*gates):
    steps = message(*"abc")
    script = [*opening(), *steps[:3]]
    for gate, step in zip(gates, steps[3:], strict=False):
        script += [gate, step]
    return [*script, *steps[3 + len(gates) :], completed(done_item("abc"))]


async def test_a_poll_waits_for_what_is_newer_and_says_where_it_is(servers):
    gates = [asyncio.Event() for _ in range(2)]
    here, polled = await servers(Scripted(gated(*gates)))
    client, response_id, number = await begun(here)
    for gate, text in zip(gates, ("ab", "abc"), strict=True):
        polling = asyncio.create_task(poll(polled, response_id, f"?wait=60&after={number}"))
        await waits(polled)
        assert not polling.done()
        gate.set()
        status, newer, snapshot = await polling
        assert (status, newer > number) == (200, True)
        if text == "ab":  # the rest comes in one piece
            assert snapshot["output"][0]["content"][0]["text"] == text
        number = newer
    end = (await client.until("response.completed"))[-1]
    ended = (200, end["sequence_number"], end["response"])
    assert await poll(polled, response_id, f"?wait=60&after={end['sequence_number'] - 1}") == ended
    # Nothing newer will come: it is told at once.
    assert await poll(polled, response_id, "?wait=60&after=10000") == ended
    assert await poll(polled, response_id) == ended


async def test_a_poll_is_answered_when_its_time_is_over(servers):
    here, polled = await servers(Scripted(gated(asyncio.Event())))
    _, response_id, number = await begun(here)
    polling = asyncio.create_task(poll(polled, response_id, f"?wait=20&after={number}"))
    await waits(polled)
    asyncio.get_running_loop().turn(19.9)
    await let_others_run()
    assert not polling.done()
    asyncio.get_running_loop().turn(0.2)
    status, at, snapshot = await polling
    assert (status, at, snapshot["status"]) == (200, number, "in_progress")
    assert snapshot["output"][0]["content"][0]["text"] == "a"


async def test_a_drain_answers_polls_with_what_there_is(servers):
    here, polled = await servers(Scripted(gated(asyncio.Event())), server={"drain_seconds": 600})
    _, response_id, number = await begun(here)
    polling = asyncio.create_task(poll(polled, response_id, f"?wait=60&after={number}"))
    await waits(polled)
    polled.bridge.force.clear()
    draining = asyncio.create_task(polled.bridge.app.shutdown())
    status, at, snapshot = await polling
    assert (status, at, snapshot["status"]) == (200, number, "in_progress")
    polled.bridge.force.set()
    await draining


async def test_a_poll_that_waits_is_a_follower_and_ends_with_its_client(servers):
    limits = {"followers": 1}
    here, polled = await servers(Scripted(gated(asyncio.Event())), limits=limits)
    _, response_id, number = await begun(here)
    query = f"?wait=60&after={number}"
    polling = asyncio.create_task(poll(polled, response_id, query))
    await waits(polled)
    assert (await poll(polled, response_id, query))[0] == 429
    assert (await poll(polled, response_id))[0] == 200  # it does not wait
    polling.cancel()
    async with asyncio.timeout(HANG_SECONDS):
        while polled.bridge._quotas.followers():  # noqa: ASYNC110 - it is counted, not told
            await asyncio.sleep(0.001)


async def test_a_poll_of_what_is_deleted_meanwhile_is_404(servers):
    here, polled = await servers(Scripted(gated(asyncio.Event())))
    _, response_id, number = await begun(here)
    polling = asyncio.create_task(poll(polled, response_id, f"?wait=60&after={number}"))
    await waits(polled)
    assert (await here.delete(f"/v1/responses/{response_id}"))[0] == 200
    status, _, body = await polling
    # Its end may be read before it is gone.
    assert status == 404 or body["status"] == "cancelled"
    assert (await poll(polled, response_id, query := f"?wait=60&after={number}"))[0] == 404, query


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("wait=x", "wait"),
        ("wait=-1", "wait"),
        (f"wait={MOST_SECONDS + 1}", "wait"),
        ("wait=1.5", "wait"),
        ("wait=1&after=x", "after"),
        ("after=1e3", "after"),
        ("wait=1&stream=true", "wait"),
    ],
)
async def test_a_bad_query_is_a_400_that_names_it(serve, query, param):
    bridge = await serve(Scripted(answer("Hi")))
    _, response = await bridge.post("/v1/responses", model="m", input="hi")
    status, body = await bridge.get(f"/v1/responses/{response['id']}?{query}")
    assert (status, body["error"]["param"]) == (400, param)
    assert body["error"]["code"] == "invalid_request_error"


async def test_the_official_sdk_reads_a_poll(serve):
    bridge = await serve(Scripted(answer("Hi")))
    client = AsyncOpenAI(base_url=bridge.url + "/v1", api_key="none")
    made = await client.responses.create(model="m", input="hi")
    query = {"wait": 20, "after": 3}
    raw = await client.responses.with_raw_response.retrieve(made.id, extra_query=query)
    assert raw.parse() == made
    assert int(raw.headers[NUMBER_HEADER]) > 3
    await client.close()
