"""200 creates whose sockets are cut before and after `created`, over two servers of two workers.

One worker is killed in the middle. Each create is made once, counted at the provider, and every
client ends up with a whole answer. `tests/servers/test_idempotent_creates.py` is a quick one.
"""

import asyncio
import os
import random
import signal

import aiohttp
import pytest
from rolling.rounds import pids
from support.cut_clients import Clients, audit
from support.fleet import fleet, models_for
from support.hang import HANG_SECONDS
from support.redis_servers import Node, redis_binary, valkey_binary
from upstreams import FakeProviders

CREATES, AT_ONCE = 200, 25
STEP_SECONDS = 0.02


@pytest.mark.catalogue("C11")
@pytest.mark.parametrize("family", ["native", "chat"])
async def test_each_create_is_made_once_though_a_worker_is_killed(family):
    with FakeProviders() as fake, Node(redis_binary() or valkey_binary()) as node:
        config = {
            "server": {"workers": 2, "drain_seconds": 30},
            "store": {"url": node.url},
            "limits": {"creates_per_minute": 0},
            "models": models_for(fake),
        }
        timeout = aiohttp.ClientTimeout(total=HANG_SECONDS)
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with (
            fleet(2, config) as bridges,
            aiohttp.ClientSession(timeout=timeout, connector=connector) as session,
        ):
            urls = [bridge.ws_url for bridge in bridges]
            dice = random.Random(11)  # noqa: S311 - a seed
            clients = Clients(urls, f"{family}-slow-resent", session, dice)
            running = asyncio.create_task(clients.run(CREATES, AT_ONCE))
            while len(clients.done) < CREATES // 3:
                assert not running.done(), running.result()
                await asyncio.sleep(STEP_SECONDS)
            os.kill(pids(bridges[0])[1], signal.SIGKILL)
            await running
            logs = [bridge.log() for bridge in bridges]
    assert audit(clients.done, fake.log) == []
    ended = [create for create in clients.done if create.end["type"] == "response.completed"]
    assert len(ended) == CREATES
    # What failed did so with its server, and its client has asked for another one.
    failed = [create for create in clients.done if create not in ended]
    assert all("was lost" in create.end["response"]["error"]["message"] for create in failed)
    assert clients.cuts["after created"] > CREATES / 4
    assert clients.cuts["before created, or soon after"] > CREATES / 4
    assert clients.cuts["by the server"] > 0
    found = sum(log.count("create_found") for log in logs)
    assert found > CREATES / 2
