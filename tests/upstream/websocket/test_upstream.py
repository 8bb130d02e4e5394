"""Native: one create over a provider's own WebSocket, and its events, on real sockets."""

import asyncio
import itertools
import json
import random
from dataclasses import replace

import pytest
from support.answers import events_of
from support.event_checker import check_events
from support.turned_loop import silence
from upstreams.asking import HELLO, KEY, Pauses, ask, request
from upstreams.native import error_frame, target
from upstreams.responses import CREATED_AT
from upstreams.sockets import Accident

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import COMPLETED, LIFECYCLE, TERMINAL
from ws_bridge.protocol.references import response_of
from ws_bridge.protocol.response import Envelope
from ws_bridge.upstream.base import COMPLETE
from ws_bridge.upstream.dialects.event_reader import UNREADABLE
from ws_bridge.upstream.errors import NeverBegan, ProviderRefused
from ws_bridge.upstream.websocket.upstream import WebSocketUpstream

SILENCE = 100.0  # of a provider, at most
LOST = "The connection to the model provider was lost."


async def test_one_create_is_one_frame_with_the_requests_options(fake, native):
    asked = request(target(fake), temperature=0.5, instructions="be brief")
    result = await ask(replace(asked, store=True), native)
    assert (result.error, result.text) == (None, "Hello, world! This is a test.")
    assert fake.creates() == [
        {
            "type": "response.create",
            "model": "gpt-text",
            "input": [HELLO],
            "store": True,
            "temperature": 0.5,
            "instructions": "be brief",
        }
    ]
    assert fake.handshakes[0]["Authorization"] == f"Bearer {KEY}"
    assert not [name for name in fake.handshakes[0] if name.lower().startswith("openai-o")]


