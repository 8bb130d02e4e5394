"""Auto: the provider's own WebSocket, or the managed way; never both in one answer."""

import asyncio
import random

import pytest
from support.event_checker import check_events
from support.scripted_upstream import Scripted, answer
from upstreams.asking import KEY, Pauses, ask, request, types
from upstreams.native import passed_on, texts_of
from upstreams.sockets import Accident, FakeSockets

from ws_bridge.clock import Clock
from ws_bridge.protocol.events import CREATED, TERMINAL
from ws_bridge.upstream.base import Target
from ws_bridge.upstream.litellm.upstream import LitellmAnswer, LitellmUpstream
from ws_bridge.upstream.prefer_websocket import (
    FIRST_COOLDOWN,
    LONGEST_COOLDOWN,
    PreferWebSocket,
    has_socket,
)
from ws_bridge.upstream.websocket.upstream import LaneAnswer, WebSocketUpstream

LOST = "The connection to the model provider was lost."
INVALID = {"type": "invalid_request_error", "code": "invalid_prompt", "message": "no"}


@pytest.fixture
def fake():
    with FakeSockets() as running:
        yield running
    assert running.violations == []


@pytest.fixture
async def both():
    """`PreferWebSocket` over the real native and the real managed upstream, and its clock."""
    from ws_bridge.upstream.litellm import client  # noqa: PLC0415 - litellm takes seconds to import

    now = [1000.0]
    clock = Clock(monotonic=lambda: now[0])
    managed = LitellmUpstream()
    native = WebSocketUpstream(clock=Pauses().clock)
    yield PreferWebSocket(native, managed, clock), now
    await native.stop()
    await client.shutdown()


def target(fake, scenario="text", **more):
    given = {"api_base": fake.base_url + "/v1", "api_key": KEY, "retries": 0}
    return Target(name="m", model="openai/gpt-" + scenario, **(given | more))


def ways(fake):
    """How many requests came in either way: handshakes, creates, and managed ones."""
    return len(fake.handshakes), len(fake.frames), len(fake.log)


async def test_a_known_provider_is_asked_by_its_socket(fake, both):
    auto, _ = both
    result = await ask(request(target(fake)), auto)
    assert result.error is None
    assert texts_of(result.drafts) == passed_on(fake.sent["resp_theirs1"])
    assert ways(fake) == (1, 1, 0)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("openai/gpt-5", True),
        ("azure/deployment", True),
        ("xai/grok", True),
        ("anthropic/claude", False),
        ("openai/chat_completions/x", False),
        ("groq/m", False),
    ],
)
def test_whose_socket_is_known_is_a_table(model, expected):
    assert has_socket(Target("m", model)) is expected


async def test_other_models_are_asked_the_managed_way(fake, both):
    auto, _ = both
    asked = Target("m", "openai/chat_completions/m-text", fake.base_url + "/v1", KEY, retries=0)
    assert (await ask(request(asked), auto)).error is None
    assert ways(fake) == (0, 0, 1)


@pytest.mark.parametrize("status", [401, 403, 404, 426, 429, 500, 503])
async def test_a_refused_handshake_is_answered_the_managed_way(fake, both, status):
    auto, _ = both
    fake.handshake_statuses.append(status)
    result = await ask(request(target(fake)), auto)
    assert (result.error, result.text) == (None, "Hello, world! This is a test.")
    assert check_events(result.events()) == []
    assert ways(fake) == (1, 0, 1)


@pytest.mark.parametrize("how", ["abort", 1000, 1011])
async def test_a_loss_before_the_first_event_is_answered_the_managed_way(fake, both, how):
    auto, _ = both
    fake.accidents["gpt-text"].append(Accident(0, how))
    result = await ask(request(target(fake)), auto)
    assert (result.error, result.text) == (None, "Hello, world! This is a test.")
    assert types(result.drafts).count(CREATED) == 1
    assert check_events(result.events()) == []
    assert ways(fake) == (1, 1, 1)


async def test_no_connection_at_all_is_answered_the_managed_way():
    managed = Scripted(answer("hello"))
    native = WebSocketUpstream()
    asked = Target("m", "openai/gpt", "http://127.0.0.1:1/v1", retries=0)
    result = await ask(request(asked), PreferWebSocket(native, managed, Clock()))
    assert result.error is None
    assert [draft.text for draft in result.drafts] == [b""] * len(result.drafts)
    assert managed.requests == [request(asked)]
    await native.stop()


async def test_a_target_without_an_address_is_answered_the_managed_way():
    managed = Scripted(answer("hello"))
    asked = request(Target("m", "azure/gpt", retries=0))
    assert (await ask(asked, PreferWebSocket(WebSocketUpstream(), managed, Clock()))).error is None


@pytest.mark.parametrize("how", ["abort", 1000, 1011])
@pytest.mark.parametrize("after", [1, 2, 6])
async def test_after_the_first_event_there_is_no_second_answer(fake, both, after, how):
    auto, _ = both
    fake.accidents["gpt-text"].append(Accident(after, how))
    result = await ask(request(target(fake)), auto)
    assert (len(result.drafts), result.error.message) == (after, LOST)  # no stall
    assert ways(fake) == (1, 1, 0)  # no second try
    assert (await ask(request(target(fake)), auto)).error is None
    assert ways(fake) == (2, 2, 0)  # nor is that a reason to leave the socket alone


