"""What was asked counts until it is answered: over real connections, whatever asks."""

import asyncio
import contextlib
import gc
import json
import threading
import tracemalloc

import pytest
from support.hang import HANG_SECONDS
from support.raw_client import RawClient
from support.scripted_upstream import Scripted, answer, message, opening
from support.slow_reader import SlowReader

from ws_bridge.config.memory import COPIES
from ws_bridge.pacing import HEAVY, aside
from ws_bridge.protocol.json_limits import weigh
from ws_bridge.server.auth import LOCAL_OWNER, names_of

MIB = 2**20
KEYS = {"keys_env": ["KEYS"]}
ENVIRON = {"KEYS": "key-a,key-b"}
OWNER_A = names_of("key-a", ())[0]
ONE = {"asked_mib_per_key": COPIES}


class Counting(Scripted):
    """An upstream whose counter waits for its gate."""

    def __init__(self, *scripts):
        super().__init__(*scripts)
        self.gate, self.counting = asyncio.Event(), asyncio.Semaphore(0)

    async def count_tokens(self, request):
        self.counting.release()
        await self.gate.wait()
        return len(request.input())


async def until(condition):
    """Let the server work until it is true; the limit is for a test that fails."""
    async with asyncio.timeout(HANG_SECONDS):
        while not condition():  # noqa: ASYNC110 - nobody here could set an event
            await asyncio.sleep(0)


def body(size, **fields):
    return json.dumps({"model": "m", "input": "x" * size, **fields})


async def post(bridge, path, data, key="key-a"):
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    async with bridge.session.post(bridge.url + path, data=data, headers=headers) as reply:
        answered = await reply.json()
        return reply.status, (answered.get("error") or {}).get("message", "")


async def pieces(data):
    """A body whose length is not said."""
    for start in range(0, len(data), 65536):
        yield data[start : start + 65536].encode()


@pytest.mark.catalogue("A7")
@pytest.mark.parametrize("sent", [str, pieces], ids=["length", "chunked"])
async def test_what_is_counted_for_its_tokens_counts_until_it_is_answered(serve, sent):
    """Twenty bodies of 20 MB at once were 860 MiB."""
    upstream = Counting(answer("x"))
    bridge = await serve(upstream, {"auth": KEYS, "limits": ONE}, ENVIRON)
    path, half = "/v1/responses/input_tokens", MIB // 2

    async def asked(size, key="key-a"):
        return await post(bridge, path, sent(body(size)), key)

    first = asyncio.create_task(asked(half))
    await upstream.counting.acquire()
    assert COPIES * half < bridge.bridge._quotas.asked_bytes() < COPIES * half + 5000
    words = f"What was asked with this key and is not answered is too much ({COPIES} MiB)."
    assert await asked(half) == (429, f"{words} Try again in 1s.")
    other = asyncio.create_task(asked(half, "key-b"))  # is another key's
    await upstream.counting.acquire()
    upstream.gate.set()
    assert [status for status, _ in await asyncio.gather(first, other)] == [200, 200]
    assert bridge.bridge._quotas.asked_bytes() == 0
    assert (await asked(half))[0] == 200


@pytest.mark.catalogue("A7")
async def test_large_counts_are_few_at_once_and_nothing_else_waits_for_them(serve):
    upstream = Counting(answer("x"))
    bridge = await serve(upstream, {"auth": KEYS}, ENVIRON)
    path = "/v1/responses/input_tokens"
    large, small = body(2 * MIB), body(10)
    asked = [asyncio.create_task(post(bridge, path, large, "key-a")) for _ in range(6)]
    for _ in range(2):
        await upstream.counting.acquire()
    others = (("key-a", small), ("key-b", large))
    asked += [asyncio.create_task(post(bridge, path, data, key)) for key, data in others]
    for _ in range(2):
        await upstream.counting.acquire()
    sizes = 7 * len(large) + len(small)
    await until(lambda: 0 <= bridge.bridge._quotas.asked_bytes() - COPIES * sizes < 20_000)
    assert upstream.counting.locked()
    upstream.gate.set()
    assert [status for status, _ in await asyncio.gather(*asked)] == [200] * 8


