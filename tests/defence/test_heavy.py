"""The largest requests that may come: they are read, checked and fitted beside the event loop.

What the loop does itself is counted in calls, not in time; the rest is shown by a gate: while the
work beside the loop stands still, everybody else is answered.
"""

import asyncio
import collections
import contextlib
import random
import sys
import threading

import orjson
import pytest
from support.redis_servers import Node, valkey_binary
from support.scripted_upstream import Scripted, answer

from ws_bridge.jobs.publisher import Publisher
from ws_bridge.pacing import HEAVY, HEAVY_BYTES, aside
from ws_bridge.protocol import sealing
from ws_bridge.protocol.reducer import Reducer
from ws_bridge.protocol.sealing import Sealer
from ws_bridge.server.transport.transport import ClientTransport

MANY = 120_000
ITEMS = [{"role": "user", "content": "hi"}] * MANY
TOOLS = [
    {"type": "function", "name": f"f{number}", "parameters": {"type": "object", "properties": {}}}
    for number in range(10_000)
]
PROPERTIES = {f"p{number}": {"type": "string"} for number in range(9_000)}
WIDE = {"type": "function", "name": "f", "parameters": {"properties": PROPERTIES}}
MANY_OF = {
    "items": {"input": ITEMS},
    "tools": {"input": "hi", "tools": TOOLS},
    "properties": {"input": "hi", "tools": [WIDE]},
}
MOST = {"properties": 9_000}
LONG_TEXT = ["x" * 100_000] * 100
LARGEST_WRITE = 2**19
LARGE = {"max_message_mib": 64}


@contextlib.contextmanager
def calls():
    """How often each function is called in this thread, the loop's, as long as the block lasts.

    Those of the interpreter's own that work on one value are counted too.
    """
    counted = collections.Counter()

    def note(frame, event, called):
        if event == "call":
            counted[frame.f_code.co_qualname, frame.f_code.co_filename] += 1
        elif event == "c_call":
            counted[called.__qualname__, frame.f_code.co_filename] += 1

    sys.setprofile(note)
    try:
        yield counted
    finally:
        sys.setprofile(None)


