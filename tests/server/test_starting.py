"""A start that cannot fail for being slow: only an import that raises ends it (`test_workers`)."""

import logging

import pytest
from support.fake_clock import FakeClock
from upstreams import FakeProviders
from upstreams.asking import Pauses, name_of, target

from ws_bridge.upstream.router import Router

ENTRY = {"name": "m-*", "model": "groq/m-*", "api_key_env": "KEY"}


@pytest.fixture
def fake():
    with FakeProviders() as running:
        yield running


@pytest.mark.parametrize(
    ("scenario", "word"), [("hang", "warm_up_slow"), ("err500", "warm_up_failed")]
)
async def test_a_server_whose_first_call_hangs_or_fails_is_ready_and_answers(
    serve, fake, caplog, scenario, word
):
    """The log has one warning; what hangs goes on to the server's end."""
    first = target(fake, "native", scenario)
    config = {"models": [{**ENTRY, "api_base": fake.base_url + "/v1"}]}
    clock = Pausing(fake, first).clock if scenario == "hang" else FakeClock().clock()
    providers = Router([first], warm_up=first, clock=clock)
    bridge = await serve(providers, config, {"KEY": "k"})
    await bridge.bridge.ready.wait()
    assert await bridge.get("/readyz") == (200, {"status": "ready"})
    status, body = await bridge.post("/v1/responses", model="m-text", input="hi")
    assert (status, body["status"]) == (200, "completed")
    warnings = (one for one in caplog.records if one.levelno >= logging.WARNING)
    assert [one.getMessage().split()[0] for one in warnings] == [word]
    assert fake.live["closed_early"] == 0
    await bridge.stop()
    await fake.wait_closed(closed_early=int(scenario == "hang"))


class Pausing(Pauses):
    """It ends when the provider was asked."""

    def __init__(self, fake, first):
        super().__init__()
        self._fake = fake
        self._name = name_of(first)

    async def sleep(self, seconds):
        await self._fake.reached(self._name)
        await super().sleep(seconds)
