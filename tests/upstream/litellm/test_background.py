"""NativeBackground: the provider's own background mode, polled through the real litellm."""

import asyncio
import json
from dataclasses import replace

import pytest
from support.answers import drafts_of, opened
from support.event_checker import check_events
from support.fake_clock import FakeClock
from support.hang import HANG_SECONDS
from upstreams.asking import FAMILIES, Pauses, ask, name_of, request, take, target, types

from ws_bridge.errors import UpstreamError
from ws_bridge.protocol.request import COMPLETION_WINDOWS
from ws_bridge.upstream.litellm import client
from ws_bridge.upstream.litellm.background import BackgroundUpstream


def background(fake, scenario, **more):
    return request(
        target(fake, "native", scenario, native_background=True, **more), background=True
    )


OPTIONS = {"completion_window": "8h", "continuation_id": "customer-1"}


async def test_background_options_reach_the_provider_that_runs_it(fake):
    wanted = replace(background(fake, "text"), background_options=OPTIONS)
    answer = await ask(wanted, BackgroundUpstream(clock=Pauses().clock))
    assert answer.error is None
    (body,) = fake.requests(name_of(wanted.target))
    assert body["background_options"] == OPTIONS
    assert (body["background"], body["store"], "extra_body" in body) == (True, True, False)


@pytest.mark.parametrize("family", sorted(FAMILIES))
async def test_background_options_reach_no_provider_that_is_only_asked(fake, family):
    """It runs the response as any other, in the time that it takes."""
    wanted = replace(request(target(fake, family, "text")), background_options=OPTIONS)
    answer = await ask(wanted)
    assert answer.response["status"] == "completed"
    bodies = [json.dumps(entry["body"]) for entry in fake.log]
    assert bodies
    assert not [body for body in bodies if "background_options" in body or "customer-1" in body]


@pytest.mark.parametrize(("window", "seconds"), COMPLETION_WINDOWS.items())
async def test_a_provider_has_the_window_before_its_own_time(fake, window, seconds):
    """It is asked for 120 s and the window, then cancelled, and the response ends."""
    hands = FakeClock()
    wanted = background(fake, "text-gate", timeout_seconds=120.0)
    wanted = replace(wanted, background_options={"completion_window": window})
    asking = asyncio.create_task(ask(wanted, BackgroundUpstream(clock=hands.clock())))
    await until_asleep(hands)
    hands.advance(seconds + 100)
    await fake.until(lambda: calls(fake).count("GET response") == 1)
    await until_asleep(hands)
    assert not asking.done()
    hands.advance(19)
    answer = await asking
    assert (answer.error.status, answer.error.code) == (504, "upstream_timeout")
    assert calls(fake)[-1] == "POST cancel"


async def until_asleep(hands):
    async with asyncio.timeout(HANG_SECONDS):
        while not hands.sleepers:  # noqa: ASYNC110 - litellm answers when it does
            await asyncio.sleep(0.01)


def calls(fake):
    """What was asked of the provider, without the ids."""
    return [
        f"{entry['method']} {'cancel' if 'cancel' in entry['path'] else 'response'}"
        for entry in fake.log
    ]


async def test_the_provider_runs_and_keeps_it(fake):
    wanted = background(fake, "text")
    answer = await ask(wanted, BackgroundUpstream(clock=Pauses().clock))
    assert answer.error is None
    body = fake.requests(name_of(wanted.target))[0]
    assert (body["background"], body["store"], "stream" in body) == (True, True, False)
    assert answer.text == "Hello, world! This is a test."


@pytest.mark.parametrize("scenario", ["text", "rtools", "annot", "image", "refusal", "incomplete"])
async def test_polls_become_a_strict_stream(fake, scenario):
    answer = await ask(background(fake, scenario), BackgroundUpstream(clock=Pauses().clock))
    assert types(answer.drafts)[:3] == [
        "response.created",
        "response.queued",
        "response.in_progress",
    ]
    assert check_events(answer.events()) == []


async def test_an_item_is_yielded_as_soon_as_it_is_done(fake):
    """Of two calls, the first is visible in a poll before the last one."""
    pauses = Pauses()
    upstream = BackgroundUpstream(clock=pauses.clock)
    drafts = opened(upstream, background(fake, "tools"))
    await take(drafts, "output_item.done")
    polls_then = calls(fake).count("GET response")
    await take(drafts, "response.completed")
    assert polls_then < calls(fake).count("GET response")
    await drafts.aclose()