@pytest.mark.catalogue("A7")
@pytest.mark.parametrize("kind", ["http", "background", "socket"])
async def test_what_a_response_was_asked_counts_until_it_has_ended(serve, kind):
    """Whoever waits for it: a stored one goes on when its client has left."""
    gate = asyncio.Event()
    upstream = Scripted([*opening(), gate, *answer("x")[2:]], answer("y"))
    bridge = await serve(upstream, {"auth": KEYS, "limits": ONE}, ENVIRON)
    quotas, size = bridge.bridge._quotas, MIB * 3 // 4
    headers = {"Authorization": "Bearer key-a"}
    client = await bridge.connect(headers=headers)
    if kind == "socket":
        await client.create(input="x" * size, store=True)
        await client.until("response.in_progress")
    else:
        data = body(size, background=kind == "background", stream=kind == "http")
        asking = await bridge.session.post(bridge.url + "/v1/responses", data=data, headers=headers)
        await asking.content.readany()
        asking.close()
    assert COPIES * size < quotas.asked_bytes() < COPIES * size + 5000
    assert (await post(bridge, "/v1/responses", body(size)))[0] == 429
    await client.create(input="x" * size, stream_id="other")
    assert (await client.until("error"))[-1]["error"]["code"] == "rate_limit_exceeded"
    assert (await post(bridge, "/v1/responses", body(10)))[0] == 200  # there is room for it
    gate.set()
    await until(lambda: not bridge.bridge._jobs.running())
    assert (await post(bridge, "/v1/responses", body(size)))[0] == 200
    await client.ws.close()


@pytest.mark.catalogue("A7")
@pytest.mark.parametrize("data", ["[", json.dumps([1] * 5), body(10, model="unknown")])
async def test_what_was_refused_is_not_held_on_to(serve, data):
    bridge = await serve(Scripted(answer("x")), {"auth": KEYS}, ENVIRON)
    for path in ("/v1/responses", "/v1/responses/input_tokens", "/v1/conversations"):
        await post(bridge, path, data)
        assert bridge.bridge._quotas.asked_bytes() == 0


@pytest.mark.catalogue("A7")
async def test_one_alone_may_be_of_any_size_and_in_sum_all_keys_count(serve):
    upstream = Counting(answer("x"))
    limits = {"asked_mib_per_key": 1, "asked_mib": 2}
    bridge = await serve(upstream, {"auth": KEYS, "limits": limits}, ENVIRON)
    path = "/v1/responses/input_tokens"
    large = asyncio.create_task(post(bridge, path, body(3 * MIB)))
    await upstream.counting.acquire()
    status, message = await post(bridge, path, body(MIB), "key-b")
    assert (status, message.split(" (")[0]) == (
        429,
        "What was asked of this server and is not answered is too much",
    )
    upstream.gate.set()
    assert (await post(bridge, path, body(10), "key-b"))[0] == 200  # so little is no matter
    assert (await large)[0] == 200


@pytest.mark.catalogue("A7")
async def test_an_announced_body_takes_no_room_of_other_keys(serve):
    bridge = await serve(Scripted(answer("x")), {"auth": KEYS}, ENVIRON)
    path = "/v1/responses/input_tokens"
    headers = ("Authorization: Bearer key-a", f"Content-Length: {10**15}")
    line = await RawClient.open(bridge.url)
    head = [f"POST {path} HTTP/1.1", "Host: localhost", *headers, "", "{"]
    await line.send("\r\n".join(head).encode())
    await until(bridge.bridge._quotas.asked_bytes)
    assert bridge.bridge._quotas.asked_bytes() == COPIES * 64 * MIB
    assert (await post(bridge, path, body(MIB), "key-b"))[0] == 200
    assert (await post(bridge, path, body(MIB), "key-a"))[0] == 200
    line.close()


@pytest.mark.catalogue("A7")
async def test_an_answer_that_is_not_read_counts_until_it_is(serve):
    """Many of one large response, and none of them read."""
    limits = {"asked_mib_per_key": 8}
    bridge = await serve(Scripted(answer("x" * 6 * MIB)), {"auth": KEYS, "limits": limits}, ENVIRON)
    _, made = await bridge.json("POST", "/v1/responses", "key-a", model="m", input="hi")
    path, quotas = f"/v1/responses/{made['id']}", bridge.bridge._quotas
    unread = await SlowReader.open(bridge.url, path, "Authorization: Bearer key-a")
    await until(lambda: 6 * MIB < quotas.asked_bytes() < 7 * MIB)
    status, reply = await bridge.json("GET", path, "key-a")
    assert (status, reply["error"]["code"]) == (429, "rate_limit_exceeded")
    status, reply = await bridge.json("GET", path, "key-b")
    assert status == 404
    assert (await bridge.json("GET", "/v1/models", "key-a"))[0] == 200
    reading = asyncio.create_task(unread.rest())
    await until(lambda: not quotas.asked_bytes())
    assert (await bridge.json("GET", path, "key-a"))[0] == 200
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    unread.close()


