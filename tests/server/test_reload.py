"""New settings in a running server: what runs goes on, what begins has the new ones."""

import asyncio

import aiohttp
import pytest
from support.fake_clock import FakeClock
from support.scripted_upstream import Scripted, answer, completed, message, opening

from ws_bridge.config import Config, Settings

M = {"name": "m", "model": "openai/m", "api_key_env": "P"}
KEYED = {"auth": {"keys_env": ["A", "B"]}, "models": [M]}
SECRETS = {"A": "key-a", "B": "key-b", "P": "provider-1"}
CREATE = {"type": "response.create", "model": "m", "input": "hi"}


def change(bridge, sections=KEYED, **secrets):
    """Give a bridge other settings, as its process does."""
    config = Config.model_validate(sections, strict=False)
    bridge.commit(bridge.prepare(Settings(config, SECRETS | secrets)))


def headers(key):
    return {"Authorization": f"Bearer {key}"}


def connect(one, key="key-a"):
    url = one.url.replace("http", "ws") + "/v1/responses"
    return one.session.ws_connect(url, headers=headers(key))


async def received(socket, until):
    """The types of the frames up to one of that type."""
    types = []
    while until not in types:
        types.append((await socket.receive_json())["type"])
    return types


async def post(one, key="key-a", model="m"):
    create = {"model": model, "input": "hi"}
    async with one.session.post(
        one.url + "/v1/responses", json=create, headers=headers(key)
    ) as got:
        return got.status


def held(gate):
    return [*opening(), *message("so", "far")[:3], gate, *message("so", "far")[3:], completed()]


async def test_a_turn_that_runs_goes_on_and_the_next_one_has_the_new_table(serve):
    gate = asyncio.Event()
    upstream = Scripted(held(gate), answer("two"))
    one = await serve(upstream, KEYED, SECRETS)
    async with connect(one) as socket:
        await socket.send_json(CREATE)
        await received(socket, "response.output_text.delta")
        change(one.bridge, P="provider-2")
        gate.set()
        await received(socket, "response.completed")
        await socket.send_json(CREATE)
        await received(socket, "response.completed")
    assert [request.target.api_key for request in upstream.requests] == ["provider-1", "provider-2"]
    assert [target.api_key for target in upstream.targets] == ["provider-2"]


async def test_a_model_comes_and_goes(serve):
    one = await serve(Scripted(answer("x")), KEYED, SECRETS)
    assert (await post(one), await post(one, model="n")) == (200, 404)
    change(one.bridge, KEYED | {"models": [M | {"name": "n"}]})
    assert (await post(one), await post(one, model="n")) == (404, 200)
    async with one.session.get(one.url + "/v1/models", headers=headers("key-a")) as got:
        assert [model["id"] for model in (await got.json())["data"]] == ["n"]


async def test_only_the_sockets_of_a_revoked_key_are_closed(serve):
    gate = asyncio.Event()
    one = await serve(Scripted(held(gate)), KEYED, SECRETS)
    async with connect(one, "key-a") as kept, connect(one, "key-b") as revoked:
        for socket in (kept, revoked):
            await socket.send_json(CREATE)
            await received(socket, "response.output_text.delta")
        change(one.bridge, KEYED | {"auth": {"keys_env": ["A"]}})
        while (frame := await revoked.receive()).type is aiohttp.WSMsgType.TEXT:
            assert "output_text" not in frame.data
        assert revoked.close_code == 1008
        gate.set()
        assert "response.completed" in await received(kept, "response.completed")
    assert (await post(one, "key-a"), await post(one, "key-b")) == (200, 401)


@pytest.mark.parametrize(("ends", "status"), [("finish", "completed"), ("cancel", "cancelled")])
async def test_a_running_response_of_a_revoked_key_ends_as_on_disconnect_says(serve, ends, status):
    gate = asyncio.Event()
    sections = KEYED | {"server": {"on_disconnect": ends}}
    one = await serve(Scripted(held(gate)), sections, SECRETS)
    async with connect(one, "key-b") as socket:
        await socket.send_json(CREATE)
        created = await socket.receive_json()
        await received(socket, "response.output_text.delta")
        change(one.bridge, sections | {"auth": {"keys_env": ["A"]}})
        while (await socket.receive()).type is aiohttp.WSMsgType.TEXT:
            pass
    change(one.bridge, sections)  # the key is given back: its response is still there
    gate.set()
    found = {"status": ""}
    path = f"{one.url}/v1/responses/{created['response']['id']}"
    while found["status"] not in ("completed", "cancelled"):
        async with one.session.get(path, headers=headers("key-b")) as got:
            found = await got.json()
    assert found["status"] == status


