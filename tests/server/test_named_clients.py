"""Clients by name: what they may ask for, whose responses they see, and how their keys end."""

import asyncio
import hashlib

import aiohttp
import pytest
from support.fake_clock import FakeClock
from support.hang import HANG_SECONDS
from support.redis_servers import Node, valkey_binary
from support.scripted_upstream import Scripted, answer, completed, message, opening

from ws_bridge.config import Config, Settings
from ws_bridge.protocol.events import Draft

MODELS = [{"name": name, "model": "openai/m"} for name in ("gpt-*", "other")]
SECRETS = {"A": "key-a", "B": "key-b", "OLD": "key-old"}
CREATE = {"type": "response.create", "model": "gpt-1", "input": "hi"}
NOT_FOUND = "The model 'other' does not exist or is not enabled."


def sha256(key):
    return hashlib.sha256(key.encode()).hexdigest()


def sections(*keys, **more):
    return {"models": MODELS, "keys": list(keys), **more}


A = {"name": "a", "key_env": "A"}
B = {"name": "b", "key_env": "B"}
HASHED = {"name": "a", "sha256": sha256("key-old")}


def change(bridge, given):
    config = Config.model_validate(given, strict=False)
    bridge.commit(bridge.prepare(Settings(config, SECRETS)))


def headers(key):
    return {"Authorization": f"Bearer {key}"}


def connect(one, key="key-a"):
    url = one.url.replace("http", "ws") + "/v1/responses"
    return one.session.ws_connect(url, headers=headers(key))


async def ask(one, method, path, key="key-a", **body):
    """Status, ``Retry-After`` and body."""
    given = {"json": body} if body else {}
    async with one.session.request(method, one.url + path, headers=headers(key), **given) as got:
        return got.status, got.headers.get("Retry-After"), await got.json()


def post(one, key="key-a", **body):
    return ask(one, "POST", "/v1/responses", key, **{"model": "gpt-1", "input": "hi"} | body)


async def turn(socket, **create):
    """The last frame of a turn on a socket."""
    await socket.send_json(CREATE | create)
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            frame = await socket.receive_json()
            if frame["type"] in ("error", "response.completed"):
                return frame


async def closed(socket):
    """The code with which a socket is closed."""
    async with asyncio.timeout(HANG_SECONDS):
        while (await socket.receive()).type is aiohttp.WSMsgType.TEXT:
            pass
    return socket.close_code


async def test_a_model_that_is_not_the_clients_looks_like_none_on_every_transport(serve):
    given = sections(A | {"models": ["gpt-*"]}, B)
    one = await serve(Scripted(answer("x")), given, SECRETS)
    for kind in ({}, {"stream": True}, {"background": True}, {"store": False}):
        status, _, body = await post(one, model="other", **kind)
        assert (status, body["error"]["code"]) == (404, "model_not_found")
        assert body["error"]["message"] == NOT_FOUND
    for path in ("/v1/responses/input_tokens", "/v1/responses/compact"):
        assert (await ask(one, "POST", path, model="other", input="x"))[0] == 404
    assert (await ask(one, "GET", "/v1/models/other"))[0] == 404
    assert (await ask(one, "GET", "/v1/models/gpt-1"))[0] == 200
    async with connect(one) as socket:
        frame = await turn(socket, model="other")
        assert (frame["status"], frame["error"]["code"]) == (404, "model_not_found")
        assert (await turn(socket))["type"] == "response.completed"
    assert (await post(one, "key-b", model="other"))[0] == 200
    names = [
        {model["id"] for model in (await ask(one, "GET", "/v1/models", key))[2]["data"]}
        for key in ("key-a", "key-b")
    ]
    assert names == [names[1] - {"other"}, names[1]]
    assert "other" in names[1]