# What is counted is what is held


@contextlib.contextmanager
def traced():
    """A function that says how many MiB are held since the block began."""
    gc.collect()
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[0] / MIB
    finally:
        tracemalloc.stop()


@pytest.mark.catalogue("A7")
@pytest.mark.parametrize("way", ["http", "websocket"])
async def test_while_a_response_runs_its_text_is_there_once(serve, way):
    """As objects: its bytes are freed when they are read."""
    gate, size = asyncio.Event(), 8 * MIB
    bridge = await serve(Scripted([*opening(), gate, *answer("x")[2:]]), {"auth": KEYS}, ENVIRON)
    client = await bridge.connect(headers={"Authorization": "Bearer key-a"})
    text = body(size, type="response.create", store=False)
    data, asking = text.encode(), None  # the client's own
    with traced() as held:
        if way == "http":
            asking = asyncio.create_task(post(bridge, "/v1/responses", data))
            await until(bridge.bridge._jobs.running)
        else:
            await client.ws.send_str(text)
            await client.until("response.in_progress")
        await until(lambda: held() < 1.5 * size / MIB)
    gate.set()
    if asking is not None:
        assert (await asking)[0] == 200
    await client.ws.close()


@pytest.mark.catalogue("A7")
@pytest.mark.parametrize("kind", ["no JSON", "no type", "no model", "no room"])
async def test_nothing_of_a_refused_message_stays_while_the_next_is_awaited(serve, kind):
    """Of thirty refused creates of 20 MB, 1.3 GiB stayed until garbage was collected."""
    bridge = await serve(Scripted(answer("x")), {"auth": KEYS, "limits": ONE}, ENVIRON)
    client = await bridge.connect(headers={"Authorization": "Bearer key-a"})
    text = "x" * 8 * MIB
    bad = {
        "no JSON": "[" + text,
        "no type": json.dumps({"input": text}),
        "no model": json.dumps({"type": "response.create", "input": text}),
        "no room": body(8 * MIB, type="response.create"),
    }[kind]
    gc.disable()
    try:
        with traced() as held, bridge.bridge._quotas.asked(OWNER_A, 2 * MIB):
            await client.ws.send_str(bad)
            assert (await client.event())["type"] == "error"
            await until(lambda: held() < 2)
    finally:
        gc.enable()
    await client.ws.close()


@pytest.mark.catalogue("A7")
@pytest.mark.parametrize("way", ["http", "websocket"])
async def test_many_items_count_as_objects(serve, way):
    """They are ten times their text."""
    gate = asyncio.Event()
    bridge = await serve(Scripted([*opening(), gate, *answer("x")[2:]]), {"auth": KEYS}, ENVIRON)
    headers = {"Authorization": "Bearer key-a"}
    items = [{"role": "user", "content": "hi"}] * 5000
    client = await bridge.connect(headers=headers)
    text = json.dumps({"type": "response.create", "model": "m", "input": items})
    asking = None
    if way == "http":
        asking = asyncio.create_task(post(bridge, "/v1/responses", text))
        await until(bridge.bridge._jobs.running)
    else:
        await client.ws.send_str(text)
        await client.until("response.in_progress")
    objects = weigh([json.loads(text)])
    assert objects > 5 * len(text)
    assert bridge.bridge._quotas.asked_bytes() == pytest.approx(COPIES * objects, rel=0.1)
    gate.set()
    if asking is not None:
        assert (await asking)[0] == 200
    await client.ws.close()


@pytest.mark.catalogue("A7")
async def test_what_is_gone_on_from_counts_as_well(serve):
    """All of it is said again: a few words after 20 MB make as many copies as 20 MB do."""
    gate = asyncio.Event()
    slow = [*opening(), gate, *answer("x")[2:]]
    upstream = Scripted(answer("x"), slow, answer("y"))
    limits = {"asked_mib_per_key": 10}
    bridge = await serve(upstream, {"auth": KEYS, "limits": limits}, ENVIRON)
    _, made = await bridge.json("POST", "/v1/responses", "key-a", model="m", input="x" * MIB)
    on = body(2, previous_response_id=made["id"])
    first = asyncio.create_task(post(bridge, "/v1/responses", on))
    await until(lambda: len(upstream.requests) == 2)
    status, words = await post(bridge, "/v1/responses", on)
    assert (status, words.split(" (")[0]) == (
        429,
        "What was asked with this key and is not answered is too much",
    )
    gate.set()
    assert (await first)[0] == 200
    assert (await post(bridge, "/v1/responses", on))[0] == 200


