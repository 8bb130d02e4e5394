"""Native: a provider's own WebSocket, on real sockets."""

import asyncio
import itertools
import json
import random
from contextlib import aclosing
from dataclasses import dataclass, replace

import pytest
from support.event_checker import check_events
from support.scripted_upstream import Scripted, answer
from support.turned_loop import silence
from upstreams.asking import HELLO, KEY, Pauses, ask, request, take
from upstreams.responses import CREATED_AT
from upstreams.sockets import Accident, FakeSockets, self_signed

from ws_bridge.clock import Clock
from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.events import COMPLETED, CREATED, IN_PROGRESS, TERMINAL
from ws_bridge.protocol.history import Turn
from ws_bridge.protocol.response import Envelope
from ws_bridge.protocol.sequencer import Sequencer
from ws_bridge.upstream.base import Target
from ws_bridge.upstream.websocket.connection import MAX_AGE_SECONDS, ProviderAddress
from ws_bridge.upstream.websocket.errors import NO_SOCKET, NeverBegan, ProviderRefused
from ws_bridge.upstream.websocket.pool import IDLE_SECONDS, MAX_IDLE, SWEEP_SECONDS, WARM
from ws_bridge.upstream.websocket.upstream import WebSocketUpstream

AGAIN = {"type": "message", "role": "user", "content": "and again"}
SILENCE = 100.0  # of a provider, at most
LOST = "The connection to the model provider was lost."


class Hands:
    """A clock turned by hand: pauses are noted, and end when the test says so."""

    def __init__(self):
        self.now = 1000.0
        self.pauses = []
        self.waiting = asyncio.Event()
        self._turned = asyncio.Event()

    async def sleep(self, seconds):
        self.pauses.append(seconds)
        self.waiting.set()
        until = self.now + seconds
        while self.now < until:
            await self._turned.wait()

    def turn(self, seconds):
        self.now += seconds
        self.waiting.clear()
        self._turned.set()
        self._turned = asyncio.Event()

    @property
    def clock(self):
        return Clock(monotonic=lambda: self.now, sleep=self.sleep)


@pytest.fixture
def fake():
    with FakeSockets() as running:
        yield running
    assert running.violations == []


@pytest.fixture
async def native():
    upstream = WebSocketUpstream(
        Scripted(answer("unused")), clock=Pauses().clock, jitter=lambda: 0.0
    )
    yield upstream
    await upstream.close()


def target(fake, scenario="text", **more):
    given = {"api_base": fake.base_url + "/v1", "api_key": KEY, "retries": 0, "ws_reconnects": 0}
    return Target(name="m", model="openai/gpt-" + scenario, **(given | more))


IDS = itertools.count()


@dataclass
class Talk:
    """A conversation: each turn goes on from the one before."""

    upstream: WebSocketUpstream
    target: Target
    parent: Turn | None = None
    store: bool = False

    async def say(self, item=HELLO, **options):
        wanted = request(self.target, item, parent=self.parent, **options)
        wanted = replace(wanted, response_id=f"resp_ours{next(IDS)}", store=self.store)
        heard = await ask(wanted, self.upstream)
        if heard.error is None:
            made = (wanted.response_id, (item,), heard.output, self.target.maker)
            self.parent = Turn(*made, parent=self.parent)
        return heard


# What is said, and what comes back


async def test_one_create_is_one_frame_with_the_requests_options(fake, native):
    asked = request(target(fake), temperature=0.5, instructions="be brief")
    heard = await ask(replace(asked, store=True), native)
    assert (heard.error, heard.text) == (None, "Hello, world! This is a test.")
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


SCENARIOS = """text reasoning rawreasoning tools rtools refusal annot logprobs phase image custom
    x-ci mcp incomplete failed""".split()
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


