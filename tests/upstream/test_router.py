"""All providers behind one upstream: opened beside a server that answers already.

The first call is made of a loopback provider that hangs or refuses; time is turned by hand.
"""

import asyncio
import logging
import sys

import pytest
from support.answers import drafts_of
from support.fake_clock import FakeClock, wait_until
from upstreams.asking import ask, name_of, request, target

from ws_bridge.protocol.events import COMPLETED
from ws_bridge.protocol.history import Chain
from ws_bridge.upstream.base import Request, Target
from ws_bridge.upstream.prices import PriceRow
from ws_bridge.upstream.router import WARM_UP_SECONDS, WARM_UP_STOP_SECONDS, Router

DEMO = Target("demo", "demo/demo", drop_params=True)
HELLO = Chain(None, ({"type": "message", "role": "user", "content": "hello"},))
FAMILIES = ("native", "chat", "anthropic", "gemini")


async def test_a_create_waits_until_the_providers_are_open_and_then_runs():
    providers = Router([DEMO])
    asked = Request(DEMO, HELLO, {"max_output_tokens": 3})
    early = asyncio.create_task(providers.open(asked))
    counting = asyncio.create_task(providers.count_tokens(asked))
    await asyncio.sleep(0)
    assert not early.done()
    assert not counting.done()
    await providers.start()
    drafts = await drafts_of(await early)
    assert drafts[0].type == "response.created"
    assert drafts[-1].type in (COMPLETED, "response.incomplete")
    assert await counting > 0
    await providers.stop()


@pytest.fixture
async def slow(fake):
    """Providers whose first call hangs, and the clock that measures it."""
    hands = FakeClock()
    hung = target(fake, "native", "hang")
    targets = [target(fake, family, "text") for family in FAMILIES]
    providers = Router([hung, *targets], warm_up=hung, clock=hands.clock())
    opening = asyncio.create_task(providers.start())
    await fake.reached(name_of(hung))
    yield providers, opening, hands
    closing = asyncio.create_task(providers.stop())
    await wait_until(lambda: hands.sleepers)
    hands.advance(WARM_UP_STOP_SECONDS)  # what hangs is not waited for
    await closing
    await fake.wait_closed(closed_early=1)


async def test_a_first_call_that_hangs_is_one_warning_and_creates_run_beside_it(slow, fake, caplog):
    """Of every family, all at once: the first real call is as good as any."""
    providers, opening, hands = slow
    await wait_until(lambda: hands.sleepers)
    hands.advance(WARM_UP_SECONDS - 1)
    await asyncio.sleep(0)
    assert not opening.done()
    hands.advance(1)
    await opening
    wanted = [target(fake, family, "text") for family in FAMILIES * 4]
    answers = await asyncio.gather(*(ask(request(one), providers) for one in wanted))
    assert [answer.error for answer in answers] == [None] * len(wanted)
    assert [answer.response["status"] for answer in answers] == ["completed"] * len(wanted)
    assert warnings(caplog) == [f"warm_up_slow seconds={WARM_UP_SECONDS:g}: ready without it"]


async def test_a_first_call_outlives_a_start_that_is_cancelled(slow, fake):
    _, opening, hands = slow
    await wait_until(lambda: hands.sleepers)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    assert (fake.live["open"], fake.live["closed_early"]) == (1, 0)


@pytest.mark.parametrize("scenario", ["err500", "err401", "reset", "zerobytes"])
async def test_a_first_call_that_fails_is_one_warning(fake, caplog, scenario):
    broken = target(fake, "native", scenario)
    whole = target(fake, "chat", "text")
    providers = Router([broken, whole], warm_up=broken, clock=FakeClock().clock())
    await providers.start()
    assert (await ask(request(whole), providers)).response["status"] == "completed"
    assert warnings(caplog) == ["warm_up_failed kind=UpstreamError: ready without it"]
    await providers.stop()


async def test_a_first_call_that_is_slow_and_then_fails_is_still_one_warning(fake, caplog):
    broken = target(fake, "native", "gate0-zerobytes")
    hands = FakeClock()
    providers = Router([broken], warm_up=broken, clock=hands.clock())
    opening = asyncio.create_task(providers.start())
    await wait_until(lambda: hands.sleepers)
    hands.advance(WARM_UP_SECONDS)
    await opening
    fake.release(name_of(broken))
    await asyncio.wait((providers._warming,))
    assert len(warnings(caplog)) == 1
    await providers.stop()


def warnings(caplog):
    own = (one for one in caplog.records if one.name == "ws_bridge.upstream.router")
    return [one.getMessage() for one in own if one.levelno >= logging.WARNING]


async def test_an_answer_has_its_models_prices(fake):
    asked = target(fake, "chat", "text")
    unpriced = target(fake, "chat", "length")
    providers = Router([asked], warm_up=asked)
    await providers.start()
    litellm = sys.modules["litellm"]
    row = {"input_cost_per_token": 2.0, "output_cost_per_token": 8.0}
    litellm.register_model({asked.model: {"litellm_provider": "groq", "mode": "chat", **row}})
    sys.modules["ws_bridge.upstream.litellm.models"]._prices.cache_clear()
    prices = []
    for one in (asked, unpriced):
        answer = await providers.open(Request(one, HELLO, {}))
        prices.append(answer.prices)
        await answer.close()
    del litellm.model_cost[asked.model]
    await providers.stop()
    assert prices == [PriceRow.of(row), None]
