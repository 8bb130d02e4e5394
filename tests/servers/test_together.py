"""Two servers on one store are one: what runs on one is read, continued and ended on the other."""

import contextlib
import json

import pytest
from peers import OTHER_KEY, Peer, at_provider, next_of, text_of

each_family = pytest.mark.parametrize("family", ["native", "chat", "anthropic"])


@each_family
async def test_a_response_is_polled_and_followed_elsewhere_with_the_same_bytes(pair, fake, family):
    """The follower comes while it runs, and sees what the socket sees before the rest is made."""
    here, there = pair
    model = f"{family}-gate6-together"
    turn = await here.begin(model)
    await fake.reached(at_provider(model))
    heard = await turn.read(until=3)
    async with there.following(heard.id) as lines:
        seen = await next_of(lines, 3)
        assert seen == heard.texts[:3]
        status, response = await there.get(heard.id)
        assert (status, response["status"]) == (200, "in_progress")
        fake.release(at_provider(model))
        seen += [line async for line in lines]
    await turn.read()
    assert heard.texts == seen
    for peer in pair:
        assert await peer.get(heard.id) == (200, heard.last["response"])
        assert await peer.events(heard.id) == heard.texts


async def test_a_response_is_resumed_elsewhere_from_every_tenth_number(pair, fake):
    """While it runs, and once it has ended."""
    here, there = pair
    model = "native-gate110-big200"
    turn = await here.begin(model)
    await fake.reached(at_provider(model))
    heard = await turn.read(until=100)
    async with contextlib.AsyncExitStack() as ends:
        numbers = range(0, 100, 10)
        tails = [
            await ends.enter_async_context(there.following(heard.id, number)) for number in numbers
        ]
        seen = [await next_of(tail, 5) for tail in tails]
        fake.release(at_provider(model))
        for begun, tail in zip(seen, tails, strict=True):
            begun += [line async for line in tail]
    await turn.read()
    assert seen == [heard.texts[number + 1 :] for number in numbers]
    for number in range(-1, len(heard.texts) + 10, 10):
        assert await there.events(heard.id, number) == heard.texts[number + 1 :]


async def test_a_chain_goes_on_elsewhere_and_with_other_providers(pair):
    """Native, then Anthropic, then Chat: the last one hears all of it."""
    here, there = pair
    first = await here.turn("native-text", input="one")
    second = await there.turn("anthropic-text", input="two", previous_response_id=first.id)
    third = await here.turn("chat-echo", input="three", previous_response_id=second.id)
    heard = json.loads(text_of(third.last["response"]))
    said = [
        "one",
        text_of(first.last["response"]),
        "two",
        text_of(second.last["response"]),
        "three",
    ]
    assert [message["role"] for message in heard] == ["user", "assistant"] * 2 + ["user"]
    for words, message in zip(said, heard, strict=True):
        assert words in json.dumps(message)

    path = f"{third.id}/input_items?order=asc"
    listed = await here.get(path)
    assert listed == await there.get(path)
    assert [item["role"] for item in listed[1]["data"]] == ["user", "assistant"] * 2 + ["user"]


async def test_a_long_chain_changes_servers_at_every_turn(pair):
    """Longer than what one record names of its ancestors."""
    last = await pair[0].turn("native-text", input="word 0")
    for number in range(1, 20):
        peer = pair[number % 2]
        last = await peer.turn("native-text", input=f"word {number}", previous_response_id=last.id)
    echo = await pair[0].turn("native-echo", input="end", previous_response_id=last.id)
    heard = text_of(echo.last["response"])
    assert all(f"word {number}" in heard for number in range(20))


@pytest.mark.catalogue("C13")
@each_family
async def test_a_cancel_elsewhere_closes_the_providers_connection(pair, fake, family):
    here, there = pair
    model = f"{family}-gate6-cancelled"
    turn = await here.begin(model)
    heard = await turn.read(until="response.created")
    await fake.reached(at_provider(model))
    closed = fake.live["closed_early"] + 1
    status, response, _ = await there.ask("POST", f"/{heard.id}/cancel")
    await fake.until(lambda: fake.live["closed_early"] >= closed)
    assert (status, response["status"]) == (200, "cancelled")
    await turn.read()
    assert heard.last["response"]["status"] == "cancelled"
    for peer in pair:
        assert await peer.get(heard.id) == (200, heard.last["response"])
        assert await peer.events(heard.id) == heard.texts


async def test_a_background_response_is_cancelled_elsewhere(pair, fake):
    here, there = pair
    response_id = await here.background("native-gate6-background-cancelled")
    await fake.reached(at_provider("native-gate6-background-cancelled"))
    status, response, _ = await there.ask("POST", f"/{response_id}/cancel")
    assert (status, response["status"]) == (200, "cancelled")
    again = await here.ask("POST", f"/{response_id}/cancel")
    assert again[:2] == (200, response)


async def test_a_delete_elsewhere_is_a_delete_everywhere(pair):
    here, there = pair
    heard = await here.turn("native-text")
    status, body, _ = await there.ask("DELETE", f"/{heard.id}")
    assert (status, body["deleted"]) == (200, True)
    for peer in pair:
        for path in (heard.id, f"{heard.id}?stream=true", f"{heard.id}/input_items"):
            assert (await peer.get(path))[0] == 404
        assert (await peer.ask("DELETE", f"/{heard.id}"))[0] == 404
        refused = await peer.turn("native-text", previous_response_id=heard.id)
        assert refused.last["error"]["code"] == "previous_response_not_found"


async def test_a_running_response_is_deleted_elsewhere(pair, fake):
    """Its provider's connection closes, and its socket gets an end."""
    here, there = pair
    model = "native-gate6-deleted"
    turn = await here.begin(model)
    heard = await turn.read(until="response.created")
    await fake.reached(at_provider(model))
    closed = fake.live["closed_early"] + 1
    assert (await there.ask("DELETE", f"/{heard.id}"))[0] == 200
    await fake.until(lambda: fake.live["closed_early"] >= closed)
    await turn.read()
    assert heard.is_over
    assert [(await peer.get(heard.id))[0] for peer in pair] == [404, 404]


async def test_another_key_sees_nothing_anywhere(pair, fake):
    """Running or finished, another key's answer is the answer to an id that never was."""
    here, _ = pair
    done = await here.turn("native-text")
    turn = await here.begin("native-gate6-foreign")
    running = await turn.read(until="response.created")
    for peer in pair:
        async with Peer(peer.bridge, OTHER_KEY) as stranger:
            for heard in (done, running):
                paths = (heard.id, f"{heard.id}?stream=true", f"{heard.id}/input_items")
                answers = [await stranger.get(path) for path in paths]
                answers += [
                    (await stranger.ask(method, path))[:2]
                    for method, path in (
                        ("POST", f"/{heard.id}/cancel"),
                        ("DELETE", f"/{heard.id}"),
                    )
                ]
                unknown = "resp_" + "0" * 48
                same = (await stranger.get(unknown))[1]["error"]
                for status, body in answers:
                    assert status == 404
                    said = json.dumps(body["error"]).replace(heard.id, unknown)
                    assert json.loads(said) == same
                refused = await stranger.turn("native-text", previous_response_id=heard.id)
                assert refused.last["error"]["code"] == "previous_response_not_found"
    fake.release(at_provider("native-gate6-foreign"))
    assert (await turn.read()).last["response"]["status"] == "completed"
