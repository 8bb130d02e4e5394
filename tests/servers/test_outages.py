"""A store that is away, slow or empty stops no stream, and nothing is reported that is not so."""

import asyncio
import contextlib
import json

import pytest
from peers import Peer, at_provider, knows_the_end, next_of, text_of, until

STREAMS, FOLLOWED = 20, 4


@pytest.fixture
def servers(own_servers):
    """Here it is to be known soon that the store is away."""
    return own_servers


@pytest.fixture
async def calm(servers):
    """Clients of both servers who come back when they are told that the store is away."""
    first, second = servers.bridges
    async with Peer(first, comes_back=True) as one, Peer(second, comes_back=True) as other:
        yield one, other


@contextlib.asynccontextmanager
async def freeze(node):
    """The store answers nothing; connections stand."""
    node.freeze()
    try:
        yield
    finally:
        node.thaw()


@contextlib.asynccontextmanager
async def crash(node):
    """The store dies, and comes back with what its log on disk has."""
    await asyncio.to_thread(node.kill)
    try:
        yield
    finally:
        await asyncio.to_thread(node.start)


@contextlib.asynccontextmanager
async def wipe(node):
    """The store forgets everything."""
    await asyncio.to_thread(node.wipe)
    yield


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(freeze, marks=pytest.mark.catalogue("R3")),
        pytest.param(crash, marks=pytest.mark.catalogue("R2")),
        pytest.param(wipe, marks=pytest.mark.catalogue("R6")),
    ],
)
async def test_live_streams_do_not_feel_a_fault_of_the_store(pair, calm, node, fake, fault):
    """They go on while it lasts, stored or not; half of them end before it does.

    Afterwards both servers have, byte for byte, what each socket has seen.
    """
    before = await pair[0].turn("native-text")
    short, long = (f"native-gate15-{fault.__name__}-{kind}" for kind in ("big30", "gate90-big120"))
    turns = [await pair[n % 2].begin((long, short)[n % 2]) for n in range(STREAMS)]
    unstored = [await peer.begin(long, store=False) for peer in pair]
    for turn in (*turns, *unstored):
        await turn.read(until=12)
    async with contextlib.AsyncExitStack() as ends:
        followers = []
        for number, turn in enumerate(turns[:FOLLOWED]):
            other = pair[(number + 1) % 2]
            lines = await ends.enter_async_context(other.following(turn.heard.id))
            followers.append(follow(lines, await next_of(lines, 12)))
        following = asyncio.gather(*followers)
        async with fault(node):
            for model in (short, long):
                fake.release(at_provider(model))
            await asyncio.gather(*(turn.read() for turn in turns[1::2]))
            await asyncio.gather(*(turn.read(until=80) for turn in (*turns[::2], *unstored)))
        fake.release(at_provider(long), 2)
        heard = await asyncio.gather(*(turn.read() for turn in (*turns, *unstored)))
        seen = await following
    await all_is_kept(calm, heard[:STREAMS])
    for peer in calm:
        assert (await peer.get(before.id))[0] == (404 if fault is wipe else 200)
    for one, lines in zip(heard, seen, strict=False):
        # Where the store has forgotten the response, its follower may be let go early: it resumes.
        assert lines == one.texts[: len(lines)]
        assert fault is wipe or len(lines) == len(one.texts)


async def all_is_kept(calm, heard):
    """Every stream was whole, and is the same on both servers when they know of its end."""
    for number, one in enumerate(heard):
        numbers = [json.loads(text)["sequence_number"] for text in one.texts]
        assert numbers == list(range(len(one.texts)))
        assert one.last["type"] == "response.completed"
        other = calm[(number + 1) % 2]
        await until(lambda other=other, one=one: knows_the_end(other, one.id))
        for peer in calm:
            assert await peer.get(one.id) == (200, one.last["response"])
            assert await peer.events(one.id) == one.texts


async def follow(lines, seen):
    """All that is told, from what was seen on."""
    return seen + [line async for line in lines]


@contextlib.asynccontextmanager
async def away(node, how):
    """The store is dead or frozen inside, and answers again afterwards."""
    if how == "dead":
        await asyncio.to_thread(node.kill)
    else:
        node.freeze()
    try:
        yield
    finally:
        if how == "dead":
            await asyncio.to_thread(node.start)
        else:
            node.thaw()


@pytest.mark.catalogue("R24")
@pytest.mark.parametrize("how", ["dead", "frozen"])
async def test_without_its_store_a_server_serves_what_it_can(pair, calm, node, fake, how):
    """Reading and background are refused for now; turns go on, and are stored when it is back."""
    here = pair[0]
    kept = await here.turn("native-text")
    async with away(node, how):
        for method, path, body in (
            ("GET", f"/{kept.id}", {}),
            ("GET", f"/{kept.id}?stream=true", {}),
            ("GET", f"/{kept.id}/input_items", {}),
            ("POST", f"/{kept.id}/cancel", {}),
            ("DELETE", f"/{kept.id}", {}),
            ("POST", "", {"model": "native-text", "input": "hi", "background": True}),
        ):
            status, answer, headers = await here.ask(method, path, **body)
            assert (status, answer["error"]["code"]) == (503, "store_unavailable"), (method, path)
            assert int(headers["Retry-After"]) >= 1
        for peer in pair:
            turn = await peer.begin("native-gate6-degraded-" + how)
            heard = await turn.read(until="response.created")
            fake.release(at_provider("native-gate6-degraded-" + how))
            assert (await turn.read()).last["type"] == "response.completed"
        unstored = await here.turn("native-text", store=False)
        assert unstored.last["type"] == "response.completed"
        chained = await here.turn("native-text", previous_response_id=kept.id)
        assert chained.last["error"]["code"] == "store_unavailable"
        for peer in pair:
            await until(lambda peer=peer: lacks(peer, ["store"]))
            assert await peer.status("/readyz") == 200  # each serves, so no balancer drops it
    for peer in calm:
        await until(lambda peer=peer: lacks(peer, None))
        await until(lambda peer=peer: knows_the_end(peer, heard.id))
        assert await peer.get(heard.id) == (200, heard.last["response"])
        assert await peer.events(heard.id) == heard.texts
    assert (await calm[0].get(unstored.id))[0] == 404
    onward = await here.turn("native-echo", previous_response_id=heard.id)
    assert text_of(heard.last["response"]) in text_of(onward.last["response"])


async def lacks(peer, parts) -> bool:
    """Whether it says that these parts are missing."""
    async with peer.session.get(peer.bridge.url + "/readyz") as answer:
        return (await answer.json()).get("missing") == parts