@pytest.mark.parametrize("ends", itertools.product([1, 4], [None, "main"]))
@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_every_byte_is_the_providers_but_ids_number_and_lane(
    fake, native, scenario, spelling, ends
):
    lanes, lane = ends
    fake.spelling = SPELLINGS[spelling]
    trap = {"stream_id": "a", "id": "b", "previous_response_id": "c", "sequence_number": "4"}
    heard = await ask(request(target(fake, scenario, ws_lanes=lanes), metadata=trap), native)
    options = {"metadata": trap}
    envelope = Envelope("resp_ours", "m", CREATED_AT, options, "resp_parent")
    sequencer = Sequencer(envelope, lane, lambda: 2.0)
    events = [event for draft in heard.drafts for event in sequencer.sequence(draft)]
    ((theirs, sent),) = fake.sent.items()
    expected = [
        as_ours(text.decode(), spelling, number, lane, theirs) for number, text in enumerate(sent)
    ]
    assert [event.text.decode() for event in events] == expected
    assert [event.json()["sequence_number"] for event in events] == list(range(len(sent)))


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_every_scenario_is_a_strict_stream(fake, native, scenario):
    heard = await ask(request(target(fake, scenario)), native)
    sequencer = Sequencer(Envelope("resp_1", "m", 1), None, lambda: 2.0)
    # The fake's snapshots lack some keys that strict clients want; those are the provider's affair.
    drafts = [draft._replace(text=b"") for draft in heard.drafts]
    events = [event.json() for draft in drafts for event in sequencer.sequence(draft)]
    assert check_events(events) == []


async def test_a_pretty_printed_frame_becomes_one_line(fake, native):
    fake.spelling = lambda event: json.dumps(event, indent=2)
    heard = await ask(request(target(fake)), native)
    sequencer = Sequencer(Envelope("resp_ours", "m", 1), None, lambda: 2.0)
    events = [event for draft in heard.drafts for event in sequencer.sequence(draft)]
    assert not any(b"\n" in event.text for event in events)
    assert events[-1].json()["response"]["id"] == "resp_ours"


async def test_tokens_are_counted_by_somebody_else(fake, native):
    assert await native.count_tokens(request(target(fake), HELLO, AGAIN)) == 2


# Chains


async def test_two_turns_share_a_connection_and_only_what_is_new_is_sent(fake, native):
    talk = Talk(native, target(fake, "echo"))
    await talk.say()
    first, *_ = fake.sent
    heard = await talk.say(AGAIN, instructions="now be long")
    assert fake.places() == [(1, None), (1, None)]
    create = fake.creates()[1]
    assert (create["previous_response_id"], create["input"]) == (first, [AGAIN])
    assert create["instructions"] == "now be long"
    assert [item["role"] for item in json.loads(heard.text)] == ["user", "assistant", "user"]


async def test_a_connection_lost_between_turns_is_not_noticed(fake, native):
    talk = Talk(native, target(fake, "echo"))
    await talk.say()
    fake.hang_up()
    await fake.gone()
    heard = await talk.say(AGAIN)
    assert heard.error is None
    create = fake.creates()[1]
    assert "previous_response_id" not in create
    assert [item["role"] for item in create["input"]] == ["user", "assistant", "user"]
    assert [item["role"] for item in json.loads(heard.text)] == ["user", "assistant", "user"]
    await talk.say(AGAIN)
    assert [number for number, _ in fake.places()] == [1, 2, 2]
    assert "previous_response_id" in fake.creates()[2]


@pytest.mark.parametrize("how", ["abort", 1000, 1012, b"binary"])
async def test_a_connection_lost_by_the_create_itself_is_not_noticed(fake, native, how):
    """It was open for a while, so nobody could know: the turn is asked for once more, anew."""
    talk = Talk(native, target(fake, "echo"))
    await talk.say()
    fake.accidents["gpt-echo"].append(Accident(0, how))
    heard = await talk.say(AGAIN)
    assert heard.error is None
    assert [number for number, _ in fake.places()] == [1, 1, 2]
    assert len(fake.creates()[2]["input"]) == 3