async def test_the_handshake_says_for_whom_requests_are(fake, native, monkeypatch):
    monkeypatch.setenv("OPENAI_ORGANIZATION", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT", "proj-1")
    await ask(request(target(fake)), native)
    told = {name.lower(): value for name, value in fake.handshakes[0].items()}
    assert (told["openai-organization"], told["openai-project"]) == ("org-1", "proj-1")


SCENARIOS = """text reasoning rawreasoning tools rtools refusal annot logprobs phase image custom
    x-ci mcp incomplete""".split()


SPELLINGS = {
    "spaced": json.dumps,
    "tight": lambda event: json.dumps(event, separators=(",", ":"), ensure_ascii=False),
    "reversed": lambda event: json.dumps(dict(reversed(event.items()))),
    "padded": lambda event: " " + json.dumps(event, separators=(" , ", " : ")) + " ",
}


def as_ours(text, spelling, number, lane, theirs):
    """The provider's frame as a client must see it, made by replacing the known words only."""
    comma, colon = {"tight": (",", ":"), "padded": (" , ", " : ")}.get(spelling, (", ", ": "))

    def member(key, value):
        return json.dumps(key) + colon + json.dumps(value)

    their_lane, our_lane = member("stream_id", "lane-0"), member("stream_id", "main")
    if lane and their_lane in text:
        text = text.replace(their_lane, our_lane)
    elif lane:
        text = text.replace("{", '{"stream_id":"main",', 1)
    else:
        first, last = their_lane + comma, comma.lstrip() + their_lane
        text = text.replace(first, "") if first in text else text.replace(last, "")
    original = member("sequence_number", json.loads(text)["sequence_number"])
    assert text.count(original) == 1
    text = text.replace(original, member("sequence_number", number))
    if theirs not in text:
        return text
    text = text.replace(member("id", theirs), member("id", "resp_ours"), 1)
    return text.replace(
        member("previous_response_id", None), member("previous_response_id", "resp_parent"), 1
    )


@pytest.mark.parametrize("ends", [*itertools.product([1, 4], [None, "main"])])
@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_every_byte_is_the_providers_but_ids_number_and_lane(
    fake, native, scenario, spelling, ends
):
    lanes, lane = ends
    fake.spelling = SPELLINGS[spelling]
    trap = {"stream_id": "a", "id": "b", "previous_response_id": "c", "sequence_number": "4"}
    result = await ask(request(target(fake, scenario, ws_lanes=lanes), metadata=trap), native)
    options = {"metadata": trap}
    envelope = Envelope("resp_ours", "m", CREATED_AT, options, "resp_parent")
    events = events_of(result.drafts, envelope, lane)
    ((theirs, sent),) = fake.sent.items()
    for number, (event, text) in enumerate(zip(events, sent, strict=True)):
        if event.type in LIFECYCLE:  # its response is made whole
            assert event.json()["response"]["id"] == "resp_ours"
        else:
            assert event.text.decode() == as_ours(text.decode(), spelling, number, lane, theirs)
    assert [event.json()["sequence_number"] for event in events] == list(range(len(sent)))


def nameless(event):
    """The event without the ids of its items."""
    item = {key: each for key, each in event.get("item", {}).items() if key != "id"}
    return json.dumps({**event, "item_id": None, **({"item": item} if item else {})})


async def test_an_item_that_the_provider_did_not_name_is_named_after_its_response(fake, native):
    fake.spelling = nameless
    asked = replace(request(target(fake)), response_id="resp_" + "a" * 48)
    result = await ask(asked, native)
    named = {draft.fields["item"]["id"] for draft in result.drafts if "item" in draft.fields}
    assert [response_of(item_id) for item_id in named] == [asked.response_id]


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_every_scenario_is_a_strict_stream(fake, native, scenario):
    result = await ask(request(target(fake, scenario)), native)
    assert check_events([event.json() for event in events_of(result.drafts)]) == []


async def test_a_failed_response_is_its_providers_error(fake, native):
    result = await ask(request(target(fake, "failed")), native)
    assert result.drafts[-1].type not in TERMINAL
    theirs = json.loads(next(iter(fake.sent.values()))[-1])["response"]["error"]
    assert result.error.message == theirs["message"]


async def test_a_pretty_printed_frame_becomes_one_line(fake, native):
    fake.spelling = lambda event: json.dumps(event, indent=2)
    result = await ask(request(target(fake)), native)
    events = events_of(result.drafts, Envelope("resp_ours", "m", 1))
    assert not any(b"\n" in event.text for event in events)
    assert events[-1].json()["response"]["id"] == "resp_ours"


async def test_all_frames_that_wait_are_one_batch(fake, native):
    """A slow reader gets them with one read, the last one is terminal, and nothing follows."""
    answer = await native.open(request(target(fake)))
    [lane] = native._pool._connections[0].lanes
    while lane.is_running:  # noqa: ASYNC110 - the connection's own task delivers
        await asyncio.sleep(0)
    batch = await answer.read()
    assert [draft.text for draft in (*answer.first, *batch)] == fake.passed_on()
    assert batch[-1].type == COMPLETED
    assert await answer.read() is None
    await answer.close(COMPLETE)


async def read_into(drafts, answer):
    while (batch := await answer.read()) is not None:
        drafts += batch


async def test_drafts_before_a_failure_are_read_before_it(fake, native):
    fake.accidents["gpt-text"].append(Accident(4, "abort"))
    answer = await native.open(request(target(fake)))
    [connection] = native._pool._connections
    await connection.wait_until_closed()
    drafts = [*answer.first]
    with pytest.raises(UpstreamError, match="lost"):
        await read_into(drafts, answer)
    assert len(drafts) == 4
    await answer.close()


async def test_an_error_after_the_first_event_ends_the_response(fake, native):
    fake.accidents["gpt-text"].append(Accident(3, error_frame(500, "server_error")))
    result = await ask(request(target(fake)), native)
    assert len(result.drafts) == 3
    assert result.error.status == 500


LOSSES = ["abort", 1000, 1011, 1013, b"binary"]


@pytest.mark.parametrize("how", LOSSES)
async def test_a_loss_before_the_first_event_never_began(fake, native, how):
    fake.accidents["gpt-text"].append(Accident(0, how))
    result = await ask(request(target(fake)), native)
    assert isinstance(result.error, NeverBegan)
    assert (result.error.message, result.drafts) == (UNREADABLE if how == b"binary" else LOST, [])


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("how", LOSSES)
@pytest.mark.parametrize("after", [1, 2, 5])
async def test_a_loss_after_the_first_event_is_raised_at_once(fake, native, after, how, lanes):
    fake.accidents["gpt-text"].append(Accident(after, how))
    result = await ask(request(target(fake, ws_lanes=lanes)), native)
    assert len(result.drafts) == after
    message = UNREADABLE if how == b"binary" else LOST
    assert (result.error.message, result.error.status) == (message, 502)  # not the stall's 504
    assert not isinstance(result.error, NeverBegan)


async def test_silence_has_an_end(fake, native):
    asked = target(fake, "stall", stall_seconds=SILENCE)
    asking = asyncio.create_task(ask(request(asked), native))
    await silence(fake, "gpt-stall", SILENCE)
    result = await asking
    assert len(result.drafts) == 5
    assert (result.error.status, result.error.code) == (504, "upstream_timeout")
    await fake.wait_closed(closed_early=1)


async def test_a_response_has_an_end(fake, native):
    asked = target(fake, "stall", timeout_seconds=SILENCE)
    asking = asyncio.create_task(ask(request(asked), native))
    await silence(fake, "gpt-stall", SILENCE)
    result = await asking
    assert (result.error.status, result.error.code) == (504, "upstream_timeout")


@pytest.mark.parametrize(
    ("accident", "retries", "reconnects", "tries"),
    [
        (Accident(0, error_frame(500, "server_error")), 2, 0, 3),
        (Accident(0, error_frame(429, "rate_limit_exceeded")), 1, 0, 2),
        (Accident(0, error_frame(400, "invalid_prompt")), 2, 2, 1),
        (Accident(0, "abort"), 0, 2, 3),
        (Accident(0, "abort"), 2, 0, 1),
        (Accident(1, "abort"), 2, 2, 1),
    ],
)
async def test_what_may_pass_is_tried_again_while_nothing_was_yielded(
    fake, accident, retries, reconnects, tries
):
    pauses = Pauses()
    native = WebSocketUpstream(clock=pauses.clock, jitter=lambda: 0.5)
    fake.accidents["gpt-text"] += [accident] * 5
    asked = target(fake, retries=retries, ws_reconnects=reconnects)
    assert (await ask(request(asked), native)).error is not None
    assert len(fake.frames) == tries
    assert pauses.taken == [0.25, 0.5][: tries - 1]
    await native.stop()


async def test_a_failed_connection_is_tried_again_with_pauses(fake):
    pauses = Pauses()
    native = WebSocketUpstream(clock=pauses.clock, jitter=lambda: 0.5)
    fake.handshake_statuses += [503, 503]
    asked = target(fake, ws_reconnects=2)
    assert (await ask(request(asked), native)).error is None
    assert pauses.taken == [3.0, 3.0]  # as the refusal asks
    fake.handshake_statuses += [404]
    refused = await ask(request(replace(asked, api_key="another")), native)
    assert isinstance(refused.error, ProviderRefused)
    assert fake.handshake_statuses == []
    await native.stop()


async def test_of_500_responses_with_accidents_no_draft_is_lost_or_doubled(fake):
    """The drafts are always a start of what the provider sent, and all of it if it ended."""
    chance = random.Random(7)  # noqa: S311 - accidents, the same in each run
    native = WebSocketUpstream(clock=Pauses().clock, jitter=lambda: 0.0)
    how = ["abort", 1000, 1011, b"?", error_frame(500, "server_error")]
    models = [f"{chance.choice(SCENARIOS)}-{n}" for n in range(500)]
    outcomes = {"whole": 0, "failed": 0}

    async def one(model):
        if chance.random() < 0.7:
            accidents = [Accident(chance.randrange(12), chance.choice(how))]
            fake.accidents["gpt-" + model] = accidents * chance.randrange(1, 4)
        fake.handshake_statuses += [503] * (chance.random() < 0.1)
        asked = target(fake, model, ws_lanes=4, retries=1, ws_reconnects=1)
        result = await ask(request(asked), native)
        types = [draft.type for draft in result.drafts]
        texts = [draft.text for draft in result.drafts if draft.type not in LIFECYCLE]
        outcomes["whole" if result.error is None else "failed"] += 1
        if not types:
            assert isinstance(result.error, UpstreamError)
            return
        sent = fake.sent[result.drafts[0].fields["response"]["id"]]
        assert types == [json.loads(text)["type"] for text in sent[: len(types)]]
        assert texts == [text for text in sent if text in texts]
        assert len(texts) == len(set(texts))
        assert (result.drafts[-1].type in TERMINAL) is (result.error is None)

    for n in range(0, 500, 4):
        await asyncio.gather(*(one(model) for model in models[n : n + 4]))
    await native.stop()
    assert outcomes["whole"] + outcomes["failed"] == 500
    assert min(outcomes.values()) > 50
