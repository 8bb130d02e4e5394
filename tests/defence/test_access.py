"""What is one key's is nobody else's: no route, id or command tells of it."""

import asyncio
import itertools
import json
import random
import re
import secrets

import pytest
from aiohttp.client import URL
from support.hang import HANG_SECONDS
from support.redis_servers import Node, valkey_binary
from support.scripted_upstream import (
    Scripted,
    answer,
    completed,
    done_item,
    message,
    opening,
    tool_call,
)

from defence.watched import watched

A, B = "client-key-of-a", "client-key-of-b"
KEYS = {"keys_env": ["KEYS"]}
NAMES = {"keys": [{"name": "a", "key_env": "A"}, {"name": "b", "key_env": "B"}]}
LIMITS = {"creates_per_minute": 0, "running_per_key": 0, "connections_per_key": 0}
VARIES = ("date", "x-request-id")
ID = re.compile(r'"(?:id|[a-z_]+_id)": ?"([^"]+)"')


@pytest.fixture(scope="session")
def valkey():
    with Node(valkey_binary()) as node:
        yield node


@pytest.fixture(params=["memory", "redis", "memory-names", "redis-names"])
async def bridge(request, serve):
    """A server of two keys, or names, on either store; what its clients say is said back."""
    kept_in, _, has_names = request.param.partition("-")
    store = {}
    if kept_in == "redis":
        store = {"store": {"url": request.getfixturevalue("valkey").url}}
    clients = NAMES if has_names else {"auth": KEYS}
    sections = {**clients, "limits": LIMITS, **store}
    return await serve(Scripted(says_back), sections, {"KEYS": f"{A},{B}", "A": A, "B": B})


@pytest.fixture
async def shared(serve, valkey):
    """The same on Redis only."""
    sections = {"auth": KEYS, "limits": LIMITS, "store": {"url": valkey.url}}
    return await serve(Scripted(says_back), sections, {"KEYS": f"{A},{B}"})


def says_back(request):
    text = json.dumps(request.input())
    return [*opening(), *message(text), completed(done_item(text))]


def as_key(key):
    return {"Authorization": f"Bearer {key}"}


async def turn(bridge, key, **fields):
    """All texts of a turn on a socket of its own."""
    client = await bridge.connect(headers=as_key(key))
    events = await client.turn(**{"input": "hi", **fields})
    await client.ws.close()
    return events


async def ask(bridge, key, method, path, body=None):
    """Status, headers and bytes."""
    url = URL(bridge.url + path, encoded=True)
    async with bridge.session.request(method, url, headers=as_key(key), json=body) as got:
        return got.status, dict(got.headers), await got.read()


ROUTES = (
    ("GET", "/v1/responses/{id}", None),
    ("GET", "/v1/responses/{id}?stream=true", None),
    ("GET", "/v1/responses/{id}?stream=true&starting_after=1", None),
    ("POST", "/v1/responses/{id}/cancel", None),
    ("GET", "/v1/responses/{id}/input_items", None),
    ("DELETE", "/v1/responses/{id}", None),
    ("POST", "/v1/responses", {"model": "m", "input": "x", "previous_response_id": "{id}"}),
    ("POST", "/v1/responses", {"model": "m", "input": "x", "conversation": "{id}"}),
    ("POST", "/v1/responses", {"model": "m", "input": "x", "conversation": {"id": "{id}"}}),
    ("POST", "/v1/responses/compact", {"model": "m", "previous_response_id": "{id}"}),
    (
        "POST",
        "/v1/responses/input_tokens",
        {"model": "m", "input": "x", "previous_response_id": "{id}"},
    ),
    ("GET", "/v1/conversations/{id}", None),
    ("POST", "/v1/conversations/{id}", {"metadata": {}}),
    ("GET", "/v1/conversations/{id}/items", None),
    ("POST", "/v1/conversations/{id}/items", {"items": [{"role": "user", "content": "x"}]}),
    ("GET", "/v1/conversations/{id}/items/{id}", None),
    ("DELETE", "/v1/conversations/{id}/items/{id}", None),
    ("DELETE", "/v1/conversations/{id}", None),
)
FRAMES = (
    {"type": "response.create", "model": "m", "input": "x", "previous_response_id": "{id}"},
    {"type": "response.create", "model": "m", "input": "x", "conversation": "{id}"},
    {"type": "response.steer", "previous_response_id": "{id}", "input": "x"},
)


