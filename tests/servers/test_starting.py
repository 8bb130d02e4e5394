"""A server starts without its store, but not with one that it can never use."""

import asyncio

import pytest
from peers import Peer, knows_the_end, until
from support.fleet import Bridge, Fresh
from support.redis_servers import Node, valkey_binary

SECRET = "a-very-secret-word"  # noqa: S105 - opens nothing
DEMO = {"name": "demo", "model": "demo/demo", "drop_params": True}


def config_of(url, **store):
    return {"store": {"url": url, **store}, "models": [DEMO]}


@pytest.mark.catalogue("W18")
async def test_a_server_starts_without_its_store_says_so_and_heals_alone():
    """It lives, is not ready, serves what needs no store; and is ready when the store comes."""
    store = Node(valkey_binary())
    async with Fresh(config_of(store.url)) as bridge, Peer(bridge) as peer:
        assert "store_unreachable" in bridge.log()
        assert await peer.status("/healthz") == 200
        await until(lambda: opened(bridge))
        async with peer.session.get(bridge.url + "/readyz") as answer:
            assert answer.status == 503
            assert await answer.json() == {"status": "not ready", "missing": ["store"]}
        turn = await peer.turn("demo", store=False)
        assert turn.last["type"] == "response.completed"
        stored = await peer.turn("demo")
        assert stored.last["type"] == "response.completed"
        status, body = await peer.get(stored.id)
        assert (status, body["error"]["code"]) == (503, "store_unavailable")
        with store:
            await bridge.wait_ready()
            await until(lambda: knows_the_end(peer, stored.id))
            assert await peer.get(stored.id) == (200, stored.last["response"])
            assert await peer.events(stored.id) == stored.texts


async def opened(bridge) -> bool:
    """Whether its upstream has come in."""
    return " ready" in bridge.log()


async def refused(config, environ=None) -> str:
    """What a server says that ends with exit code 2 instead of listening."""
    bridge = Bridge(config, environ)
    try:
        with pytest.raises(AssertionError, match="it ended with 2"):
            await bridge.start()
        return bridge.log()
    finally:
        bridge.close()


@pytest.mark.catalogue("R20")
async def test_a_wrong_password_is_one_line_that_names_the_key():
    """Whether it stands in the URL or in a variable."""
    with Node(valkey_binary(), password="right") as node:  # noqa: S106 - a test's own
        bare = f"redis://{node.address}"
        said = await asyncio.gather(
            refused(config_of(bare.replace("//", f"//:{SECRET}@"))),
            refused(config_of(bare, password_env="WORD"), {"WORD": SECRET}),  # noqa: S106 - a name
        )
    for text in said:
        assert is_one_line(text), text


async def test_a_malformed_url_is_one_line_that_names_the_key():
    """Its password is not said, wherever the mistake is."""
    urls = (
        f"redis://:{SECRET}@[::1",
        f"mongodb://:{SECRET}@host",
    )
    for text in await asyncio.gather(*(refused(config_of(url)) for url in urls)):
        assert is_one_line(text), text


def is_one_line(said: str) -> bool:
    """Of the form of the command line's errors, and without the password."""
    line = said.removesuffix("\n")
    is_so = line.startswith("ws-bridge: ") and "\n" not in line and "store.url" in line
    return is_so and SECRET not in line


@pytest.mark.catalogue("A14")
async def test_a_secret_that_does_not_open_the_store_is_one_line_that_names_the_key():
    """And the right one opens it, beside a new one too: all that was said is readable."""
    right, wrong = "r" * 32, "w" * 32
    with Node(valkey_binary()) as node:
        config = config_of(node.url, encrypt_with_env="ENCRYPT")
        async with Fresh(config, {"ENCRYPT": right}) as bridge, Peer(bridge) as peer:
            await bridge.wait_ready()
            turn = await peer.turn("demo", input="My dog is Rex.")
        for tried, environ in ((config, {"ENCRYPT": wrong}), (config_of(node.url), {})):
            log = await refused(tried, environ)
            lines = [line for line in log.splitlines() if "encrypt_with_env" in line]
            assert len(lines) == 1
            assert "another secret" in lines[0]
            assert "Traceback" not in log
            assert wrong not in log
        async with Fresh(config, {"ENCRYPT": f"{wrong},{right}"}) as bridge, Peer(bridge) as peer:
            await bridge.wait_ready()
            assert await peer.get(turn.id) == (200, turn.last["response"])
            assert await peer.events(turn.id) == turn.texts
            after = await peer.turn("demo", previous_response_id=turn.id, input="my dog?")
            assert after.last["type"] == "response.completed"
