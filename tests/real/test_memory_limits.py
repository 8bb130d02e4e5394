"""Servers whose memory the kernel bounds, under requests that would take more (fault O10)."""

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack

import aiohttp
import pytest
from support.fleet import models_for
from support.hang import HANG_SECONDS
from support.memory_limits import Bounded, memory_limit
from support.redis_servers import Node, valkey_binary
from upstreams import FakeProviders

KEYS = {"LARGE": "large-key", "SMALL": "small-key"}
LARGE_BYTES = 3_000_000
AT_ONCE, ROUNDS = 8, 4
SMALL_TURNS = 40
REFUSED = {429, 503}


@pytest.mark.parametrize(("workers", "mib"), [(1, 384), (2, 640)])
async def test_the_kernel_kills_no_server_whose_limits_come_from_its_container(
    workers, mib, capsys
):
    """One key asks for more than there is room for; another key's small turns all go well."""
    limit = memory_limit(mib)
    if limit is None:
        pytest.skip("this machine has no control group for us")
    text = random.Random(1).randbytes(LARGE_BYTES // 2).hex()  # noqa: S311 - it does not pack
    async with AsyncExitStack() as ends:
        fake = ends.enter_context(FakeProviders())
        node = ends.enter_context(Node(valkey_binary()))
        config = {
            "server": {"workers": workers},
            "auth": {"keys_env": list(KEYS)},
            "store": {"url": node.url if workers > 1 else "memory://"},
            "limits": {"creates_per_minute": 0},
            "models": models_for(fake),
        }
        bridge = await ends.enter_async_context(Bounded(limit, config, KEYS))
        await bridge.wait_ready()
        session = await ends.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=3 * HANG_SECONDS))
        )

        async def ask(key, text):
            body = {"model": "chat-m", "input": text}
            headers = {"Authorization": f"Bearer {KEYS[key]}"}
            url = f"{bridge.url}/v1/responses"
            async with session.post(url, json=body, headers=headers) as answer:
                await answer.read()
                return answer.status

        async def ask_large():
            return [await ask("LARGE", text) for _ in range(ROUNDS)]

        async def ask_small():
            return [await ask("SMALL", "hi") for _ in range(SMALL_TURNS)]

        small, *large = await asyncio.gather(ask_small(), *(ask_large() for _ in range(AT_ONCE)))
        counted = Counter(status for statuses in large for status in statuses)
        with capsys.disabled():
            print(f"\n  {workers} workers: {limit.peak_mib()} of {mib} MiB, {dict(counted)}")  # noqa: T201
        assert Counter(small) == {200: SMALL_TURNS}
        assert counted[200] > 0
        assert set(counted) <= {200, *REFUSED}
        assert "SIGKILL" not in bridge.log()
        assert await bridge.terminate() == 0
