"""Creates whose clients are cut off and send them again, over two servers (`tests/real`: more)."""

import random

import aiohttp
import pytest
from peers import KEY
from support.cut_clients import Clients, audit
from support.hang import HANG_SECONDS

CREATES = 10


@pytest.mark.catalogue("C11")
async def test_each_create_is_made_once_and_every_client_has_its_whole_answer(pair, fake):
    urls = [peer.bridge.ws_url for peer in pair]
    timeout = aiohttp.ClientTimeout(total=HANG_SECONDS)
    headers = {"Authorization": f"Bearer {KEY}"}
    before = len(fake.log)
    async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
        clients = Clients(urls, "native-slow-resent", session, random.Random(7))  # noqa: S311 - a seed
        await clients.run(CREATES, at_once=CREATES)
    assert audit(clients.done, fake.log[before:]) == []
    assert [create.end["type"] for create in clients.done] == ["response.completed"] * CREATES
    assert {"before created, or soon after", "after created"} <= clients.cuts.keys()