@pytest.mark.parametrize("lanes", [1, 4])
async def test_what_a_provider_has_forgotten_is_told_again_unseen(fake, native, lanes):
    talk = Talk(native, target(fake, "echo", ws_lanes=lanes))
    await talk.say()
    fake.forget()
    heard = await talk.say(AGAIN)
    assert heard.error is None
    assert heard.drafts[0].type == CREATED
    assert [len(create["input"]) for create in fake.creates()] == [1, 1, 3]
    assert ["previous_response_id" in create for create in fake.creates()] == [False, True, False]
    assert len({number for number, _ in fake.places()}) == 1
    await talk.say(AGAIN)
    assert "previous_response_id" in fake.creates()[3]


async def test_a_turn_goes_on_from_an_incomplete_one(fake, native):
    talk = Talk(native, target(fake, "incomplete"))
    await talk.say()
    await talk.say(AGAIN)
    assert "previous_response_id" in fake.creates()[1]


async def test_after_a_failed_turn_all_of_the_history_is_sent(fake, native):
    """A failed continuation evicts its parent at the provider (docs/protocol.md §6.3)."""
    talk = Talk(native, target(fake, "echo"))
    await talk.say()
    parent = talk.parent
    talk.target = target(fake, "failed")
    failed = await talk.say(AGAIN)
    assert failed.drafts[-1].type == "response.failed"
    talk.target, talk.parent = target(fake, "echo"), parent
    await talk.say(AGAIN)
    assert ["previous_response_id" in create for create in fake.creates()] == [False, True, False]


async def test_chains_do_not_push_each_other_out_while_there_is_room(fake, native):
    talks = [Talk(native, target(fake, "echo")) for _ in range(WARM)]
    for talk in talks:
        await talk.say()
    for talk in talks:
        await talk.say(AGAIN)
    assert len({number for number, _ in fake.places()}) == WARM
    assert all("previous_response_id" in create for create in fake.creates()[WARM:])
    await Talk(native, target(fake)).say()  # the one that was used longest ago gives way
    assert fake.places()[-1] == (1, None)
    await talks[0].say(AGAIN)
    assert "previous_response_id" not in fake.creates()[-1]


async def test_a_chain_is_known_to_its_own_address_and_key_only(fake, native):
    talk = Talk(native, target(fake, "echo"))
    await talk.say()
    talk.target = target(fake, "echo", api_key="sk-of-somebody-else")
    await talk.say(AGAIN)
    assert "previous_response_id" not in fake.creates()[1]
    assert [number for number, _ in fake.places()] == [1, 2]


async def test_the_next_turn_may_come_before_the_last_draft_is_told(fake, native):
    """Who hears the end goes on at once; the connection is ready for it by then."""
    asked = replace(request(target(fake, "echo")), response_id="resp_first")
    async with aclosing(native.respond(asked)) as drafts:
        async for draft in drafts:
            if draft.type == COMPLETED:
                break
        turn = Turn("resp_first", (HELLO,), tuple(draft.fields["response"]["output"]), "openai|")
        await ask(request(target(fake, "echo"), AGAIN, parent=turn), native)
    assert "previous_response_id" in fake.creates()[1]
    assert [number for number, _ in fake.places()] == [1, 1]


# Lanes


async def test_four_lanes_run_at_once_on_one_connection(fake, native):
    models = [f"gate3-{word}" for word in ("text", "tools", "reasoning", "refusal")]
    asked = [request(target(fake, model, ws_lanes=4)) for model in models]
    answers = [asyncio.ensure_future(ask(each, native)) for each in asked]
    for model in models:
        await fake.reached("gpt-" + model)
    assert fake.live["open"] == 1
    for model in reversed(models):
        fake.release("gpt-" + model)
    for heard in await asyncio.gather(*answers):
        assert heard.error is None
        ids = {
            draft.fields["response"]["id"] for draft in heard.drafts if "response" in draft.fields
        }
        assert len(ids) == 1
        assert [draft.text for draft in heard.drafts] == fake.sent[ids.pop()]
    assert sorted(lane for _, lane in fake.places()) == ["lane-0", "lane-1", "lane-2", "lane-3"]


