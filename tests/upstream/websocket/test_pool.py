"""The pool: which lane a turn gets, what the provider remembers, how long connections live."""

import asyncio
import json
from dataclasses import replace

import pytest
from upstreams.asking import HELLO, ask, request, types
from upstreams.native import AGAIN, Talk, TurnedClock, error_frame, target
from upstreams.sockets import Accident

from ws_bridge.protocol.events import COMPLETED, CREATED
from ws_bridge.protocol.history import Turn
from ws_bridge.upstream.websocket.connection import MAX_AGE_SECONDS
from ws_bridge.upstream.websocket.pool import IDLE_SECONDS, MAX_IDLE, SWEEP_SECONDS, WARM
from ws_bridge.upstream.websocket.upstream import WebSocketUpstream

LOST = "The connection to the model provider was lost."

# Chains


async def test_two_turns_share_a_connection_and_only_what_is_new_is_sent(fake, native):
    talk = Talk(native, target(fake, "echo"))
    await talk.ask()
    first, *_ = fake.sent
    result = await talk.ask(AGAIN, instructions="now be long")
    assert fake.places() == [(1, None), (1, None)]
    create = fake.creates()[1]
    assert (create["previous_response_id"], create["input"]) == (first, [AGAIN])
    assert create["instructions"] == "now be long"
    assert [item["role"] for item in json.loads(result.text)] == ["user", "assistant", "user"]


async def test_a_connection_lost_between_turns_is_not_noticed(fake, native):
    talk = Talk(native, target(fake, "echo"))
    await talk.ask()
    fake.hang_up()
    await fake.gone()
    result = await talk.ask(AGAIN)
    assert result.error is None
    create = fake.creates()[1]
    assert "previous_response_id" not in create
    assert [item["role"] for item in create["input"]] == ["user", "assistant", "user"]
    assert [item["role"] for item in json.loads(result.text)] == ["user", "assistant", "user"]
    await talk.ask(AGAIN)
    assert [number for number, _ in fake.places()] == [1, 2, 2]
    assert "previous_response_id" in fake.creates()[2]


@pytest.mark.parametrize("how", ["abort", 1000, 1012, b"binary"])
async def test_a_connection_lost_by_the_create_itself_is_not_noticed(fake, native, how):
    """It was open for a while, and the loss could not be known: the turn is sent once more."""
    talk = Talk(native, target(fake, "echo"))
    await talk.ask()
    fake.accidents["gpt-echo"].append(Accident(0, how))
    result = await talk.ask(AGAIN)
    assert result.error is None
    assert [number for number, _ in fake.places()] == [1, 1, 2]
    assert len(fake.creates()[2]["input"]) == 3


@pytest.mark.parametrize("lanes", [1, 4])
async def test_a_turn_that_the_provider_has_forgotten_is_sent_again(fake, native, lanes):
    talk = Talk(native, target(fake, "echo", ws_lanes=lanes))
    await talk.ask()
    fake.forget()
    result = await talk.ask(AGAIN)
    assert result.error is None
    assert result.drafts[0].type == CREATED
    assert [len(create["input"]) for create in fake.creates()] == [1, 1, 3]
    assert ["previous_response_id" in create for create in fake.creates()] == [False, True, False]
    assert len({number for number, _ in fake.places()}) == 1
    await talk.ask(AGAIN)
    assert "previous_response_id" in fake.creates()[3]


async def test_a_turn_goes_on_from_an_incomplete_one(fake, native):
    talk = Talk(native, target(fake, "incomplete"))
    await talk.ask()
    await talk.ask(AGAIN)
    assert "previous_response_id" in fake.creates()[1]


async def test_after_a_failed_turn_all_of_the_history_is_sent(fake, native):
    """A failed continuation evicts its parent at the provider (docs/protocol.md §6.3)."""
    talk = Talk(native, target(fake, "echo"))
    await talk.ask()
    parent = talk.parent
    talk.target = target(fake, "failed")
    failed = await talk.ask(AGAIN)
    assert failed.error is not None
    talk.target, talk.parent = target(fake, "echo"), parent
    await talk.ask(AGAIN)
    assert ["previous_response_id" in create for create in fake.creates()] == [False, True, False]


