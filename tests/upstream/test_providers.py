"""All providers behind one upstream: opened beside a server that answers already."""

import asyncio

from ws_bridge.protocol.events import COMPLETED
from ws_bridge.protocol.history import Chain
from ws_bridge.upstream.base import Request, Target
from ws_bridge.upstream.providers import Providers

DEMO = Target("demo", "demo/demo", drop_params=True)
HELLO = Chain(None, ({"type": "message", "role": "user", "content": "hello"},))


async def test_a_create_waits_until_the_providers_are_open_and_then_runs():
    providers = Providers([DEMO])
    asked = Request(DEMO, HELLO, {"max_output_tokens": 3})
    early = asyncio.create_task(anext(providers.respond(asked)))
    await asyncio.sleep(0)
    assert not early.done()
    await providers.open()
    assert (await early).type == "response.created"
    kinds = [draft.type async for draft in providers.respond(asked)]
    assert kinds[-1] in (COMPLETED, "response.incomplete")
    assert await providers.count_tokens(asked) > 0
    await providers.close()