def check(counted, most=MANY // 4):
    """Nothing was done item by item."""
    assert sum(counted.values()) < most, counted.most_common(5)


@pytest.fixture(scope="module")
def valkey():
    with Node(valkey_binary()) as node:
        yield node


@pytest.fixture
async def bridge(serve):
    sections = {"server": LARGE, "limits": {"queued_mib_per_connection": 64}}
    return await serve(Scripted(answer("x")), sections)


@pytest.fixture
async def shared(serve, valkey):
    """The same on Redis."""
    sections = {"server": LARGE, "store": {"url": valkey.url}}
    return await serve(Scripted(answer("x")), sections)


async def post(bridge, path, text):
    url, head = bridge.url + path, {"Content-Type": "application/json"}
    async with bridge.session.post(url, data=text, headers=head) as got:
        return got.status, orjson.loads(await got.read())


def create(**fields):
    return orjson.dumps({"type": "response.create", "model": "m", **fields})


@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("what", MANY_OF)
@pytest.mark.catalogue("A8")
async def test_a_create_of_many_items_is_not_read_on_the_loop(bridge, store, what):
    client = await bridge.connect()
    text = create(store=store, **MANY_OF[what]).decode()
    with calls() as counted:
        await client.ws.send_str(text)
        events = await client.until("response.completed", "error", "response.failed")
    assert events[-1]["type"] == "response.completed"
    check(counted, MOST.get(what, MANY // 4))


@contextlib.contextmanager
def pieces(work, amount):
    """The largest sum of ``amount`` of calls of a function in one turn of this thread's loop.

    ``amount`` is of the function's arguments by name. The list has one number, at the end.
    """
    code, largest, now = work.__code__, [0], [0]
    turn = asyncio.BaseEventLoop._run_once.__code__

    def note(frame, event, _):
        if event != "call":
            return
        if frame.f_code is turn:
            now[0] = 0
        elif frame.f_code is code:
            now[0] += amount(frame.f_locals)
            largest[0] = max(largest[0], now[0])

    sys.setprofile(note)
    try:
        yield largest
    finally:
        sys.setprofile(None)


def sizes(given):
    return sum(len(event.text) for event in given["events"])


@pytest.fixture
async def long(serve):
    """A bridge whose answers are 10 MB; what repeats all of it comes at once."""
    *said, text, part, item, end = answer(*LONG_TEXT)
    return await serve(Scripted([*said, [text, part, item, end]]), {"server": LARGE})


@pytest.mark.catalogue("A8")
async def test_a_long_answers_end_is_published_event_by_event(long):
    """Each of its last four events repeats all of it: no turn of the loop makes two."""
    with pieces(Publisher._append, sizes) as largest:
        status, made = await post(long, "/v1/responses", create(input="hi"))
    assert (status, made["status"]) == (200, "completed")
    whole = sum(map(len, LONG_TEXT))
    assert whole < largest[0] < 1.5 * whole


@pytest.mark.catalogue("A8")
async def test_a_long_answer_is_polled_and_replayed_in_pieces(long):
    _, made = await post(long, "/v1/responses", create(input="hi"))
    url = long.url + f"/v1/responses/{made['id']}"
    for query in ("", "?stream=true&starting_after=3"):
        write = pieces(ClientTransport.write, lambda given: len(given["data"]))
        with write as largest, calls_of(Reducer.apply) as folded:
            async with long.session.get(url + query) as got:
                assert len(await got.read()) > sum(map(len, LONG_TEXT))
        assert largest[0] < LARGEST_WRITE, query
        assert folded == []


@contextlib.contextmanager
def calls_of(function):
    """The calls of a function in this thread, beside what else is noted."""
    found, other = [], sys.getprofile()

    def note(frame, event, called):
        if event == "call" and frame.f_code is function.__code__:
            found.append(function)
        other(frame, event, called)

    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(other)


@pytest.mark.catalogue("A8")
async def test_a_poll_of_a_running_response_folds_a_piece_in_each_turn(serve):
    gate = asyncio.Event()
    said = answer(*LONG_TEXT)
    bridge = await serve(Scripted([*said[:-4], gate, *said[-4:]]), {"server": LARGE})
    _, made = await post(bridge, "/v1/responses", create(input="hi", background=True))
    path = f"/v1/responses/{made['id']}"
    last = b'"sequence_number":%d,' % (len(said) - 5)
    with pieces(Reducer.apply, lambda given: len(given["event"].get("delta") or "")) as largest:
        async with bridge.session.get(f"{bridge.url}{path}?stream=true") as followed:
            await followed.content.readuntil(last, max_size=2**26)
        status, polled = await bridge.get(path)
    assert (status, polled["status"]) == (200, "in_progress")
    assert polled["output"][0]["content"][0]["text"] == "".join(LONG_TEXT)
    assert 0 < largest[0] < HEAVY_BYTES + len(LONG_TEXT[0])
    gate.set()


@pytest.mark.catalogue("A8")
async def test_nor_over_http_nor_when_it_is_gone_on_from_and_listed(bridge):
    text = create(input=ITEMS)
    with calls() as counted:
        status, made = await post(bridge, "/v1/responses", text)
        assert status == 200
    check(counted)
    with calls() as counted:
        on = create(input="on", previous_response_id=made["id"])
        assert (await post(bridge, "/v1/responses", on))[0] == 200
    check(counted)
    with calls() as counted:
        status, page = await bridge.get(f"/v1/responses/{made['id']}/input_items?limit=3")
        assert (status, len(page["data"]), page["has_more"]) == (200, 3, True)
    check(counted)


@pytest.mark.catalogue("A8")
async def test_nor_is_it_packed_or_unpacked_there(shared):
    """What is kept by Redis: written, read, gone on from, listed."""
    await test_nor_over_http_nor_when_it_is_gone_on_from_and_listed(shared)


@pytest.mark.catalogue("A8")
async def test_nor_for_a_conversation(bridge):
    """But for one pass over its entries: they are added in one piece, or not at all."""
    _, made = await bridge.post("/v1/conversations")
    text = create(input=ITEMS, conversation=made["id"])
    with calls() as counted:
        assert (await post(bridge, "/v1/responses", text))[0] == 200
    check(counted, MANY + MANY // 4)


HEAVY_ONES = {
    "items": ("/v1/responses", create(input=ITEMS)),
    "tools": ("/v1/responses", create(input="hi", tools=TOOLS)),
    "text": ("/v1/responses", create(input="x" * 60 * 2**20)),
    "escapes": ("/v1/responses", create(input='"\n' * 15 * 2**20)),
    "tokens": ("/v1/responses/input_tokens", create(input=ITEMS)),
    "not JSON": ("/v1/responses", b'{"model":"m","input":"' + b"x" * 60 * 2**20),
    "an object too wide": ("/v1/responses", create(metadata={str(n): "" for n in range(MANY)})),
}


@pytest.mark.parametrize(("path", "text"), HEAVY_ONES.values(), ids=HEAVY_ONES)
@pytest.mark.parametrize("way", ["http", "websocket"])
@pytest.mark.catalogue("A8")
async def test_while_a_large_one_is_read_all_others_are_answered(bridge, way, path, text):
    client, other = await bridge.connect(), await bridge.connect()
    gate = threading.Event()
    standing = asyncio.create_task(aside(lambda: gate.wait(60), values=HEAVY))
    if way == "http":
        large = asyncio.create_task(post(bridge, path, text))
    else:
        large = asyncio.create_task(_turn(client, text))
    assert (await bridge.get("/healthz"))[0] == 200
    assert (await other.turn(input="hi"))[-1]["type"] == "response.completed"
    status, _ = await post(bridge, "/v1/responses", create(input="hi"))
    assert status == 200
    assert not large.done(), "it waits for the work beside the loop"
    gate.set()
    assert await standing
    await large


async def _turn(client, text):
    await client.ws.send_str(text.decode())
    return await client.until("response.completed", "error", "response.failed")


@pytest.mark.catalogue("A8")
@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/conversations", "items"),
        ("/v1/responses", "input"),
        ("/v1/responses/input_tokens", "input"),
    ],
)
async def test_a_large_seal_is_not_checked_on_the_loop(serve, path, field):
    secret = "s" * 64
    upstream = Scripted(answer("x"))
    bridge = await serve(upstream, {"auth": {"secret_env": "SECRET"}}, {"SECRET": secret})
    dice = random.Random(3)  # noqa: S311 - a seed, so that it can be told again
    seal = Sealer(lambda: [secret.encode()]).seal(dice.randbytes(2**19).hex())
    assert len(seal["encrypted_content"]) > HEAVY_BYTES
    text = orjson.dumps({"model": "m", field: [seal, {"role": "user", "content": "hi"}]})
    with calls() as counted:
        assert (await post(bridge, path, text))[0] == 200
    assert [name for name, file in counted if file == sealing.__file__ and "sign" in name] == []
