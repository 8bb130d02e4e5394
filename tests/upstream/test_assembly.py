"""What the upstreams are, before anything is opened."""

from ws_bridge.protocol.sealing import UNSIGNED
from ws_bridge.upstream.assembly import assemble
from ws_bridge.upstream.base import Target

TARGET = Target("m", "openai/gpt-of-this-test", mode="native")


async def test_each_mode_of_a_target_has_an_upstream_of_its_own():
    parts = assemble([TARGET], UNSIGNED)

    assert set(parts.by_mode) == {"managed", "native", "auto"}
    assert len({id(one) for one in (*parts.by_mode.values(), parts.background)}) == 4


async def test_what_was_never_started_can_be_stopped():
    for stop in assemble([TARGET], UNSIGNED).stops:
        await stop()


async def test_litellm_knows_the_models_afterwards():
    parts = assemble([TARGET], UNSIGNED)
    assert parts.prices_of(TARGET) is None  # of a model without a price, and no error
