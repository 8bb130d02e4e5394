"""Limits of a client over two servers of two workers, one of which is killed in the middle.

With a hand-turned clock and one process: `tests/server/test_shared_limits.py`.
"""

import asyncio
import contextlib
import os
import signal
import time

import aiohttp
import pytest
from rolling.rounds import pids
from support.fleet import fleet
from support.hang import HANG_SECONDS
from support.redis_servers import Node, redis_binary, valkey_binary
from support.workers import DEMO

MOST, LEASE = 100, 100 // 20
SOCKETS = 10
AT_ONCE = 16
WINDOW = 60.0
STEP_SECONDS = 0.1
ENVIRON = {"CLIENT_KEYS": "key-of-a-client"}
HEADERS = {"Authorization": "Bearer key-of-a-client"}


@pytest.fixture
async def bridges():
    with Node(redis_binary() or valkey_binary()) as node:
        config = {
            "server": {"workers": 2, "drain_seconds": 5},
            "auth": {"keys_env": ["CLIENT_KEYS"]},
            "store": {"url": node.url},
            "limits": {
                "scope": "store",
                "creates_per_minute": MOST,
                "connections_per_key": SOCKETS,
            },
            "models": [DEMO],
        }
        async with fleet(2, config, ENVIRON) as two:
            yield two


@pytest.fixture
async def session():
    """Each request has a connection of its own: any worker gets it."""
    timeout = aiohttp.ClientTimeout(total=HANG_SECONDS)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(
        timeout=timeout, connector=connector, headers=HEADERS
    ) as session:
        yield session


class Creates:
    """Creates on all servers in turn, and what became of them."""

    def __init__(self, bridges, session):
        self._bridges, self._session = bridges, session
        self.sent = self.lost = 0
        self.begun, self.waits = [], []

    async def one(self):
        """Send one; of one that is lost it is not known whether it was begun."""
        bridge = self._bridges[self.sent % 2]
        self.sent += 1
        body = {"model": "demo", "input": "x", "store": False}
        try:
            async with self._session.post(bridge.url + "/v1/responses", json=body) as got:
                if got.status == 429:
                    self.waits.append(int(got.headers["Retry-After"]))
                else:
                    assert got.status == 200, await got.text()
                    self.begun.append(time.monotonic())
                await got.read()
        except aiohttp.ClientError:
            self.lost += 1

    def missing(self):
        """How many fewer than the limit were begun, if all that were lost had been."""
        return MOST - len(self.begun) - self.lost

    async def until(self, is_true):
        """Send more and more until it is true."""
        async with asyncio.timeout(HANG_SECONDS):
            while not is_true():
                await asyncio.gather(*(self.one() for _ in range(AT_ONCE)))


async def test_creates_over_two_servers_of_two_workers_are_exact_within_a_lease(bridges, session):
    creates = Creates(bridges, session)
    began = time.monotonic()
    await creates.until(lambda: len(creates.begun) >= MOST // 2)
    os.kill(pids(bridges[0])[1], signal.SIGKILL)
    # What the killed worker held ahead, and what it had begun and not answered, is missing.
    await creates.until(lambda: creates.missing() <= LEASE and creates.waits)
    for _ in range(20):
        await creates.one()
        await asyncio.sleep(STEP_SECONDS)
    windows = 1 + (time.monotonic() - began) // WINDOW
    assert len(creates.begun) <= MOST * windows
    assert all(0 < wait <= WINDOW + 1 for wait in creates.waits)
    assert "limits_local" not in "".join(bridge.log() for bridge in bridges)


async def test_sockets_of_a_killed_worker_make_room(bridges, session):
    """Their slots come back by themselves, 15 seconds after its last report."""
    open_ones = []

    async def connect(bridge):
        with contextlib.suppress(aiohttp.ClientError):
            open_ones.append(await session.ws_connect(bridge.ws_url))

    async def connect_all():
        async with asyncio.timeout(HANG_SECONDS):
            while len(open_ones) < SOCKETS:
                for bridge in bridges:
                    await connect(bridge)
                await asyncio.sleep(STEP_SECONDS)
        assert len(open_ones) == SOCKETS

    await connect_all()
    lost, stayed = open_ones[::2], open_ones[1::2]  # those of the first server, and of the second
    for pid in pids(bridges[0]).values():
        os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(HANG_SECONDS):
        for one in lost:
            with contextlib.suppress(aiohttp.ClientError):
                await one.receive()
    open_ones[:] = stayed
    await connect_all()
    assert not any(one.closed for one in stayed)
    for one in open_ones:
        await one.close()