@pytest.mark.catalogue("A7")
async def test_a_create_that_waits_on_its_lane_counts_and_one_without_room_is_refused(serve):
    gate = asyncio.Event()
    upstream = Scripted([*opening(), gate, *answer("x")[2:]], answer("y"))
    bridge = await serve(upstream, {"auth": KEYS, "limits": ONE}, ENVIRON)
    quotas = bridge.bridge._quotas
    client = await bridge.connect(headers={"Authorization": "Bearer key-a"})
    await client.create(input="hi")
    await client.until("response.in_progress")
    await client.create(input="x" * (MIB * 7 // 8))
    await until(lambda: quotas.asked_bytes() > MIB * 7 // 8)
    await client.create(input="x" * MIB)
    await client.ws.send_json({"type": "none"})  # its answer says that the create was read
    await client.until("error")
    gate.set()
    await client.until("response.completed")
    assert (await client.until("response.completed"))[0]["type"] == "response.created"
    refused = await client.event()
    assert (refused["type"], refused["error"]["code"]) == ("error", "rate_limit_exceeded")
    await client.ws.close()
    await until(lambda: not quotas.running(OWNER_A) and not quotas.asked_bytes())


@pytest.mark.catalogue("A7")
async def test_a_message_is_being_received_until_it_was_read(serve):
    """They wait for the work beside the loop, and so do those that come after them."""
    bridge = await serve(Scripted(answer("x")), {"auth": KEYS}, ENVIRON)
    receiving, gate = bridge.listener.state.receiving, threading.Event()
    client = await bridge.connect(headers={"Authorization": "Bearer key-a"})
    standing = asyncio.create_task(aside(lambda: gate.wait(60), values=HEAVY))
    await client.create(input="x" * MIB)
    await until(lambda: receiving.total >= MIB)
    assert (await bridge.get("/healthz"))[0] == 200
    assert receiving.total >= MIB
    gate.set()
    assert await standing
    await client.until("response.completed")
    assert receiving.total == 0
    await client.ws.close()


# Followers


@pytest.mark.catalogue("A7")
async def test_so_many_may_follow_with_a_key_and_no_more(serve):
    """5,000 of them were 745 MiB, and half a second each time that there was news."""
    gate = asyncio.Event()
    upstream = Scripted([*opening(), *message("x"), gate, answer("x")[-1]])
    limits = {"followers_per_key": 3, "followers": 5}
    bridge = await serve(upstream, {"auth": KEYS, "limits": limits}, ENVIRON)
    ids = {}
    for key in ("key-a", "key-b"):
        _, begun = await begin(bridge, key)
        ids[key] = begun["id"]

    async def follow(key):
        url = f"{bridge.url}/v1/responses/{ids[key]}?stream=true"
        asked = await bridge.session.get(url, headers={"Authorization": f"Bearer {key}"})
        if asked.status == 200:
            await asked.content.readany()
        return asked

    followers = [await follow("key-a") for _ in range(4)]
    assert [each.status for each in followers] == [200, 200, 200, 429]
    assert (await followers[-1].json())["error"]["code"] == "rate_limit_exceeded"
    followers += [await follow("key-b") for _ in range(3)]
    assert [each.status for each in followers[4:]] == [200, 200, 429]
    assert bridge.bridge._quotas.followers() == 5
    followers[0].close()
    await until(lambda: bridge.bridge._quotas.followers() < 5)
    again = await follow("key-a")
    assert again.status == 200
    gate.set()
    for each in (*followers[1:3], *followers[4:6], again):
        assert b"[DONE]" in await each.read()
    await until(lambda: bridge.bridge._quotas.followers() == 0)


async def begin(bridge, key):
    data = body(10, background=True)
    headers = {"Authorization": f"Bearer {key}"}
    async with bridge.session.post(
        bridge.url + "/v1/responses", data=data, headers=headers
    ) as reply:
        return reply.status, await reply.json()


async def test_without_keys_only_the_sums_hold(serve):
    limits = {"followers_per_key": 1, "asked_mib_per_key": 1}
    bridge = await serve(Scripted(answer("x")), {"limits": limits})
    quotas = bridge.bridge._quotas
    with contextlib.ExitStack() as taken:
        for _ in range(2):
            taken.enter_context(quotas.follower(LOCAL_OWNER))
            taken.enter_context(quotas.asked(LOCAL_OWNER, 3 * MIB))
        assert quotas.asked_bytes() == 6 * MIB
    assert quotas.names() == 0