async def test_what_the_provider_refuses_is_not_asked_again(fake, both):
    auto, _ = both
    fake.accidents["gpt-text"].append(
        Accident(0, {"type": "error", "status": 400, "error": INVALID})
    )
    result = await ask(request(target(fake)), auto)
    assert (result.error.status, result.error.code) == (400, "invalid_prompt")
    assert ways(fake) == (1, 1, 0)


async def test_after_a_failure_the_socket_is_left_alone_for_longer_each_time(fake, both):
    auto, now = both
    rests = []
    for _ in range(7):
        fake.handshake_statuses.append(404)
        before = len(fake.handshakes)
        await ask(request(target(fake)), auto)
        assert len(fake.handshakes) == before + 1
        start = now[0]
        while auto._cooldowns and now[0] < next(iter(auto._cooldowns.values())).until:
            assert (await ask(request(target(fake)), auto)).error is None
            assert len(fake.handshakes) == before + 1
            now[0] = next(iter(auto._cooldowns.values())).until
        rests.append(now[0] - start)
    assert rests == [FIRST_COOLDOWN, 60, 120, 240, 480, LONGEST_COOLDOWN, LONGEST_COOLDOWN]
    result = await ask(request(target(fake)), auto)
    assert any(texts_of(result.drafts))
    assert auto._cooldowns == {}


async def test_another_address_is_not_left_alone_for_it(fake, both):
    auto, _ = both
    fake.handshake_statuses.append(404)
    await ask(request(target(fake)), auto)
    result = await ask(request(target(fake, api_key="another")), auto)
    assert any(texts_of(result.drafts))


async def test_turns_that_fail_together_count_once(fake, both):
    auto, _ = both
    fake.handshake_statuses += [404] * 4
    await asyncio.gather(*(ask(request(target(fake)), auto) for _ in range(4)))
    (rest,) = auto._cooldowns.values()
    assert rest.seconds == FIRST_COOLDOWN


async def test_after_the_rest_one_turn_tries_for_all(fake, both):
    auto, now = both
    fake.handshake_statuses.append(404)
    await ask(request(target(fake)), auto)
    now[0] += FIRST_COOLDOWN
    handshakes = len(fake.handshakes)
    opening = asyncio.ensure_future(auto.open(request(target(fake, "gate1"))))
    await fake.reached("gpt-gate1")
    await ask(request(target(fake)), auto)
    assert len(fake.handshakes) == handshakes + 1
    assert auto._cooldowns != {}
    fake.release("gpt-gate1")
    answer = await opening
    assert isinstance(answer, LaneAnswer)
    assert auto._cooldowns == {}  # though nothing more of it was read
    await answer.close()


async def test_nothing_stands_between_its_answer_and_the_reader(fake, both):
    auto, _ = both
    native = await auto.open(request(target(fake)))
    fake.handshake_statuses.append(404)
    managed = await auto.open(request(target(fake, api_key="another")))
    assert [type(native), type(managed)] == [LaneAnswer, LitellmAnswer]
    await asyncio.gather(native.close(), managed.close())


async def test_closing_its_answer_closes_the_providers_connection(fake, both):
    auto, _ = both
    answer = await auto.open(request(target(fake, "gate5")))
    assert answer.first[0].type == CREATED
    await answer.close()
    await fake.wait_closed(closed_early=1)


@pytest.mark.parametrize("refused", [[], [404]], ids=["native", "managed"])
async def test_an_open_that_is_cancelled_leaves_nothing_open(fake, both, refused):
    auto, _ = both
    fake.handshake_statuses += refused
    opening = asyncio.create_task(auto.open(request(target(fake, "gate1"))))
    await fake.reached("gpt-gate1")
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await fake.wait_closed(closed_early=1)


async def test_of_500_failures_at_random_points_nothing_is_lost_or_doubled(fake):
    """One answer each: all of the socket's, a beginning of it and an error, or the managed one."""
    chance = random.Random(11)  # noqa: S311 - accidents, the same in each run
    managed = Scripted(answer("managed ", "answer"))
    native = WebSocketUpstream(clock=Pauses().clock, jitter=lambda: 0.0)
    now = [0.0]
    auto = PreferWebSocket(native, managed, Clock(monotonic=lambda: now[0]))
    seen = {"whole": 0, "cut": 0, "managed": 0}

    async def one(model, lanes):
        fake.accidents["gpt-" + model] = [
            Accident(chance.randrange(12), chance.choice(["abort", 1000, 1011, 1012]))
        ] * 2
        fake.handshake_statuses += [chance.choice([401, 403, 404, 426, 500])] * (
            chance.random() < 0.2
        )
        asked = request(target(fake, model, ws_lanes=lanes))
        answered = await ask(asked, auto)
        received, failure = answered.drafts, answered.error
        if failure is None and received == answer("managed ", "answer"):
            seen["managed"] += 1
            return
        sent = fake.sent[received[0].fields["response"]["id"]]
        assert texts_of(received) == passed_on(sent[: len(received)])
        assert (received[-1].type in TERMINAL) is (failure is None)
        seen["whole" if failure is None else "cut"] += 1

    for n in range(125):
        models = [f"{chance.choice(['text', 'tools', 'reasoning'])}-{n}-{m}" for m in range(4)]
        await asyncio.gather(*(one(model, chance.choice([1, 4])) for model in models))
        now[0] += LONGEST_COOLDOWN
    await native.stop()
    assert sum(seen.values()) == 500
    assert seen["cut"] > 50
    assert seen["managed"] > 50