async def test_without_lanes_each_running_response_has_a_connection(fake, native):
    asked = request(target(fake, "gate3"))
    answers = [asyncio.ensure_future(ask(asked, native)) for _ in range(3)]
    await fake.until(lambda: len(fake.frames) == 3)
    fake.release("gpt-gate3")
    assert [heard.error for heard in await asyncio.gather(*answers)] == [None] * 3
    assert sorted(fake.places()) == [(1, None), (2, None), (3, None)]


async def test_more_responses_than_lanes_need_another_connection(fake, native):
    asked = request(target(fake, "gate3", ws_lanes=2))
    answers = [asyncio.ensure_future(ask(asked, native)) for _ in range(5)]
    await fake.until(lambda: len(fake.frames) == 5)
    fake.release("gpt-gate3")
    assert [heard.error for heard in await asyncio.gather(*answers)] == [None] * 5
    assert len(fake.handshakes) == 3


async def test_two_turns_may_go_on_from_one(fake, native):
    talk = Talk(native, target(fake, "echo", ws_lanes=4))
    await talk.say()
    forks = [Talk(native, target(fake, "gate3-echo", ws_lanes=4), talk.parent) for _ in range(2)]
    heard = [asyncio.ensure_future(fork.say(AGAIN)) for fork in forks]
    await fake.until(lambda: len(fake.frames) == 3)
    fake.release("gpt-gate3-echo")
    assert [answer.error for answer in await asyncio.gather(*heard)] == [None, None]
    assert fake.places() == [(1, "lane-0"), (1, "lane-0"), (1, "lane-1")]
    assert all("previous_response_id" in create for create in fake.creates()[1:])


@pytest.mark.parametrize(
    ("base", "lanes", "url", "expected"),
    [
        ("", 0, "wss://api.openai.com/v1/responses", 16),
        ("https://api.openai.com/v1/", 3, "wss://api.openai.com/v1/responses", 3),
        ("http://127.0.0.1:1/v1", 0, "ws://127.0.0.1:1/v1/responses", 1),
        ("https://h.example/v1?api-version=2", 0, "wss://h.example/v1/responses?api-version=2", 1),
    ],
)
def test_an_address_is_the_socket_beside_the_http_one(base, lanes, url, expected):
    address = ProviderAddress.of(Target("m", "openai/gpt", base, KEY, ws_lanes=lanes))
    assert (address.url, address.lanes) == (url, expected)
    assert KEY not in repr(address)


def test_other_providers_have_addresses_of_their_own():
    azure = Target("m", "azure/gpt", "https://mine.example")
    assert ProviderAddress.of(azure).url == "wss://mine.example/openai/v1/responses"
    assert ProviderAddress.of(Target("m", "xai/grok")).url == "wss://api.x.ai/v1/responses"
    with pytest.raises(NeverBegan):
        ProviderAddress.of(Target("m", "azure/gpt"))


# Leaving early


async def test_a_response_nobody_wants_loses_its_connection(fake, native):
    drafts = native.respond(request(target(fake, "gate5")))
    assert await take(drafts, "in_progress") == [CREATED, IN_PROGRESS]
    await drafts.aclose()
    await fake.wait_closed(closed_early=1)
    heard = await ask(request(target(fake)), native)
    assert heard.error is None
    assert len(fake.handshakes) == 2


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("scenario", ["gate1", "gate5"])
async def test_a_cancelled_caller_leaves_nothing_running(fake, native, scenario, lanes):
    asking = asyncio.ensure_future(ask(request(target(fake, scenario, ws_lanes=lanes)), native))
    await fake.reached("gpt-" + scenario)
    asking.cancel()
    await asyncio.wait([asking])
    assert asking.cancelled()
    await fake.wait_closed(closed_early=1)