async def test_chains_do_not_push_each_other_out_while_there_is_room(fake, native):
    talks = [Talk(native, target(fake, "echo")) for _ in range(WARM)]
    for talk in talks:
        await talk.ask()
    for talk in talks:
        await talk.ask(AGAIN)
    assert len({number for number, _ in fake.places()}) == WARM
    assert all("previous_response_id" in create for create in fake.creates()[WARM:])
    await Talk(native, target(fake)).ask()  # the one that was used longest ago gives way
    assert fake.places()[-1] == (1, None)
    await talks[0].ask(AGAIN)
    assert "previous_response_id" not in fake.creates()[-1]


async def test_a_chain_is_known_to_its_own_address_and_key_only(fake, native):
    talk = Talk(native, target(fake, "echo"))
    await talk.ask()
    talk.target = target(fake, "echo", api_key="sk-of-another")
    await talk.ask(AGAIN)
    assert "previous_response_id" not in fake.creates()[1]
    assert [number for number, _ in fake.places()] == [1, 2]


async def test_the_next_turn_may_come_before_the_answer_is_closed(fake, native):
    """A client may continue at once when it gets the end: the connection is ready by then."""
    asked = replace(request(target(fake, "echo")), response_id="resp_first")
    first = await native.open(asked)
    drafts = first.first
    while drafts[-1].type != COMPLETED:
        drafts = await first.read()
    output = tuple(drafts[-1].fields["response"]["output"])
    turn = Turn("resp_first", (HELLO,), output, "openai|")
    await ask(request(target(fake, "echo"), AGAIN, parent=turn), native)
    await first.close()
    assert "previous_response_id" in fake.creates()[1]
    assert [number for number, _ in fake.places()] == [1, 1]


async def test_two_turns_may_go_on_from_one(fake, native):
    talk = Talk(native, target(fake, "echo", ws_lanes=4))
    await talk.ask()
    forks = [Talk(native, target(fake, "gate3-echo", ws_lanes=4), talk.parent) for _ in range(2)]
    result = [asyncio.ensure_future(fork.ask(AGAIN)) for fork in forks]
    await fake.until(lambda: len(fake.frames) == 3)
    fake.release("gpt-gate3-echo")
    assert [answer.error for answer in await asyncio.gather(*result)] == [None, None]
    assert fake.places() == [(1, "lane-0"), (1, "lane-0"), (1, "lane-1")]
    assert all("previous_response_id" in create for create in fake.creates()[1:])


# Leases


async def test_without_lanes_each_running_response_has_a_connection(fake, native):
    asked = request(target(fake, "gate3"))
    answers = [asyncio.ensure_future(ask(asked, native)) for _ in range(3)]
    await fake.until(lambda: len(fake.frames) == 3)
    fake.release("gpt-gate3")
    assert [result.error for result in await asyncio.gather(*answers)] == [None] * 3
    assert sorted(fake.places()) == [(1, None), (2, None), (3, None)]


async def test_more_responses_than_lanes_need_another_connection(fake, native):
    asked = request(target(fake, "gate3", ws_lanes=2))
    answers = [asyncio.ensure_future(ask(asked, native)) for _ in range(5)]
    await fake.until(lambda: len(fake.frames) == 5)
    fake.release("gpt-gate3")
    assert [result.error for result in await asyncio.gather(*answers)] == [None] * 5
    assert len(fake.handshakes) == 3


async def test_a_closed_response_loses_its_connection(fake, native):
    answer = await native.open(request(target(fake, "gate5")))
    assert types(answer.first)[0] == CREATED
    for _ in range(2):
        await answer.close()
    await fake.wait_closed(closed_early=1)
    result = await ask(request(target(fake)), native)
    assert result.error is None
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


async def test_on_a_shared_connection_it_runs_to_its_end_and_keeps_its_lane(fake, native):
    """The others go on, and the lane is not used again before the provider has ended it."""
    unwanted = asyncio.ensure_future(native.open(request(target(fake, "gate5-a", ws_lanes=2))))
    await fake.reached("gpt-gate5-a")
    wanted = asyncio.ensure_future(ask(request(target(fake, "gate5-b", ws_lanes=2)), native))
    await fake.reached("gpt-gate5-b")
    await (await unwanted).close()
    third = await ask(request(target(fake, "text", ws_lanes=2)), native)
    assert third.error is None
    assert fake.places()[2][0] == 2  # both lanes of the first connection are taken
    fake.release("gpt-gate5-a")
    fake.release("gpt-gate5-b")
    assert (await wanted).error is None
    await fake.until(lambda: not any(each.running for each in fake.connections.values()))
    for _ in range(4):
        result = await ask(request(target(fake, "text", ws_lanes=2)), native)
        assert [draft.text for draft in result.drafts] == fake.passed_on()


