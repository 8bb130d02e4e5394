"""Closing: whatever litellm opened, the provider's connection ends with it."""

import pytest
from upstreams.asking import HELLO, target

from ws_bridge.upstream import door
from ws_bridge.upstream.call import Call
from ws_bridge.upstream.closing import close


@pytest.mark.parametrize("family", ["native", "chat", "sdk", "anthropic"])
async def test_close_closes_whatever_was_opened_and_may_be_called_twice(fake, family):
    asked = target(fake, family, "gate3")
    opened, _ = await door.open_stream(Call(asked, door.dialect_of(asked.model), [HELLO]))
    await fake.reached(asked.model.rpartition("/")[2])
    await close(opened)
    await close(opened)
    await fake.wait_closed(closed_early=1)


async def test_there_is_nothing_to_close_in_nothing():
    await close(None)
