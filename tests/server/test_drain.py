"""Idle sockets are sent away at a drain: not all at once, unless somebody hurries it."""

import asyncio

import aiohttp
import pytest
from aiohttp import WSMsgType
from support.hang import HANG_SECONDS
from support.scripted_upstream import Scripted, answer

from ws_bridge.server.websocket.sockets import AT_ONCE

MORE = 3


async def closed(ws):
    assert (await ws.receive()).type is WSMsgType.CLOSE
    return ws.close_code


@pytest.fixture
async def connect():
    """Open so many sockets."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def some(bridge, count):
            return [await session.ws_connect(bridge.url + "/v1/responses") for _ in range(count)]

        yield some


@pytest.mark.catalogue("W10")
async def test_idle_sockets_go_in_groups_and_a_hurry_sends_all_of_them_away(serve, connect):
    """The second group's turn comes seconds after the first one's; a second signal comes sooner."""
    bridge = await serve(Scripted(answer("x")))
    bridge.bridge.force.clear()
    sockets = await connect(bridge, AT_ONCE + MORE)
    goodbyes = {asyncio.create_task(closed(ws)) for ws in sockets}
    ending = asyncio.create_task(bridge.bridge.app.shutdown())
    gone: set[asyncio.Task[int]] = set()
    async with asyncio.timeout(HANG_SECONDS):
        while len(gone) < AT_ONCE:
            done, goodbyes = await asyncio.wait(goodbyes, return_when=asyncio.FIRST_COMPLETED)
            gone |= done
    assert len(goodbyes) == MORE
    bridge.bridge.force.set()
    async with asyncio.timeout(HANG_SECONDS):
        gone |= (await asyncio.wait(goodbyes))[0]
        await ending
    assert {task.result() for task in gone} == {1012}