async def test_a_turn_cancelled_while_it_connects_leaves_the_connection_to_others(fake, native):
    first = asyncio.ensure_future(native.open(request(target(fake, ws_lanes=4))))
    second = asyncio.ensure_future(ask(request(target(fake, ws_lanes=4)), native))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    assert (await second).error is None
    assert len(fake.handshakes) == 1
    assert len(fake.frames) == 1


async def test_after_an_error_nothing_else_comes_on_the_same_lane(fake, native):
    """Some servers send an error and `response.failed`: the second answers no later create."""
    fake.accidents["gpt-text"].append(Accident(0, error_frame(400, "x")))
    await ask(request(target(fake)), native)
    assert (await ask(request(target(fake)), native)).error is None
    assert [number for number, _ in fake.places()] == [1, 2]


async def test_a_connection_that_has_reached_its_age_is_replaced_unseen(fake, native):
    talk = Talk(native, target(fake, "echo"))
    await talk.ask()
    limit = error_frame(400, "websocket_connection_limit_reached")
    fake.accidents["gpt-echo"].append(Accident(0, limit))
    assert (await talk.ask(AGAIN)).error is None
    assert [number for number, _ in fake.places()] == [1, 1, 2]


# Lives of connections


async def test_a_connection_is_replaced_before_its_hour_is_over(fake):
    time = TurnedClock()
    native = WebSocketUpstream(clock=time.clock)
    talk = Talk(native, target(fake, "echo"))
    await talk.ask()
    time.advance(IDLE_SECONDS - 1)
    await talk.ask(AGAIN)
    assert [number for number, _ in fake.places()] == [1, 1]
    running = asyncio.ensure_future(Talk(native, target(fake, "gate3"), talk.parent).ask())
    await fake.reached("gpt-gate3")
    time.advance(MAX_AGE_SECONDS)
    assert (await talk.ask(AGAIN)).error is None
    assert [number for number, _ in fake.places()] == [1, 1, 1, 2]
    assert "previous_response_id" not in fake.creates()[3]
    assert len(fake.creates()[3]["input"]) == 5
    fake.release("gpt-gate3")
    assert (await running).error is None  # what runs on the old one comes to its end
    await talk.ask(AGAIN)
    await fake.until(lambda: list(fake.connections) == [2])
    assert MAX_AGE_SECONDS + talk.target.timeout_seconds <= 3600
    await native.stop()


async def test_idle_connections_are_closed_in_quiet_times_too(fake):
    time = TurnedClock()
    native = WebSocketUpstream(clock=time.clock)
    await native.start()
    await ask(request(target(fake)), native)
    await time.waiting.wait()
    time.advance(SWEEP_SECONDS)
    await time.waiting.wait()
    assert list(fake.connections) == [1]
    time.advance(IDLE_SECONDS)
    await fake.gone()
    await native.stop()
    assert set(time.pauses) == {SWEEP_SECONDS}


async def test_idle_connections_are_bounded_in_number(fake, native):
    for n in range(MAX_IDLE + 5):
        await ask(request(target(fake, api_key=f"sk-{n}")), native)
    await ask(request(target(fake, api_key="sk-last")), native)
    await fake.until(lambda: len(fake.connections) <= MAX_IDLE + 1)
    assert 1 not in fake.connections


async def test_stop_ends_every_connection(fake):
    native = WebSocketUpstream(clock=TurnedClock().clock)
    await native.start()
    running = asyncio.ensure_future(ask(request(target(fake, "gate5")), native))
    await fake.reached("gpt-gate5")
    await ask(request(target(fake)), native)
    await native.stop()
    assert (await running).error.message == LOST
    await fake.gone()


async def test_a_connection_of_a_key_that_is_gone_is_used_no_more(fake, native):
    """An idle one is closed, and one that runs a response after that has ended."""
    old, new = (target(fake, "echo", api_key=key) for key in ("old", "new"))
    kept = Talk(native, new)
    await Talk(native, old).ask()
    await kept.ask()
    held = replace(old, model="openai/gpt-gate5")
    running = asyncio.ensure_future(ask(request(held), native))
    await fake.reached("gpt-gate5")
    native.keep_only([new])
    fake.release("gpt-gate5")
    assert (await running).error is None
    await kept.ask(AGAIN)  # every turn closes what is not to be used
    await fake.until(lambda: list(fake.connections) == [2])
    assert "previous_response_id" in fake.creates()[-1]
    await Talk(native, old).ask()
    assert [number for number, _ in fake.places()] == [1, 2, 3, 2, 4]