async def test_a_clients_own_limits_go_before_those_of_all(serve):
    now = FakeClock()
    limits = {"creates_per_minute": 1, "connections_per_key": 1}
    given = sections(A | {"creates_per_minute": 2, "connections": 0}, B, limits=limits)
    one = await serve(Scripted(answer("x")), given, SECRETS, clock=now.clock())
    statuses = [(await post(one))[0] for _ in range(3)]
    others = [(await post(one, "key-b"))[0] for _ in range(2)]
    assert (statuses, others) == ([200, 200, 429], [200, 429])
    async with connect(one), connect(one), connect(one, "key-b"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await connect(one, "key-b")
    assert refused.value.status == 429


async def test_tokens_that_were_used_are_waited_for_on_every_transport(serve):
    now = FakeClock()
    used = {"input_tokens": 60, "output_tokens": 40, "total_tokens": 100}
    ended = Draft("response.completed", {"response": {"output": [], "usage": used}})
    spent = [*opening(), ended]
    given = sections(A | {"tokens_per_minute": 100}, B)
    one = await serve(Scripted(spent), given, SECRETS, clock=now.clock())
    async with connect(one) as socket:
        assert (await turn(socket))["type"] == "response.completed"
        now.advance(15)
        frame = await turn(socket)
        assert (frame["status"], frame["error"]["code"]) == (429, "rate_limit_exceeded")
        assert frame["error"]["headers"] == {"retry-after": "45"}
        for kind in ({}, {"stream": True}, {"background": True}):
            status, after, body = await post(one, **kind)
            assert (status, after) == (429, "45")
            assert body["error"]["code"] == "rate_limit_exceeded"
            assert "(100 per minute)" in body["error"]["message"]
        assert (await post(one, "key-b"))[0] == 200
        now.advance(45)
        assert (await turn(socket))["type"] == "response.completed"


async def test_two_keys_of_one_name_see_the_same_and_another_name_nothing(serve):
    one = await serve(Scripted(answer("x")), sections(A, HASHED, B), SECRETS)
    made = (await post(one, "key-a"))[2]["id"]
    held = (await ask(one, "POST", "/v1/conversations", "key-old", items=[]))[2]["id"]
    for key, status in (("key-a", 200), ("key-old", 200), ("key-b", 404)):
        for path in (
            *(f"/v1/responses/{made}", f"/v1/responses/{made}/input_items"),
            *(f"/v1/conversations/{held}", f"/v1/conversations/{held}/items"),
        ):
            assert (await ask(one, "GET", path, key))[0] == status
        follows = await post(one, key, previous_response_id=made)
        assert follows[0] == (200 if status == 200 else 400)
    async with connect(one, "key-old") as socket:
        assert (await turn(socket, previous_response_id=made))["type"] == "response.completed"
    assert (await ask(one, "DELETE", f"/v1/responses/{made}", "key-b"))[0] == 404
    assert (await ask(one, "DELETE", f"/v1/responses/{made}", "key-old"))[0] == 200


@pytest.fixture(scope="module")
def node():
    with Node(valkey_binary()) as one:
        yield one


@pytest.mark.parametrize("moved", [{"name": "a", "key_env": "OLD"}, HASHED])
@pytest.mark.parametrize("is_shared", [False, True], ids=["memory", "redis"])
async def test_a_key_that_gets_a_name_still_owns_what_it_has_made(serve, node, moved, is_shared):
    """Also if only its hash is known: with its next request. A socket goes on."""
    store = {"store": {"url": node.url}} if is_shared else {}
    short = {"models": MODELS, "auth": {"keys_env": ["OLD"]}, **store}
    one = await serve(Scripted(answer("x")), short, SECRETS)
    made = (await post(one, "key-old"))[2]["id"]
    held = (await ask(one, "POST", "/v1/conversations", "key-old", items=[]))[2]["id"]
    async with connect(one, "key-old") as socket:
        first = (await turn(socket))["response"]["id"]
        change(one.bridge, sections(A, moved, B, **store))
        assert (await ask(one, "GET", f"/v1/responses/{made}", "key-old"))[0] == 200
        assert (await ask(one, "GET", f"/v1/conversations/{held}", "key-old"))[0] == 200
        follows = await turn(socket, previous_response_id=first)
        assert follows["type"] == "response.completed"
        change(one.bridge, sections(A, moved, B, **store))  # what was learned stays known
        assert (await turn(socket, previous_response_id=made))["type"] == "response.completed"
    assert (await ask(one, "GET", f"/v1/responses/{made}", "key-a"))[0] == 200
    assert (await ask(one, "GET", f"/v1/responses/{made}", "key-b"))[0] == 404


async def test_a_key_that_is_changed_in_mid_chain_leaves_the_chain_to_the_next(serve):
    one = await serve(Scripted(answer("x")), sections(HASHED, B), SECRETS)
    async with connect(one, "key-old") as before:
        made = (await turn(before, store=False))["response"]["id"]
        change(one.bridge, sections(HASHED, A, B))
        assert (await turn(before, previous_response_id=made))["type"] == "response.completed"
        last = (await turn(before))["response"]["id"]
        change(one.bridge, sections(A, B))
        assert await closed(before) == 1008
    async with connect(one, "key-a") as after:
        follows = await turn(after, previous_response_id=last)
        assert follows["type"] == "response.completed"
    assert (await post(one, "key-old"))[0] == 401


async def test_a_key_that_expires_closes_its_sockets_when_it_does(serve):
    """Those of another key of the same name stay."""
    clock, gate = FakeClock(), asyncio.Event()
    script = [*opening(), *message("x")[:3], gate, *message("x")[3:], completed()]
    expiring = HASHED | {"expires": "1970-01-01T00:20:00Z"}  # it is 00:16:40
    given = sections(A, expiring, B)
    one = await serve(Scripted(script), given, SECRETS, clock=clock.clock())
    async with connect(one, "key-old") as ends, connect(one, "key-a") as stays:
        await ends.send_json(CREATE)
        made = (await ends.receive_json())["response"]["id"]
        for _ in range(4):
            clock.advance(49)
            assert (await ask(one, "GET", "/v1/models", "key-old"))[0] == 200
        assert not ends.closed
        clock.advance(4)
        assert await closed(ends) == 1008
        status, _, body = await ask(one, "GET", "/v1/models", "key-old")
        assert (status, body["error"]["code"]) == (401, "invalid_api_key")
        gate.set()
        assert (await turn(stays))["type"] == "response.completed"
        async with asyncio.timeout(HANG_SECONDS):  # it ran on, as `on_disconnect` says
            while (await ask(one, "GET", f"/v1/responses/{made}"))[2]["status"] != "completed":
                pass


async def test_a_key_that_expires_sooner_after_a_reload_does_so(serve):
    clock = FakeClock()
    given = sections(A, HASHED | {"expires": "1980-01-01T00:00:00Z"})
    one = await serve(Scripted(answer("x")), given, SECRETS, clock=clock.clock())
    async with connect(one, "key-old") as ends:
        change(one.bridge, sections(A, HASHED | {"expires": "1970-01-01T00:16:41Z"}))
        assert (await ask(one, "GET", "/v1/models", "key-old"))[0] == 200
        clock.advance(2)
        assert await closed(ends) == 1008
