"""A server that dies, freezes or goes leaves nothing unfinished: the other one settles it."""

import json

import pytest
from peers import at_provider, expire, next_of, read_to, text_of

HELLO = "Hello, world! This is a test."
KILLED = {
    "socket": "native-gate8-killed",
    "streamed": "anthropic-gate8-killed",
    "seen": "chat-gate4-killed",
    "again": "native-gate1-killed",
    "own": "own-gate-killed",
}


def creates(fake, model):
    """How often the provider was asked to make something (not how often it was polled)."""
    return len(fake.requests(at_provider(model)))


async def begin_all(here, there, fake):
    """A response of each kind, each at its gate, and its output known to the other server."""
    turn = await here.begin(KILLED["socket"])
    ids = {kind: await here.background(KILLED[kind]) for kind in ("again", "own", "seen")}
    body = {"model": KILLED["streamed"], "input": "hi", "stream": True, "background": True}
    stream = await here.session.post(f"{here.bridge.url}/v1/responses", json=body)
    created = (await stream.content.readuntil(b"\n\n")).partition(b"data: ")[2]
    ids |= {"streamed": json.loads(created)["response"]["id"]}
    for model in KILLED.values():
        await fake.reached(at_provider(model))
    heard = await turn.read(until=7)
    ids |= {"socket": heard.id}
    for kind in ("socket", "streamed", "seen"):
        async with there.following(ids[kind]) as lines:
            await read_to(lines, "response.output_text.delta")
    async with there.following(ids["own"]) as lines:  # the provider's id was written before
        await read_to(lines, "response.in_progress")
    return ids, heard


@pytest.mark.catalogue("W1", "W3", "U17")
async def test_a_killed_servers_responses_reach_their_end_on_the_other(pair, servers, node, fake):
    """One kill, all kinds of responses.

    What had output fails, and keeps it. What was asked for in the background and had none runs
    again, or goes on at the provider that makes it by itself.
    """
    here, there = pair
    ids, heard = await begin_all(here, there, fake)
    async with there.following(heard.id) as lines:
        follower = await next_of(lines, 7)
        await here.bridge.kill()
        expire(node, *ids.values())
        for model in KILLED.values():
            fake.release(at_provider(model))
        follower += [line async for line in lines]
    assert json.loads(follower[-1])["type"] == "response.failed"
    assert follower[: len(heard.texts)] == heard.texts

    for kind in ("socket", "streamed", "seen"):
        response = await there.ended(ids[kind])
        assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
        events = [json.loads(line) for line in await there.events(ids[kind])]
        said = "".join(event.get("delta", "") for event in events)
        assert said == text_of(response) != ""
        assert creates(fake, KILLED[kind]) == 1
    for kind, times in (("again", 2), ("own", 1)):
        response = await there.ended(ids[kind])
        assert (response["status"], text_of(response)) == ("completed", HELLO)
        assert creates(fake, KILLED[kind]) == times
        events = [json.loads(line) for line in await there.events(ids[kind])]
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        kinds = [event["type"] for event in events]
        for once in ("response.created", "response.output_item.added", "response.completed"):
            assert kinds.count(once) == 1

    await servers.bridges[0].start()  # and the server that comes back sees all of it
    await servers.bridges[0].wait_ready()
    assert await here.events(heard.id) == follower
    for response_id in ids.values():
        assert await here.get(response_id) == await there.get(response_id)
        assert await here.events(response_id) == await there.events(response_id)


@pytest.mark.catalogue("W7")
async def test_a_server_frozen_for_longer_than_its_lease_writes_nothing_any_more(pair, node, fake):
    """Its clients never hear of an end that the store does not have.

    Neither where the provider says the rest while it is frozen, nor where it comes later.
    """
    here, there = pair
    late, early = "native-gate8-frozen-late", "native-gate8-frozen-early"
    models = (late, *[early] * 4)
    turns = [await here.begin(model) for model in models]
    for model, turn in zip(models, turns, strict=True):
        await fake.reached(at_provider(model))
        await turn.read(until=7)
    ids = [turn.heard.id for turn in turns]
    here.bridge.freeze()
    expire(node, *ids)
    try:
        ended = [await there.ended(response_id) for response_id in ids]
        logs = [await there.events(response_id) for response_id in ids]
        fake.release(at_provider(early))
    finally:
        here.bridge.thaw()
    assert {response["status"] for response in ended} == {"failed"}
    for turn in turns:
        await turn.read()
    fake.release(at_provider(late))
    for turn, response, log in zip(turns, ended, logs, strict=True):
        last = turn.heard.last
        assert last["type"] == "response.failed"
        assert "taken over" in last["response"]["error"]["message"]
        for peer in pair:
            assert await peer.get(turn.heard.id) == (200, response)
            assert await peer.events(turn.heard.id) == log
    assert (await here.turn("native-text")).last["type"] == "response.completed"


async def test_a_server_that_goes_hands_over_what_nobody_has_seen_output_of(pair, fake):
    """At once, without its lease running out; what had output ends as failed."""
    here, there = pair
    new_model, own_model, seen_model = "native-gate1-gone", "own-gate-gone", "native-gate8-gone"
    new, own = await here.background(new_model), await here.background(own_model)
    seen = await here.background(seen_model)
    for model in (new_model, own_model, seen_model):
        await fake.reached(at_provider(model))
    async with there.following(own) as lines:
        await read_to(lines, "response.in_progress")
    assert await here.bridge.terminate() == 0
    for model in (new_model, own_model, seen_model):
        fake.release(at_provider(model))
    for response_id, model, asked in ((new, new_model, 2), (own, own_model, 1)):
        response = await there.ended(response_id)
        assert (response["status"], text_of(response)) == ("completed", HELLO)
        assert creates(fake, model) == asked
    response = await there.ended(seen)
    assert response["status"] == "failed"
    assert "shut down" in response["error"]["message"]
    assert text_of(response)