async def test_on_a_shared_connection_it_runs_out_unheard_and_keeps_its_lane(fake, native):
    """The others go on, and the lane is not used again before the provider has ended it."""
    unwanted = native.respond(request(target(fake, "gate5-a", ws_lanes=2)))
    wanted = asyncio.ensure_future(ask(request(target(fake, "gate5-b", ws_lanes=2)), native))
    await take(unwanted, "in_progress")
    await fake.reached("gpt-gate5-b")
    await unwanted.aclose()
    third = await ask(request(target(fake, "text", ws_lanes=2)), native)
    assert third.error is None
    assert fake.places()[2][0] == 2  # both lanes of the first connection are taken
    fake.release("gpt-gate5-a")
    fake.release("gpt-gate5-b")
    assert (await wanted).error is None
    await fake.until(lambda: not any(each.running for each in fake.connections.values()))
    for _ in range(4):
        heard = await ask(request(target(fake, "text", ws_lanes=2)), native)
        assert [draft.text for draft in heard.drafts] == list(fake.sent.values())[-1]


async def test_who_leaves_while_it_connects_leaves_the_connection_to_others(fake, native):
    drafts = native.respond(request(target(fake, ws_lanes=4)))
    first = asyncio.ensure_future(anext(drafts))
    second = asyncio.ensure_future(ask(request(target(fake, ws_lanes=4)), native))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    assert (await second).error is None
    assert len(fake.handshakes) == 1
    assert len(fake.frames) == 1


# Failures


def said(status, code, kind="invalid_request_error", **more):
    error = {"type": kind, "code": code, "message": f"because of {code}", "param": None}
    return {"type": "error", "status": status, "error": error | more}


ERRORS = [
    (said(400, "invalid_prompt", param="input"), (400, "invalid_prompt", "input", None)),
    (
        said(429, "rate_limit_exceeded", headers={"retry-after": "4"}),
        (429, "rate_limit_exceeded", None, 4.0),
    ),
    (said(429, "x", "y") | {"headers": {"Retry-After": "5"}}, (429, "x", None, 5.0)),
    (said(503, "server_is_overloaded"), (503, "server_is_overloaded", None, None)),
    (said(401, "invalid_api_key"), (401, "invalid_api_key", None, None)),
    (
        {"type": "error", "code": "nope", "message": "flat", "param": "model"},
        (502, "nope", "model", None),
    ),
    (
        {"type": "error", "error": {"type": "invalid_request_error", "message": "no status"}},
        (400, "invalid_request_error", None, None),
    ),
    ({"type": "error"}, (502, "server_error", None, None)),
    ({"type": "error", "status": "x", "error": "a string"}, (502, "server_error", None, None)),
]


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize(("frame", "expected"), ERRORS)
async def test_an_error_is_the_providers_own_without_secrets(fake, native, frame, expected, lanes):
    fake.accidents["gpt-text"].append(Accident(0, frame))
    heard = await ask(request(target(fake, ws_lanes=lanes)), native)
    error = heard.error
    assert heard.drafts == []
    assert (error.status, error.code, error.param, error.retry_after) == expected
    assert not isinstance(error, NeverBegan)


async def test_an_error_after_the_first_event_ends_the_response(fake, native):
    fake.accidents["gpt-text"].append(Accident(3, said(500, "server_error")))
    heard = await ask(request(target(fake)), native)
    assert len(heard.drafts) == 3
    assert heard.error.status == 500


async def test_after_an_error_nothing_else_comes_on_the_same_lane(fake, native):
    """Some servers say an error and `response.failed`: the second answers no later create."""
    fake.accidents["gpt-text"].append(Accident(0, said(400, "x")))
    await ask(request(target(fake)), native)
    assert (await ask(request(target(fake)), native)).error is None
    assert [number for number, _ in fake.places()] == [1, 2]