async def test_closing_early_cancels_it_at_the_provider(fake):
    upstream = BackgroundUpstream(clock=Pauses().clock)
    answer = await upstream.open(background(fake, "text-gate"))
    await answer.read()
    for _ in range(2):
        await answer.close()
    assert calls(fake) == ["POST response", "GET response", "POST cancel"]


async def test_what_is_to_keep_running_is_left_running_and_can_be_opened_again(fake):
    wanted = background(fake, "text-gate")
    upstream = BackgroundUpstream(clock=Pauses().clock)
    answer = await upstream.open(wanted)
    await answer.close(keep_running=True)
    await answer.close()
    assert calls(fake) == ["POST response"]
    fake.release(name_of(wanted.target))
    again = await ask(replace(wanted, background_id=answer.upstream_id), upstream)
    assert again.text == "Hello, world! This is a test."
    assert calls(fake).count("POST response") == 1


async def test_a_response_that_runs_already_is_asked_for_at_the_first_read(fake):
    """So it is the close that says whether it is to keep running."""
    upstream = BackgroundUpstream(clock=Pauses().clock)
    first = await upstream.open(background(fake, "text-gate"))
    again = await upstream.open(
        replace(background(fake, "text-gate"), background_id=first.upstream_id)
    )
    assert (again.first, again.upstream_id) == ((), first.upstream_id)
    assert calls(fake) == ["POST response"]
    assert types(await again.read())[0] == "response.created"
    await again.close()
    assert calls(fake)[1:] == ["GET response", "POST cancel"]


async def test_an_open_that_is_cancelled_cancels_what_it_has_created(fake):
    """The creation cannot be called back: it is waited for."""
    wanted = background(fake, "text-heldcreate")
    opening = asyncio.create_task(BackgroundUpstream().open(wanted))
    await fake.until(lambda: fake.log)
    opening.cancel()
    fake.release(name_of(wanted.target))
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert calls(fake) == ["POST response", "POST cancel"]


async def test_cancelling_the_reader_cancels_it_at_the_provider(fake):
    wanted = background(fake, "text-gate")
    reading = asyncio.create_task(ask(wanted, BackgroundUpstream()))
    await fake.reached(name_of(wanted.target))
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert calls(fake)[-1] == "POST cancel"


async def test_an_ended_response_is_not_cancelled(fake):
    await ask(background(fake, "text"), BackgroundUpstream(clock=Pauses().clock))
    assert "POST cancel" not in calls(fake)


async def test_a_failed_response_has_its_reason(fake):
    answer = await ask(background(fake, "failed"), BackgroundUpstream(clock=Pauses().clock))
    assert answer.error is None
    assert answer.drafts[-1].type == "response.failed"
    assert answer.response["error"]["message"] == "boom upstream"


async def test_a_poll_may_fail_and_is_repeated(fake):
    pauses = Pauses()
    answer = await ask(background(fake, "text-pollflaky"), BackgroundUpstream(clock=pauses.clock))
    assert (answer.error, answer.response["status"]) == (None, "completed")
    assert pauses.taken == sorted(pauses.taken)


@pytest.mark.parametrize(
    ("scenario", "status"), [("err400", 400), ("err401", 401), ("err500", 500)]
)
async def test_a_refused_create_is_one_error_and_cancels_nothing(fake, scenario, status):
    answer = await ask(background(fake, scenario), BackgroundUpstream(clock=Pauses().clock))
    assert (answer.drafts, answer.error.status) == ([], status)
    assert calls(fake) == ["POST response"]


async def test_a_response_that_outlives_its_time_is_cancelled(fake):
    wanted = background(fake, "text-gate", timeout_seconds=0.4)
    answer = await ask(wanted, BackgroundUpstream(clock=Pauses().clock))
    assert (answer.error.status, answer.error.code) == (504, "upstream_timeout")
    assert calls(fake)[-1] == "POST cancel"


async def test_a_response_cancelled_elsewhere_is_an_error(fake):
    wanted = background(fake, "text-gate")
    answer = await BackgroundUpstream(clock=Pauses().clock).open(wanted)
    await client.cancel_background(wanted.target, answer.upstream_id)
    with pytest.raises(UpstreamError, match=r"The model provider cancelled the response\."):
        await drafts_of(answer)
    assert calls(fake).count("POST cancel") == 1


async def test_an_answer_has_an_id_that_finds_the_response_again(fake):
    wanted = background(fake, "text")
    answer = await BackgroundUpstream(clock=Pauses().clock).open(wanted)
    drafts = await drafts_of(answer)
    found = await client.get_background(wanted.target, answer.upstream_id)
    assert found["output"] == drafts[-1].fields["response"]["output"]