async def everything(bridge, key):
    """All ids that ever left the server for a key: of each kind of thing there is."""
    head = as_key(key)
    async with bridge.session.post(bridge.url + "/v1/conversations", headers=head) as got:
        conversation = (await got.json())["id"]
    told = [{"id": conversation}]
    told += await turn(bridge, key, conversation=conversation)
    told += (first := await turn(bridge, key, metadata={"a": "b"}))
    told += await turn(bridge, key, previous_response_id=first[-1]["response"]["id"])
    body = {"model": "m", "input": "hi", "background": True}
    async with bridge.session.post(bridge.url + "/v1/responses", headers=head, json=body) as got:
        told.append(background := await got.json())
    for path in (
        f"/v1/responses/{background['id']}/input_items",
        f"/v1/conversations/{conversation}/items",
    ):
        told.append(json.loads((await ask(bridge, key, "GET", path))[2]))
    return sorted(set(ID.findall(json.dumps(told))))


def unlike(known):
    """An id of the same length and kind that nobody has."""
    kind, mark, rest = known.partition("_")
    return kind + mark + secrets.token_hex(len(rest))[: len(rest)] if mark else "x" * len(known)


def filled(thing, known):
    return json.loads(json.dumps(thing).replace("{id}", known))


def told_of(answer, known):
    """An answer without what differs anyway; the id is of one length."""
    status, headers, body = answer
    kept = {name: text for name, text in headers.items() if name.lower() not in VARIES}
    return status, kept, body.replace(known.encode(), b"{id}")


@pytest.mark.catalogue("S1", "S2")
async def test_what_is_anothers_and_what_is_not_there_are_one_answer_on_every_route(bridge):
    ids = await everything(bridge, A)
    assert len(ids) > 6, ids
    for known, (method, path, body) in itertools.product(ids, ROUTES):
        unknown = unlike(known)
        theirs, nobodys = [
            told_of(
                await ask(bridge, B, method, path.replace("{id}", one), body and filled(body, one)),
                one,
            )
            for one in (known, unknown)
        ]
        assert theirs == nobodys, (method, path)
        assert theirs[0] in (400, 404), (method, path, theirs)
    for known in (one for one in ids if one.startswith(("resp_", "conv_"))):
        kind = "responses" if known.startswith("resp_") else "conversations"
        assert (await ask(bridge, A, "GET", f"/v1/{kind}/{known}"))[0] == 200, "it is there still"


@pytest.mark.catalogue("S1", "S2")
async def test_on_a_socket_as_well(bridge):
    ids = await everything(bridge, A)
    for known, frame in itertools.product(ids, FRAMES):
        client = await bridge.connect(headers=as_key(B))
        heard = []
        for one in (known, unlike(known)):
            await client.ws.send_json(filled(frame, one))
            heard.append(json.dumps(await client.event()).replace(one, "{id}"))
        assert heard[0] == heard[1]
        assert any(word in heard[0] for word in ("not_found", "not found")), heard[0]
        await client.ws.close()


@pytest.mark.catalogue("S1")
async def test_a_stop_from_another_connection_changes_nothing(serve):
    gate = asyncio.Event()
    script = [*opening(), gate, *message("x"), completed(done_item("x"))]
    bridge = await serve(Scripted(script), {"auth": KEYS}, {"KEYS": f"{A},{B}"})
    owner, other = [await bridge.connect(headers=as_key(key)) for key in (A, B)]
    await owner.create(input="hi")
    begun = (await owner.until("response.in_progress"))[-1]["response"]["id"]
    for kind in ("cancel", "interrupt"):
        await other.ws.send_json({"type": f"response.{kind}", "response_id": begun})
    await other.ws.send_json({"type": "response.steer", "previous_response_id": begun, "input": ""})
    assert (await other.event())["type"] in ("error", "response.steer.failed")
    gate.set()
    assert (await owner.until("response.completed"))[-1]["response"]["status"] == "completed"