async def test_words_of_the_provider_are_redacted(fake, native):
    frame = said(400, "x", message="bad key sk-abcdef at https://internal.example/x")
    fake.accidents["gpt-text"].append(Accident(0, frame))
    heard = await ask(request(target(fake)), native)
    assert heard.error.message == "bad key [redacted] at [redacted]"


@pytest.mark.parametrize("status", [401, 403, 404, 426, 429, 500, 503])
async def test_a_refused_handshake_says_so_with_its_status(fake, native, status):
    fake.handshake_statuses.append(status)
    heard = await ask(request(target(fake)), native)
    assert isinstance(heard.error, ProviderRefused)
    assert (heard.error.handshake_status, heard.drafts) == (status, [])
    is_about_the_mode = status in (404, 426)
    assert heard.error.status == (502 if is_about_the_mode else status)
    assert (heard.error.message == NO_SOCKET) is is_about_the_mode
    assert heard.error.never_began


async def test_a_provider_that_is_not_there_is_said_to_be_unreachable(fake, native):
    heard = await ask(request(target(fake, api_base="http://127.0.0.1:1/v1")), native)
    assert isinstance(heard.error, NeverBegan)
    assert heard.error.message == "The model provider could not be reached."


HOW = ["abort", 1000, 1011, 1013, b"binary"]


@pytest.mark.parametrize("how", HOW)
async def test_a_loss_before_the_first_event_never_began(fake, native, how):
    fake.accidents["gpt-text"].append(Accident(0, how))
    heard = await ask(request(target(fake)), native)
    assert isinstance(heard.error, NeverBegan)
    assert (heard.error.message, heard.drafts) == (LOST, [])


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("after", [1, 2, 5])
async def test_a_loss_after_the_first_event_is_told_at_once(fake, native, after, how, lanes):
    fake.accidents["gpt-text"].append(Accident(after, how))
    heard = await ask(request(target(fake, ws_lanes=lanes)), native)
    assert len(heard.drafts) == after
    assert (heard.error.message, heard.error.status) == (LOST, 502)  # and not the stall's 504
    assert not isinstance(heard.error, NeverBegan)


async def test_a_loss_is_told_to_every_lane(fake, native):
    models = [f"gate{n}" for n in (3, 4, 5)]
    asked = [request(target(fake, model, ws_lanes=4)) for model in models]
    answers = [asyncio.ensure_future(ask(each, native)) for each in asked]
    for model in models:
        await fake.reached("gpt-" + model)
    fake.hang_up()
    heard = await asyncio.gather(*answers)
    assert [(len(each.drafts), each.error.message) for each in heard] == [
        (2, LOST),
        (3, LOST),
        (4, LOST),
    ]


async def test_an_error_that_names_no_lane_is_for_those_that_have_not_begun(fake, native):
    begun = asyncio.ensure_future(ask(request(target(fake, "gate3", ws_lanes=4)), native))
    await fake.reached("gpt-gate3")
    await fake.until(lambda: len(fake.sent) == 1)
    unnamed = said(400, "invalid_stream_id") | {"stream_id": None}
    fake.accidents["gpt-text"].append(Accident(0, unnamed))
    refused = await ask(request(target(fake, ws_lanes=4)), native)
    assert refused.error.code == "invalid_stream_id"
    fake.release("gpt-gate3")
    assert (await begun).error is None
    await ask(request(target(fake, ws_lanes=4)), native)
    assert [number for number, _ in fake.places()] == [1, 1, 2]


async def test_a_connection_that_has_reached_its_age_is_replaced_unseen(fake, native):
    talk = Talk(native, target(fake, "echo"))
    await talk.say()
    limit = said(400, "websocket_connection_limit_reached")
    fake.accidents["gpt-echo"].append(Accident(0, limit))
    assert (await talk.say(AGAIN)).error is None
    assert [number for number, _ in fake.places()] == [1, 1, 2]


