"""A server that is asked to end: nobody loses anything that could be finished in its time."""

import asyncio
import contextlib

import pytest
from peers import CLIENT_KEYS, Peer, at_provider, config_of, text_of, until
from support.fleet import Bridge

SOCKETS = 20


def leases(node):
    """How many responses are somebody's to finish."""
    return sum(node.cli("ZCARD", key) for key in node.cli("KEYS", "wb1:*:l"))


async def closed(socket):
    """The code that the server closes the socket with; whatever it says before is read over."""
    async for _ in socket:
        pass
    return socket.close_code


async def to_the_end(turn):
    """Read a turn, and what its socket is closed with."""
    await turn.read()
    return await closed(turn._socket)


@pytest.mark.catalogue("W10")
async def test_a_drain_sends_idle_sockets_away_and_lets_what_streams_finish(servers, fake, node):
    """Exit code 0, no lease left, no event lost; all sockets are told to come back (1012)."""
    model = "native-gate8-drained"
    config = config_of(fake, node.url) | {"server": {"drain_seconds": 3600}}
    async with Bridge(config, CLIENT_KEYS) as bridge, Peer(bridge) as peer:
        await bridge.wait_ready()
        idle = [await peer.session.ws_connect(bridge.ws_url) for _ in range(SOCKETS)]
        turns = [await peer.begin(model) for _ in range(SOCKETS)]
        for turn in turns:
            await turn.read(until=7)
        ending = asyncio.create_task(bridge.terminate())
        assert {await closed(socket) for socket in idle} == {1012}
        fake.release(at_provider(model))
        assert set(await asyncio.gather(*map(to_the_end, turns))) == {1012}
        assert await ending == 0
        heard = [turn.heard for turn in turns]
        assert {one.last["type"] for one in heard} == {"response.completed"}
        async with Peer(servers.bridges[0]) as other:
            for one in heard:
                assert await other.events(one.id) == one.texts
        assert leases(node) == 0


@pytest.mark.catalogue("W11")
async def test_what_outlasts_the_drain_ends_as_failed_with_what_it_had_said(pair, fake, node):
    """On its socket, and for everybody who reads it afterwards."""
    here, there = pair
    model = "native-gate8-outlasts"
    turns = [await here.begin(model) for _ in range(3)]
    for turn in turns:
        await turn.read(until=7)
    codes = [asyncio.create_task(to_the_end(turn)) for turn in turns]
    assert await here.bridge.terminate() == 0
    assert await asyncio.gather(*codes) == [1012] * len(turns)
    for turn in turns:
        last = turn.heard.last
        assert last["type"] == "response.failed"
        assert "shut down" in last["response"]["error"]["message"]
        assert text_of(last["response"])
        assert await there.get(turn.heard.id) == (200, last["response"])
        assert await there.events(turn.heard.id) == turn.heard.texts
    assert leases(node) == 0
    fake.release(at_provider(model))


@pytest.mark.catalogue("W12")
async def test_a_second_signal_ends_what_streams_at_once(fake, node):
    """However long the drain may last, and whether or not a client answers the close."""
    model = "native-gate8-hurry"
    config = config_of(fake, node.url) | {"server": {"drain_seconds": 3600}}
    async with Bridge(config, CLIENT_KEYS) as bridge, Peer(bridge) as peer:
        await bridge.wait_ready()
        deaf = await peer.session.ws_connect(bridge.ws_url, autoclose=False)
        turn = await peer.begin(model)
        await turn.read(until=7)
        known = len(bridge.log())
        ending = asyncio.create_task(bridge.terminate())
        await until(lambda: said(bridge, "draining", known))
        with contextlib.suppress(ProcessLookupError):
            bridge._process._popen.terminate()
        assert (await turn.read()).last["type"] == "response.failed"
        assert await ending == 0
        assert leases(node) == 0
        assert deaf.close_code is None  # it has not read a thing
    fake.release(at_provider(model))


async def said(bridge, word, since):
    return word in bridge.log()[since:]