async def test_a_socket_that_ends_at_its_age_is_closed_at_once_when_its_key_is_revoked(serve):
    hands, gate = FakeClock(), asyncio.Event()
    one = await serve(Scripted(held(gate)), KEYED, SECRETS, clock=hands.clock())
    async with connect(one, "key-b") as socket:
        await socket.send_json(CREATE)
        await received(socket, "response.output_text.delta")
        hands.advance(3599)
        hands.advance(1)
        await socket.send_str("{")
        await received(socket, "error")
        (open_socket,) = one.bridge._sockets._open
        assert open_socket._closing is not None  # it waits for the end of its turn
        change(one.bridge, KEYED | {"auth": {"keys_env": ["A"]}})
        while (await socket.receive()).type is aiohttp.WSMsgType.TEXT:
            pass
        assert socket.close_code == 1008


async def test_keys_are_introduced_and_removed(serve):
    one = await serve(Scripted(answer("x")), {"models": [M]}, SECRETS)
    async with connect(one) as socket:
        change(one.bridge)
        while (await socket.receive()).type is aiohttp.WSMsgType.TEXT:
            pass
        assert socket.close_code == 1008
    assert (await post(one, "key-a"), await post(one, "none")) == (200, 401)
    change(one.bridge, {"models": [M]})
    assert await post(one, "none") == 200


async def test_an_origin_is_allowed_at_once(serve):
    one = await serve(Scripted(answer("x")), KEYED, SECRETS)
    page = headers("key-a") | {"Origin": "https://app.example"}

    async def status():
        async with one.session.get(one.url + "/v1/models", headers=page) as got:
            return got.status

    assert await status() == 403
    change(one.bridge, KEYED | {"server": {"allowed_origins": ["https://app.example"]}})
    assert await status() == 200


async def test_limits_hold_for_what_comes_next_and_counts_stay(serve):
    unlimited = KEYED | {"limits": {"creates_per_minute": 0}}
    two, three = (KEYED | {"limits": {"creates_per_minute": most}} for most in (2, 3))
    one = await serve(Scripted(answer("x")), two, SECRETS)
    assert [await post(one) for _ in range(3)] == [200, 200, 429]
    change(one.bridge, three)
    assert [await post(one) for _ in range(2)] == [200, 429]
    change(one.bridge, unlimited)
    assert [await post(one) for _ in range(2)] == [200, 200]
    change(one.bridge, two)
    assert await post(one) == 429


async def test_a_limit_of_json_holds_for_the_next_request(serve):
    one = await serve(Scripted(answer("x")), KEYED, SECRETS)
    change(one.bridge, KEYED | {"limits": {"json_depth": 1}})
    create = {"model": "m", "input": [{"role": "user", "content": "hi"}]}
    async with one.session.post(
        one.url + "/v1/responses", json=create, headers=headers("key-a")
    ) as got:
        assert got.status == 400


async def test_settings_that_are_prepared_and_not_committed_change_nothing(serve):
    one = await serve(Scripted(answer("x")), KEYED, SECRETS)
    prepared = one.bridge.prepare(Settings(Config(), {}))
    assert prepared.config == Config()
    assert await post(one) == 200


async def test_a_cooldown_ends_with_the_settings_that_it_began_under(serve):
    one = await serve(Scripted(answer("x")), KEYED, SECRETS)
    health = one.bridge._answers._health
    target = one.bridge._models.find("m")
    health.acquire(target)
    health.record_failure(target, 3600.0)
    health.release(target)
    other = one.bridge._models.find("m")
    change(one.bridge)
    state = health._states[(other.maker, other.model)]
    assert state.ready_at == 0.0