async def test_silence_has_an_end(fake, native):
    asked = target(fake, "stall", stall_seconds=SILENCE)
    asking = asyncio.create_task(ask(request(asked), native))
    await silence(fake, "gpt-stall", SILENCE)
    heard = await asking
    assert len(heard.drafts) == 5
    assert (heard.error.status, heard.error.code) == (504, "upstream_timeout")
    await fake.wait_closed(closed_early=1)


async def test_a_response_has_an_end(fake, native):
    asked = target(fake, "stall", timeout_seconds=SILENCE)
    asking = asyncio.create_task(ask(request(asked), native))
    await silence(fake, "gpt-stall", SILENCE)
    heard = await asking
    assert (heard.error.status, heard.error.code) == (504, "upstream_timeout")


# Trying again


@pytest.mark.parametrize(
    ("accident", "retries", "reconnects", "tries"),
    [
        (Accident(0, said(500, "server_error")), 2, 0, 3),
        (Accident(0, said(429, "rate_limit_exceeded")), 1, 0, 2),
        (Accident(0, said(400, "invalid_prompt")), 2, 2, 1),
        (Accident(0, "abort"), 0, 2, 3),
        (Accident(0, "abort"), 2, 0, 1),
        (Accident(1, "abort"), 2, 2, 1),
    ],
)
async def test_what_may_help_is_tried_again_while_nothing_was_told(
    fake, accident, retries, reconnects, tries
):
    pauses = Pauses()
    native = WebSocketUpstream(Scripted(answer("x")), clock=pauses.clock, jitter=lambda: 0.5)
    fake.accidents["gpt-text"] += [accident] * 5
    asked = target(fake, retries=retries, ws_reconnects=reconnects)
    assert (await ask(request(asked), native)).error is not None
    assert len(fake.frames) == tries
    assert pauses.taken == [0.25, 0.5][: tries - 1]
    await native.close()


async def test_a_failed_connection_is_tried_again_with_pauses(fake):
    pauses = Pauses()
    native = WebSocketUpstream(Scripted(answer("x")), clock=pauses.clock, jitter=lambda: 0.5)
    fake.handshake_statuses += [503, 503]
    asked = target(fake, ws_reconnects=2)
    assert (await ask(request(asked), native)).error is None
    assert pauses.taken == [3.0, 3.0]  # as the refusal asks
    fake.handshake_statuses += [404]
    refused = await ask(request(replace(asked, api_key="another")), native)
    assert isinstance(refused.error, ProviderRefused)
    assert fake.handshake_statuses == []
    await native.close()


# Connections' lives


async def test_a_connection_is_replaced_before_its_hour_is_over(fake):
    hands = Hands()
    native = WebSocketUpstream(Scripted(answer("x")), clock=hands.clock)
    talk = Talk(native, target(fake, "echo"))
    await talk.say()
    hands.turn(IDLE_SECONDS - 1)
    await talk.say(AGAIN)
    assert [number for number, _ in fake.places()] == [1, 1]
    running = asyncio.ensure_future(Talk(native, target(fake, "gate3"), talk.parent).say())
    await fake.reached("gpt-gate3")
    hands.turn(MAX_AGE_SECONDS)
    assert (await talk.say(AGAIN)).error is None
    assert [number for number, _ in fake.places()] == [1, 1, 1, 2]
    assert "previous_response_id" not in fake.creates()[3]
    assert len(fake.creates()[3]["input"]) == 5
    fake.release("gpt-gate3")
    assert (await running).error is None  # what runs on the old one comes to its end
    await talk.say(AGAIN)
    await fake.until(lambda: list(fake.connections) == [2])
    assert MAX_AGE_SECONDS + talk.target.timeout_seconds <= 3600
    await native.close()


async def test_idle_connections_are_closed_after_a_while_without_anybodys_asking(fake):
    hands = Hands()
    native = WebSocketUpstream(Scripted(answer("x")), clock=hands.clock)
    await native.open()
    await ask(request(target(fake)), native)
    await hands.waiting.wait()
    hands.turn(SWEEP_SECONDS)
    await hands.waiting.wait()
    assert list(fake.connections) == [1]
    hands.turn(IDLE_SECONDS)
    await fake.gone()
    await native.close()
    assert set(hands.pauses) == {SWEEP_SECONDS}


