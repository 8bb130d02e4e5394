"""Closing: whatever litellm opened, the provider's connection ends with it."""

import asyncio

import litellm
import pytest
from support.hang import HANG_SECONDS
from upstreams.asking import request, target

from ws_bridge.protocol.events import TERMINAL
from ws_bridge.protocol.tools import NO_TOOLS
from ws_bridge.upstream.litellm import client
from ws_bridge.upstream.litellm.closing import close
from ws_bridge.upstream.litellm.sources import source_of
from ws_bridge.upstream.litellm.upstream import call_of

BOOKED = "async_complete_streaming_response"


@pytest.mark.parametrize("family", ["native", "vllm", "chat", "sdk", "anthropic", "gemini"])
async def test_close_closes_whatever_was_opened_and_may_be_called_twice(fake, family):
    asked = target(fake, family, "gate3")
    opened, tap = await client.open_stream(call_of(request(asked)))
    source = source_of(opened, tap, NO_TOOLS)
    reading = asyncio.create_task(read_on(source))
    await fake.reached(asked.model.rpartition("/")[2])
    reading.cancel()
    await asyncio.wait([reading])
    await source.close()
    await source.close()
    await fake.wait_closed(closed_early=1)


async def read_on(source):
    while await source.read() is not None:
        pass


async def read_out(fake, family):
    """Read an answer to its end; what litellm's logger knows of it afterwards."""
    asked = target(fake, family, "text")
    opened, tap = await client.open_stream(call_of(request(asked)))
    source = source_of(opened, tap, NO_TOOLS)
    while not (drafts := await source.read()) or drafts[-1].type not in TERMINAL:
        pass
    await source.close()
    return opened.litellm_custom_stream_wrapper.logging_obj.model_call_details


@pytest.mark.parametrize("family", ["chat", "sdk", "anthropic"])
async def test_litellm_logs_costs_only_where_a_callback_listens(fake, monkeypatch, family):
    heard = asyncio.Event()

    async def listen(*_):
        heard.set()

    unheard = await read_out(fake, family)
    monkeypatch.setattr(litellm, "_async_success_callback", [listen])
    booked = await read_out(fake, family)
    await asyncio.wait_for(heard.wait(), HANG_SECONDS)
    assert BOOKED in booked
    assert BOOKED not in unheard


async def test_there_is_nothing_to_close_in_nothing():
    await close(None)