@pytest.mark.catalogue("S3")
async def test_a_record_without_an_owner_is_nobodys(shared, valkey):
    made = (await turn(shared, A))[-1]["response"]["id"]
    await stored(shared, A, made)
    [key] = valkey.cli("KEYS", f"*:m:{made}")
    fields = valkey.cli("HGETALL", key)
    names = list(fields) if isinstance(fields, dict) else fields[::2]
    assert "ow" in names
    for broken in (("HSET", key, "ow", ""), ("HDEL", key, "ow")):
        valkey.cli(*broken)
        for one in (A, B):
            assert (await ask(shared, one, "GET", f"/v1/responses/{made}"))[0] == 404


async def stored(bridge, key, response_id):
    """Return when the response's end is in the store."""
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            status, _, body = await ask(bridge, key, "GET", f"/v1/responses/{response_id}")
            if status == 200 and json.loads(body)["status"] == "completed":
                return


@pytest.mark.catalogue("S4")
async def test_a_revoked_key_opens_nothing_and_leaves_nothing_to_others(serve, valkey):
    sections = {"auth": KEYS, "store": {"url": valkey.url}}
    before = await serve(Scripted(answer("x")), sections, {"KEYS": f"{A},{B}"})
    made = (await turn(before, A))[-1]["response"]["id"]
    await stored(before, A, made)
    after = await serve(Scripted(answer("x")), sections, {"KEYS": B})
    assert (await ask(after, A, "GET", f"/v1/responses/{made}"))[0] == 401
    assert (await ask(after, B, "GET", f"/v1/responses/{made}"))[0] == 404


@pytest.mark.catalogue("S11")
async def test_what_is_not_stored_is_known_to_its_own_connection_only(bridge):
    first, second = [await bridge.connect(headers=as_key(A)) for _ in range(2)]
    made = (await first.turn(input="hi", store=False))[-1]["response"]["id"]
    told = (await second.turn(input="x", previous_response_id=made))[-1]
    assert told["error"]["code"] == "previous_response_not_found"
    assert (await ask(bridge, A, "GET", f"/v1/responses/{made}"))[0] == 404
    went_on = await first.turn(input="x", previous_response_id=made, store=False)
    assert went_on[-1]["type"] == "response.completed"


BAD_IDS = (
    *("../../x", "..%2f..%2fx", "%2e%2e", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "resp_%00", "%00"),
    *("resp_" + "x" * 3900, "resp_%c3%a9", "%ff", "%ed%a0%80", "resp_%f0%9f%98%80", "%e2%80%ae"),
    *("%7bp1%7d:m:", "wb1:%7bp1%7d:l", "*", "%2a", "resp_%0a", "resp_%0d%0aX:1", "%22);%20--"),
    *("%27)%20redis.call(%27FLUSHALL%27)", "[", "%5b%5d", "resp_%20", "%20", "~"),
)


@pytest.mark.catalogue("B17")
async def test_what_can_be_no_id_is_404_and_reaches_no_store(shared, valkey):
    async with watched(valkey) as commands:
        for bad, (method, path, body) in itertools.product(BAD_IDS, ROUTES):
            if body and "{id}" in json.dumps(body):
                continue
            asked = path.replace("{id}", bad)
            status, _, told = await ask(shared, A, method, asked, body)
            assert status in (404, 405), (method, asked[:60], status, told)
            assert len(told) < 500
        asked = f"/v1/responses/resp_{'x' * 10_000}"
        assert (await ask(shared, A, "GET", asked))[0] in (400, 404, 414)
    assert [line for line in commands if ":m:" in line or ":c:" in line] == []


@pytest.mark.catalogue("B17")
@pytest.mark.parametrize("bad", ["../x", "resp_\x00", "x" * 20_000, "é", "*", "a b", "\n", "{p1}"])
async def test_nor_does_one_in_a_body_or_a_frame(shared, valkey, bad):
    client = await shared.connect(headers=as_key(A))
    async with watched(valkey) as commands:
        for name, code in (
            ("previous_response_id", "previous_response_not_found"),
            ("conversation", "conversation_not_found"),
        ):
            told = (await client.turn(input="x", **{name: bad}))[-1]
            assert told["error"]["code"] == code
            assert len(json.dumps(told)) < 1000
    assert [line for line in commands if ":m:" in line or ":c:" in line] == []


async def guess(bridge, key, count):
    """How many 404s so many random ids are answered with, on one connection."""
    host = bridge.url.removeprefix("http://")
    reader, writer = await asyncio.open_connection(*host.split(":"), limit=2**24)
    found = 0
    for _ in range(count):
        path = f"/v1/responses/resp_{secrets.token_hex(24)}"
        head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n\r\n"
        writer.write(head.encode())
        told = await reader.readuntil(b"}}")  # the end of an error's body
        found += told.startswith(b"HTTP/1.1 404 ")
    writer.close()
    return found