async def test_idle_connections_are_bounded_in_number(fake, native):
    for n in range(MAX_IDLE + 5):
        await ask(request(target(fake, api_key=f"sk-{n}")), native)
    await ask(request(target(fake, api_key="sk-last")), native)
    await fake.until(lambda: len(fake.connections) <= MAX_IDLE + 1)
    assert 1 not in fake.connections


async def test_close_ends_every_connection(fake):
    native = WebSocketUpstream(Scripted(answer("x")), clock=Hands().clock)
    await native.open()
    running = asyncio.ensure_future(ask(request(target(fake, "gate5")), native))
    await fake.reached("gpt-gate5")
    await ask(request(target(fake)), native)
    await native.close()
    assert (await running).error.message == LOST
    await fake.gone()


# Ways to the provider


async def test_tls_is_spoken_and_certificates_are_checked(tmp_path, monkeypatch):
    pair = self_signed(tmp_path)
    native = WebSocketUpstream(Scripted(answer("x")))
    with FakeSockets(tls=pair) as fake:
        refused = await ask(request(target(fake)), native)
        assert isinstance(refused.error, NeverBegan)
        assert fake.handshakes == []
        monkeypatch.setenv("SSL_CERT_FILE", str(pair[0]))
        heard = await ask(request(target(fake)), native)
        assert (heard.error, heard.text) == (None, "Hello, world! This is a test.")
        await native.close()


async def test_the_environments_proxy_is_used(fake, native, monkeypatch):
    asked = []

    async def connect(reader, writer):
        line, *_ = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        asked.append(line.decode())
        host, _, port = line.split()[1].decode().rpartition(":")
        there, back = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(pipe(reader, back), pipe(there, writer))

    async def pipe(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async with await asyncio.start_server(connect, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        heard = await ask(request(target(fake)), native)
        await native.close()
    assert heard.error is None
    assert asked == [f"CONNECT {fake.base_url.removeprefix('http://')} HTTP/1.1"]


# Chaos


async def test_of_500_responses_with_accidents_no_draft_is_lost_or_doubled(fake):
    """What was told is always a beginning of what the provider said, and all of it if it ended."""
    chance = random.Random(7)  # noqa: S311 - accidents, the same in each run
    native = WebSocketUpstream(Scripted(answer("x")), clock=Pauses().clock, jitter=lambda: 0.0)
    how = ["abort", 1000, 1011, b"?", said(500, "server_error")]
    models = [f"{chance.choice(SCENARIOS)}-{n}" for n in range(500)]
    outcomes = {"whole": 0, "failed": 0}

    async def one(model):
        if chance.random() < 0.7:
            accidents = [Accident(chance.randrange(12), chance.choice(how))]
            fake.accidents["gpt-" + model] = accidents * chance.randrange(1, 4)
        fake.handshake_statuses += [503] * (chance.random() < 0.1)
        asked = target(fake, model, ws_lanes=4, retries=1, ws_reconnects=1)
        heard = await ask(request(asked), native)
        texts = [draft.text for draft in heard.drafts]
        outcomes["whole" if heard.error is None else "failed"] += 1
        if not texts:
            assert isinstance(heard.error, UpstreamError)
            return
        said_to_us = fake.sent[heard.drafts[0].fields["response"]["id"]]
        assert texts == said_to_us[: len(texts)]
        assert len(texts) == len(set(texts))
        assert (heard.drafts[-1].type in TERMINAL) is (heard.error is None)

    for n in range(0, 500, 4):
        await asyncio.gather(*(one(model) for model in models[n : n + 4]))
    await native.close()
    assert outcomes["whole"] + outcomes["failed"] == 500
    assert min(outcomes.values()) > 50