@pytest.mark.catalogue("S13")
async def test_ten_thousand_guesses_find_nothing_and_leave_nothing(shared, valkey):
    made = (await turn(shared, A))[-1]["response"]["id"]
    await stored(shared, A, made)
    before = valkey.cli("DBSIZE")
    counts = await asyncio.gather(*(guess(shared, B, 500) for _ in range(20)))
    assert counts == [500] * 20
    assert valkey.cli("DBSIZE") <= before


@pytest.mark.catalogue("S14")
async def test_no_key_stays_for_ever_and_none_says_whose_it_is(shared, valkey):
    valkey.wipe()
    ids = [one for one in await everything(shared, A) if one.startswith("resp_")]
    for one in ids:
        await stored(shared, A, one)
    keys = valkey.cli("KEYS", "*")
    assert len(keys) > len(ids)
    assert [key for key in keys if valkey.cli("TTL", key) < 0] == []
    dump = "".join(map(repr, (valkey.cli("DUMP", key) for key in keys))) + "".join(keys)
    assert A not in dump


@pytest.mark.catalogue("S17")
async def test_what_is_not_to_be_stored_is_in_no_command(shared, valkey):
    rng = random.Random(17)  # noqa: S311 - which turns come when
    clients = [await shared.connect(headers=as_key(key)) for key in (A, B) for _ in range(3)]

    async def talk(client, number):
        last, ids = None, []
        for at in range(12):
            fields = {"previous_response_id": last} if last and rng.random() < 0.5 else {}
            said = f"canary-{number}-{at}"
            events = await client.turn(input=said, store=False, metadata={"k": said}, **fields)
            assert events[-1]["type"] == "response.completed"
            last = events[-1]["response"]["id"]
            ids.append(last)
        return ids

    async with watched(valkey) as commands:
        lives = await asyncio.gather(*map(talk, clients, range(6)))
    ids = [one for life in lives for one in life]
    told = "".join(commands)
    assert len(ids) == 72
    assert [one for one in ids if one in told] == []
    assert "canary" not in told
    assert [line for line in commands if re.search(r":[meoi]:", line)] == []


@pytest.mark.catalogue("S10")
async def test_sixty_keys_at_once_hear_only_themselves(serve, valkey):
    keys = [f"client-key-{number:03}-{secrets.token_hex(4)}" for number in range(60)]
    sections = {"auth": KEYS, "limits": LIMITS, "store": {"url": valkey.url}}
    bridge = await serve(Scripted(says_back), sections, {"KEYS": ",".join(keys)})

    async def live(key):
        """A chain and a conversation; all that is heard, here and from the store."""
        client = await bridge.connect(headers=as_key(key))
        mine, last, heard = f"canary<{key[-8:]}>", {}, []
        for at in range(5):
            lane = {"stream_id": f"lane{at % 2}"} if at % 2 else {}
            events = await client.turn(input=f"{mine} {at}", metadata={"k": mine}, **lane, **last)
            last = {"previous_response_id": events[-1]["response"]["id"]}
            heard += events
        path = f"/v1/responses/{last['previous_response_id']}"
        await stored(bridge, key, last["previous_response_id"])
        for more in ("", "/input_items", "?stream=true"):
            heard.append((await ask(bridge, key, "GET", path + more))[2].decode())
        await client.ws.close()
        return mine, json.dumps(heard)

    lives = await asyncio.gather(*map(live, keys))
    for mine, heard in lives:
        assert set(re.findall(r"canary<\w+>", heard)) == {mine}
        assert heard.count(mine) > 20


@pytest.mark.catalogue("S16")
async def test_nothing_but_health_the_page_and_the_document_is_open_without_a_key(serve):
    bridge = await serve(Scripted(tool_call()), {"auth": KEYS}, {"KEYS": A})
    open_paths = []
    public = ["/", "/healthz", "/readyz", "/openapi.json"]
    for path in (*public, "/metrics", "/debug", "/debug/pprof", "/status"):
        async with bridge.session.get(bridge.url + path) as got:
            if got.status not in (401, 404):
                open_paths.append(path)
    assert open_paths == public
